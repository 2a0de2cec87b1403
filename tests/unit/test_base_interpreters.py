"""The Python of a base, found without running it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imagespec.builders.assembly.interpreters import environment_python, find_interpreter
from imagespec.errors import Unsupported
from imagespec.plan import PythonEnvironment
from tests.fakes.bases import DEBIAN, Content, file, files_of, link

STEP = PythonEnvironment(
    prefix="/opt/venv", version="", executable="", fallback="3.13", system_site_packages=True, pip="26.3"
)


class TestInterpreter:
    def found(self, tmp_path: Path, entries: list[Content], step: PythonEnvironment = STEP, path: str = "") -> Any:
        run_time = {"Env": [f"PATH={path}"]} if path else {}
        return find_interpreter(files_of(tmp_path, entries), run_time, step)

    def test_debian_s(self, tmp_path: Path) -> None:
        found = self.found(tmp_path, DEBIAN)
        assert (found.path, found.version, found.libc, found.minor) == (
            "/usr/bin/python3.11",
            "3.11.2",
            "glibc 2.36",
            "3.11",
        )

    def test_the_official_image_s_version_is_in_its_library(self, tmp_path: Path) -> None:
        entries = [
            *DEBIAN,
            link("usr/local/bin/python3", "python3.13"),
            link("usr/local/bin/python", "python3"),
            file("usr/local/bin/python3.13", b"\x7fELF", 0o755),
            file("usr/local/lib/libpython3.13.so.1.0", b"\x003.13.1\x00"),
        ]
        found = self.found(tmp_path, entries, path="/usr/local/bin:/usr/bin")
        assert (found.path, found.version) == ("/usr/local/bin/python3.13", "3.13.1")

    def test_conda_s(self, tmp_path: Path) -> None:
        entries = [
            *DEBIAN,
            link("opt/conda/bin/python", "python3.12"),
            file("opt/conda/bin/python3.12", b"\x003.12.4\x00"),
        ]
        found = self.found(tmp_path, entries, path="/opt/conda/bin:/usr/bin")
        assert (found.path, found.version) == ("/opt/conda/bin/python3.12", "3.12.4")

    def test_musl(self, tmp_path: Path) -> None:
        entries = [
            file("usr/bin/python3.12", b"\x003.12.9\x00"),
            file("lib/ld-musl-x86_64.so.1", b"\0musl\x001.2.5\x00"),
        ]
        assert self.found(tmp_path, entries).libc == "musl 1.2.5"

    def test_the_version_asked_for_is_found_behind_another(self, tmp_path: Path) -> None:
        entries = [
            *DEBIAN,
            file("usr/local/bin/python3.10", b"\x003.10.9\x00", 0o755),
            link("usr/local/bin/python3", "python3.10"),
        ]
        step = PythonEnvironment(**{**_fields(STEP), "version": "3.11"})
        assert self.found(tmp_path, entries, step, path="/usr/local/bin:/usr/bin").path == "/usr/bin/python3.11"

    @pytest.mark.parametrize("version", ["3.12", "3.11.9", "3.1"])
    def test_a_base_without_the_version_says_what_it_has(self, tmp_path: Path, version: str) -> None:
        step = PythonEnvironment(**{**_fields(STEP), "version": version})
        with pytest.raises(
            Unsupported, match=rf"no Python {version}, it has 3\.11\.2 \(/usr/bin/python3\.11\)"
        ) as raised:
            self.found(tmp_path, DEBIAN, step)
        assert raised.value.field == "python_version"
        assert "buildkit" in raised.value.hint

    def test_a_base_without_python_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(Unsupported, match="it has no Python 3"):
            self.found(tmp_path, DEBIAN[:5])

    def test_an_environment_of_a_parent_is_read_from_its_settings(self, tmp_path: Path) -> None:
        text = b"home = /usr/bin\nversion_info = 3.11.2\n"
        found = environment_python(files_of(tmp_path, [*DEBIAN, file("opt/venv/pyvenv.cfg", text)]), "/opt/venv")
        assert (found.version, found.libc) == ("3.11.2", "glibc 2.36")
        with pytest.raises(Unsupported, match="no environment in /opt/venv"):
            environment_python(files_of(tmp_path / "2", DEBIAN), "/opt/venv")


def _fields(step: PythonEnvironment) -> dict[str, Any]:
    return {name: getattr(step, name) for name in step.__dataclass_fields__}
