"""What is written over a base: the account, the workdir, the empty environment, the config."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from imagespec.builders.assembly.file_system import FileSystems, read_files
from imagespec.builders.assembly.image_config import CREATED, image_config
from imagespec.builders.assembly.interpreters import find_interpreter
from imagespec.builders.assembly.roots import account_entries, environment_entries, with_parents
from imagespec.builders.assembly.store import Store
from imagespec.errors import Unsupported
from imagespec.oci import (
    Platform,
)
from imagespec.plan import Account, ImageConfig, PythonEnvironment
from imagespec.tarball import FILE, FOLDER, TarEntry
from tests.fakes.bases import DEBIAN, file, files_of, folder, image
from tests.fakes.registry import FakeRegistry

AMD64 = Platform.parse("linux/amd64")
ACCOUNT = Account(name="flytekit", uid=1000, gid=1000, home="/home/flytekit")
STEP = PythonEnvironment(
    prefix="/opt/venv", version="", executable="", fallback="3.13", system_site_packages=True, pip="26.3"
)


def config(**more: Any) -> ImageConfig:
    given: dict[str, Any] = {
        "env": (("A", "1"), ("PYTHONPATH", "/root")),
        "path": ("/opt/venv/bin",),
        "entrypoint": None,
        "account": ACCOUNT,
        "workdir": "/root",
        "labels": (),
        "image_id": "id",
    }
    return ImageConfig(**{**given, **more})


class TestRoots:
    def test_the_account_is_added_to_what_the_base_has(self, tmp_path: Path) -> None:
        files = files_of(tmp_path, DEBIAN)
        entries = with_parents(
            files, account_entries(files, config(), lambda wanted: dict.fromkeys(wanted, b"profile\n"))
        )
        found = {one.entry.path: one for one in entries}
        assert found["etc/passwd"].data == (
            b"root:x:0:0:root:/root:/bin/sh\nflytekit:x:1000:1000::/home/flytekit:/bin/sh\n"
        )
        assert found["etc/group"].data == b"root:x:0:\nflytekit:x:1000:\n"
        assert found["home"].entry[1:5] == (FOLDER, 0o751, 0, 0)
        assert found["home/flytekit"].entry[1:5] == (FOLDER, 0o755, 1000, 1000)
        assert found["root"].entry[1:5] == (FOLDER, 0o755, 1000, 1000)
        assert found["root/.profile"].entry[1:5] == (FILE, 0o600, 1000, 1000)
        assert list(found) == sorted(found)

    def test_a_base_that_has_all_of_it_needs_nothing(self, tmp_path: Path) -> None:
        base = [
            file("etc/passwd", b"flytekit:x:1000:1000::/home/flytekit:/bin/sh\n"),
            file("etc/group", b"flytekit:x:1000:\n"),
            folder("home"),
            folder("home/flytekit", uid=1000),
            folder("root", uid=1000),
        ]
        files = files_of(tmp_path, base)
        paths = [one.entry.path for one in account_entries(files, config(), lambda wanted: {})]
        assert paths == ["root"]

    def test_a_user_of_that_name_with_another_id_is_refused(self, tmp_path: Path) -> None:
        files = files_of(tmp_path, [file("etc/passwd", b"flytekit:x:7:7::/:/bin/sh\n")])
        with pytest.raises(Unsupported, match="an id of its own"):
            account_entries(files, config(), lambda wanted: {})

    def test_a_workdir_behind_a_link_is_refused(self, tmp_path: Path) -> None:
        files = files_of(tmp_path, DEBIAN)
        with pytest.raises(Unsupported, match="/lib is a link"):
            with_parents(files, account_entries(files, config(workdir="/lib/app"), lambda wanted: {}))

    @pytest.mark.parametrize("workdir", ["/lib", "/lib/app", "/root/.profile"])
    def test_root_s_workdir_behind_a_link_is_refused_too(self, tmp_path: Path, workdir: str) -> None:
        files = files_of(tmp_path, [*DEBIAN, folder("usr/lib/app")])
        root = Account(name="root", uid=0, gid=0, home="/root")
        with pytest.raises(Unsupported, match="where a folder is needed"):
            account_entries(files, config(account=root, workdir=workdir), lambda wanted: {})

    def test_what_the_workdir_holds_is_the_account_s_and_what_it_was(self, tmp_path: Path) -> None:
        large = b"z" * 70_000
        below = [
            *DEBIAN,
            file("root/first", b"shared"),
            (TarEntry("root/second", b"1", target="./root/first"), b""),
            file("root/replaced", b"old"),
            file("root/linked", b"old"),
            file("root/run", b"run", 0o6755),
            folder("root/shared", 0o3777),
            (TarEntry("root/pipe", b"6"), b""),
        ]
        registry = FakeRegistry()
        linked = (TarEntry("root/linked", b"1", target="root/replaced"), b"")
        base = image(registry, below, [file("root/replaced", large), linked])
        files = FileSystems(Store(tmp_path / "store")).read(base, lambda layer: None)
        entries = account_entries(files, config(), lambda wanted: read_files(base, files, wanted))
        found = {one.entry.path: one for one in entries}
        regular = {path: one.data for path, one in found.items() if one.entry.kind == FILE}
        assert {path: data for path, data in regular.items() if path.startswith("root/")} == {
            "root/.profile": b"profile\n",
            "root/first": b"shared",
            "root/second": b"shared",
            "root/replaced": large,
            "root/linked": large,
            "root/run": b"run",
        }
        assert (found["root/run"].entry.mode, found["root/shared"].entry.mode) == (0o755, 0o3777)
        assert "root/pipe" not in found

    def test_something_in_the_environment_s_place_is_refused(self, tmp_path: Path) -> None:
        files = files_of(tmp_path, [*DEBIAN, file("opt/venv/pyvenv.cfg")])
        python = find_interpreter(files, {}, STEP)
        with pytest.raises(Unsupported, match="something in /opt/venv already"):
            environment_entries(files, STEP, python, ACCOUNT)


class TestConfig:
    def made(self, run_time: Mapping[str, Any], options: Mapping[str, str] = {}, **more: Any) -> dict[str, Any]:
        base = image(FakeRegistry(), DEBIAN, run_time=run_time)
        value: dict[str, Any] = json.loads(image_config(base, AMD64, config(**more), [], options))
        assert value["created"] == CREATED
        assert len(value["history"]) == len(value["rootfs"]["diff_ids"]) == 1
        return dict(value["config"])

    def test_the_environment_as_buildkit_has_it(self) -> None:
        made = self.made({"Env": ["PATH=/bin", "A=0", "_F_IMG_ID=old", "Z=9"]})
        assert made["Env"] == ["PATH=/opt/venv/bin:/bin", "A=1", "Z=9", "PYTHONPATH=/root", "_F_IMG_ID=id"]

    def test_a_base_without_path_gets_the_usual_one(self) -> None:
        assert self.made({})["Env"][0].startswith("PATH=/opt/venv/bin:/usr/local/sbin:")

    def test_a_path_of_the_user_s_own_stands(self) -> None:
        assert "PATH=/mine" in self.made({"Env": ["PATH=/bin"]}, env=(("PATH", "/mine"),))["Env"]

    @pytest.mark.parametrize(
        ("entrypoint", "expected"),
        [
            (None, {"Entrypoint": ["old"], "Cmd": ["run"]}),
            (("new", "x"), {"Entrypoint": ["new", "x"]}),
            ((), {}),
        ],
    )
    def test_an_entrypoint_drops_the_command(self, entrypoint: Any, expected: dict[str, Any]) -> None:
        made = self.made({"Entrypoint": ["old"], "Cmd": ["run"]}, entrypoint=entrypoint)
        assert {key: made[key] for key in ("Entrypoint", "Cmd") if key in made} == expected

    def test_labels_user_and_workdir(self) -> None:
        made = self.made({"Labels": {"a": "0", "b": "0"}, "User": "x"}, {"c": "2"}, labels=(("a", "1"),))
        assert made["Labels"] == {"a": "1", "b": "0", "c": "2"}
        assert (made["User"], made["WorkingDir"]) == ("flytekit", "/root")
