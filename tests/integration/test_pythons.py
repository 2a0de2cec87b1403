"""The interpreter: one that the base has, one that is installed, and refusals that name what was tried."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.interpreters import make_site
from tests.fakes.package_index import serving
from tests.integration.conftest import Command

pytestmark = pytest.mark.integration


def build(
    imagespec: Command,
    folder: Path,
    expect: int = 0,
    env: dict[str, str] | None = None,
    env_: dict[str, str] | None = None,
    **fields: Any,
) -> subprocess.CompletedProcess[str]:
    """Build a spec with these fields; ``env`` is the command's environment, ``env_`` the spec's."""
    spec = {"name": "pythons", "registry": imagespec.registry, "builder": "buildkit", "env": env_, **fields}
    (folder / "image.yaml").write_text(json.dumps(spec))
    return imagespec("build", "image.yaml", cwd=folder, expect=expect, **(env or {}))


def test_a_base_without_python_gets_one_after_the_mirror_was_asked(shared_imagespec: Command, tmp_path: Path) -> None:
    """The mirror has nothing, Debian has 3.11: the container runs that one, and no 3.12 is to be had."""
    (tmp_path / "nothing").mkdir()
    # An engine that has done this once asks nobody again.
    options = {"network": "host", "cache": False}
    fields: dict[str, Any] = {"base_image": "debian:bookworm-slim", "builder_options": options}
    with serving(tmp_path / "nothing") as site:
        mirror = site.url.replace("/simple", "/mirror")
        env = {"IMAGESPEC_PYTHON_MIRROR": mirror}
        built = build(shared_imagespec, tmp_path, env=env, python_version="3.11", **fields)
        asked = [line for line in site.requests if "/mirror/" in line and "cpython-3.11" in line]
        assert asked, site.requests
        assert asked[0].endswith(" 404")
        refused = build(shared_imagespec, tmp_path, 4, env, python_version="3.12", **fields)
    tried = f"no Python 3.12: the base has none; tried uv (from {mirror}) and apt (python3.12)"
    assert f"error: build: python 3.12 in /opt/venv: {tried}" in refused.stderr
    script = "import sys; print(sys.version_info[:2], sys.prefix, sys.base_prefix)"
    said = shared_imagespec.docker("run", "--rm", "--quiet", built.stdout.strip(), "python", "-c", script)
    assert said.strip() == "(3, 11) /opt/venv /usr"


def test_an_interpreter_comes_from_the_mirror(
    testbed: dict[str, Any], shared_imagespec: Command, tmp_path: Path
) -> None:
    """The base has 3.13, the mirror 3.11: the image has the mirror's, with packages, and its user can use both."""
    site = tmp_path / "site"
    ask = ("run", "--rm", "--quiet", f"{testbed['registry']}/{testbed['bases']['python3.11']}", "python3", "-V")
    version = shared_imagespec.docker(*ask).split()[1]
    archive = make_site(Path(testbed["layouts"]["python3.11"]), version, site)
    with serving(site) as served:
        files = served.url.replace("/simple", "/files")
        built = build(
            shared_imagespec,
            tmp_path,
            env={"IMAGESPEC_PYTHON_MIRROR": files},
            base_image="python:3.13-slim-trixie",
            python_version="3.11",
            packages=["humanize==4.12.3"],
            # What uv itself lists is what its own site has: ours lists one archive, at the address of that site.
            # The time is there so that no layer of before is taken.
            env_={"UV_PYTHON_DOWNLOADS_JSON_URL": f"{files}/downloads.json", "NOW": str(time.time_ns())},
            builder_options={"network": "host", "bytecode": False},
        )
        assert f"GET /files/{archive.replace('+', '%2B')} 200" in served.requests
    script = "import sys, humanize, ssl; print(sys.version_info[:2], sys.prefix, sys.base_prefix)"
    said = shared_imagespec.docker("run", "--rm", "--quiet", built.stdout.strip(), "python", "-c", script)
    assert said.startswith("(3, 11) /opt/venv /opt/python/cpython-3.11")
    pip = shared_imagespec.docker("run", "--rm", "--quiet", built.stdout.strip(), "pip", "--version")
    assert pip.rstrip().endswith("(python 3.11)")


def test_a_base_with_another_python_says_which(shared_imagespec: Command, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    fields: dict[str, Any] = {"base_image": "python:3.13-slim-trixie", "builder_options": {"network": "host"}}
    with serving(tmp_path / "nothing") as site:
        env = {"IMAGESPEC_PYTHON_MIRROR": site.url}
        refused = build(shared_imagespec, tmp_path, 4, env, python_version="3.11", **fields)
    assert "no Python 3.11: the base has 3.13." in refused.stderr


def test_an_executable_of_another_version_is_refused(shared_imagespec: Command, tmp_path: Path) -> None:
    fields = {"base_image": "python:3.11-slim-bookworm", "python_exec": "/usr/bin/python3", "python_version": "3.12"}
    refused = build(shared_imagespec, tmp_path, 4, **fields)
    assert "python_version is 3.12, but /usr/bin/python3 is Python 3.11." in refused.stderr


def test_the_default_base_has_the_default_python_compiled(shared_imagespec: Command, tmp_path: Path) -> None:
    """Bytecode is on unless it is switched off (test_fields.py has that)."""
    built = build(shared_imagespec, tmp_path, packages=["humanize==4.12.3"])
    script = (
        "import sys, humanize, pathlib; print(sys.version_info[:2]);"
        "print(len(list(pathlib.Path(humanize.__file__).parent.glob('__pycache__/*.pyc'))) > 3)"
    )
    said = shared_imagespec.docker("run", "--rm", "--quiet", built.stdout.strip(), "python", "-B", "-c", script)
    assert said.split("\n")[:2] == ["(3, 13)", "True"]
