"""Every kind of file that ``requirements`` takes, made by the tools that people use, installed and asked from inside.

Lock files name package hosts, so they are made here, never kept.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.package_index import make_wheel, public_index
from tests.integration.conftest import Command

pytestmark = pytest.mark.integration

PROJECT = """
[project]
name = "outer"
version = "0.1"
requires-python = ">=3.11"
dependencies = ["humanize==4.12.3"{more}]
[project.optional-dependencies]
table = ["tabulate==0.9.0"]
unasked = ["typing-extensions==4.12.2"]
[dependency-groups]
dev = ["iniconfig==2.0.0"]
train = ["tomli==2.2.1"]
"""
ASKED = {"builder_options": {"extras": ["table"], "groups": ["train"]}}
CHOSEN = {"humanize==4.12.3", "tabulate==0.9.0", "tomli==2.2.1"}


def uv(*arguments: str, cwd: Path) -> None:
    from uv import find_uv_bin

    # The interpreter of these tests must not be taken for the project's.
    env = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}
    done = subprocess.run([find_uv_bin(), *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def installed(imagespec: Command, folder: Path, **fields: Any) -> set[str]:
    """Return what pip lists in the image of this spec, without pip itself."""
    spec = {
        "name": "locks",
        "builder": "buildkit",
        "registry": imagespec.registry,
        "base_image": "python:3.11-slim-bookworm",
        **fields,
    }
    (folder / "image.yaml").write_text(json.dumps(spec))
    reference = imagespec("build", "image.yaml", cwd=folder).stdout.strip()
    listed = imagespec.docker("run", "--rm", "--quiet", reference, "pip", "list", "--format=freeze").split()
    return {one for one in listed if not one.startswith("pip==")}


def test_uv_lock_of_a_workspace(shared_imagespec: Command, tmp_path: Path) -> None:
    """The packages that the projects depend on are installed; the projects themselves come with the sources."""
    members = '[tool.uv.workspace]\nmembers = ["libs/*"]\n[tool.uv.sources]\ninner = { workspace = true }\n'
    beside = 'beside = { path = "beside" }\n'
    (tmp_path / "pyproject.toml").write_text(PROJECT.format(more=', "inner", "beside"') + members + beside)
    for name, path, needs in (("inner", "libs/inner", "six==1.17.0"), ("beside", "beside", "colorama==0.4.6")):
        text = f'[project]\nname = "{name}"\nversion = "0.1"\nrequires-python = ">=3.11"\ndependencies = ["{needs}"]\n'
        (tmp_path / path).mkdir(parents=True)
        (tmp_path / path / "pyproject.toml").write_text(text)
    uv("lock", cwd=tmp_path)
    found = installed(shared_imagespec, tmp_path, requirements="uv.lock", **ASKED)
    assert found == {*CHOSEN, "six==1.17.0", "colorama==0.4.6"}
    developing = {"builder_options": {"groups": ["dev"]}}
    found = installed(shared_imagespec, tmp_path, requirements="uv.lock", **developing)
    assert found == {"humanize==4.12.3", "six==1.17.0", "colorama==0.4.6", "iniconfig==2.0.0"}


def test_pylock_toml_with_extras_and_groups(shared_imagespec: Command, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PROJECT.format(more=""))
    uv(
        "export",
        "--format=pylock.toml",
        "--no-dev",
        "--extra=table",
        "--group=train",
        "-o",
        "pylock.prod.toml",
        cwd=tmp_path,
    )
    lock = (tmp_path / "pylock.prod.toml").read_text()
    # uv writes what was chosen; PEP 751 can also leave the choice to the installer.
    declared = 'extras = ["table"]\ndependency-groups = ["train"]\ndefault-groups = []\n'
    lock = lock.replace("\n[[packages]]", f"{declared}\n[[packages]]", 1)
    lock = lock.replace('name = "tabulate"\n', 'name = "tabulate"\nmarker = "\'table\' in extras"\n')
    lock = lock.replace('name = "tomli"\n', 'name = "tomli"\nmarker = "\'train\' in dependency_groups"\n')
    (tmp_path / "pylock.prod.toml").write_text(lock)
    assert installed(shared_imagespec, tmp_path, requirements="pylock.prod.toml", **ASKED) == CHOSEN
    assert installed(shared_imagespec, tmp_path, requirements="pylock.prod.toml") == {"humanize==4.12.3"}


def test_poetry_lock_with_extras_and_groups(shared_imagespec: Command, tmp_path: Path) -> None:
    source = f'[[tool.poetry.source]]\nname = "index"\nurl = "{public_index()}"\npriority = "primary"\n'
    (tmp_path / "pyproject.toml").write_text(PROJECT.format(more=", \"colorama ; sys_platform == 'win32'\"") + source)
    uv("tool", "run", "--quiet", "poetry@2.5.1", "lock", cwd=tmp_path)
    assert installed(shared_imagespec, tmp_path, requirements="poetry.lock", **ASKED) == CHOSEN


def test_pyproject_toml_with_extras_groups_and_more_packages(shared_imagespec: Command, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PROJECT.format(more=""))
    found = installed(shared_imagespec, tmp_path, requirements="pyproject.toml", packages=["six==1.17.0"], **ASKED)
    assert found == {*CHOSEN, "six==1.17.0"}


def test_requirements_with_projects_wheels_nested_files_and_hashes(shared_imagespec: Command, tmp_path: Path) -> None:
    uv(
        *("pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--python-version=3.11"),
        *("-o", "hashed.txt", "wanted.in"),
        cwd=_written(tmp_path, {"wanted.in": "humanize\nsix==1.17.0\n"}),
    )
    hashed = (tmp_path / "hashed.txt").read_text()
    assert "--hash=sha256:" in hashed
    (tmp_path / "dist").mkdir()
    make_wheel(tmp_path / "dist", "wheeled")
    project = '[project]\nname = "my-project"\nversion = "0.3"\ndependencies = ["tabulate<1"]\n'
    build = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
    _written(
        tmp_path,
        {
            "requirements.txt": "-r sub/more.txt\n./dist/wheeled-1.0-py3-none-any.whl\n-e ./my project\n",
            "sub/more.txt": "# a comment\n-c limits.txt\ntabulate\n",
            "sub/limits.txt": "tabulate==0.8.10\n",
            "my project/pyproject.toml": project + build,
            "my project/my_project.py": "",
        },
    )
    found = installed(shared_imagespec, tmp_path, requirements="requirements.txt")
    assert found == {"wheeled==1.0", "tabulate==0.8.10", "my-project==0.3"}, "installed, not linked to a folder"

    names = {line.split("==")[0] for line in hashed.splitlines() if "==" in line}
    found = installed(shared_imagespec, tmp_path, requirements="hashed.txt", pip_extra_args="--require-hashes")
    assert {one.split("==")[0] for one in found} == names


def _written(folder: Path, texts: dict[str, str]) -> Path:
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def test_a_child_of_a_child_keeps_versions_unless_it_asks_for_others(shared_imagespec: Command, tmp_path: Path) -> None:
    """Three deep; the last one takes its versions from a lock, which goes before the parents'."""
    (tmp_path / "pyproject.toml").write_text(PROJECT.format(more=""))
    uv("export", "--format=pylock.toml", "--no-dev", "-o", "pylock.toml", cwd=tmp_path)
    (tmp_path / "specs.py").write_text(
        "from imagespec import ImageSpec\n"
        f"common = {{'name': 'locks', 'builder': 'buildkit', 'registry': {shared_imagespec.registry!r}}}\n"
        "first = ImageSpec(**common, base_image='python:3.11-slim-bookworm',\n"
        "                  packages=['humanize==4.11.0', 'six==1.16.0', 'tabulate==0.8.10'])\n"
        "second = ImageSpec(**common, base_image=first, env={'SECOND': '$HOME'}, entrypoint=['cat'],\n"
        "                   packages=['tabulate>0.8.10', 'six>1.16', 'wcwidth==0.2.13'], commands=['id -u > /who'])\n"
        "third = ImageSpec(**common, base_image=second, requirements='pylock.toml', entrypoint=[])\n"
    )
    reference = shared_imagespec("build", "specs.py:third", cwd=tmp_path).stdout.strip()
    script = 'pip list --format=freeze | grep -v ^pip; printf \'%s\\n\' "$SECOND" "$(cat /who)"; which python; id -un'
    said = shared_imagespec.docker("run", "--rm", "--quiet", reference, "sh", "-c", script).splitlines()
    versions = dict(line.split("==") for line in said if "==" in line)
    assert versions["humanize"] == "4.12.3", "the lock's"
    assert versions["tabulate"] != "0.8.10", "asked for anew"
    assert versions["six"] != "1.16.0"
    assert versions["wcwidth"] == "0.2.13"
    assert said[-4:] == ["$HOME", "0", "/opt/venv/bin/python", "flytekit"]
    assert not json.loads(shared_imagespec.docker("inspect", reference))[0]["Config"].get("Entrypoint")
