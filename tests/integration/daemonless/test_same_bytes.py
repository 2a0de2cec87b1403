"""The same plan with the same locks gives the same digest, whoever builds it, where and when."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.integration.daemonless.places import Offline
from tests.integration.daemonless.processes import ROOT
from tests.integration.test_same_tags_everywhere import interpreter

pytestmark = pytest.mark.integration

SPEC = """\
name: same
base_image: oci-layout:base
pip_index: {index}
packages: [lib]
copy: [app, run.sh, "a file with spaces.txt"]
env: {{B: two, A: "one $HOME"}}
entrypoint: [python, -m, app.main]
"""
FILES = {
    "app/__init__.py": "",
    "app/main.py": "print('main')\n",
    "app/Z.py": "Z = 1\n",
    "app/a.py": "a = 1\n",
    "app/\u00e9t\u00e9.py": "x = 'summer'\n",
    "app/data/large.txt": "line\n" * 5000,
    "run.sh": "#!/bin/sh\n",
    "a file with spaces.txt": "text\n",
}
OTHER_USER = 12_345
# Another user, who may read everything all the same: the interpreter may lie in somebody's home.
AS_OTHER_USER = (
    *("setpriv", f"--reuid={OTHER_USER}", f"--regid={OTHER_USER}", "--clear-groups"),
    *("--inh-caps=+dac_override,+dac_read_search", "--ambient-caps=+dac_override,+dac_read_search"),
)
ON_ANOTHER_HOST = ("unshare", "--uts", "sh", "-c", 'hostname another && exec "$@"', "sh")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


def write_project(folder: Path, offline: Offline, names: Sequence[str], umask: int) -> None:
    """Write the project's files in the order of ``names``: file systems list them by it, or by their hashes."""
    before = os.umask(umask)
    try:
        folder.mkdir(parents=True)
        (folder / "base").symlink_to(offline.layout)
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(FILES[name])
            if name.endswith(".sh"):
                path.chmod(path.stat().st_mode | 0o100)
        (folder / "image.yaml").write_text(SPEC.format(index=offline.index))
    finally:
        os.umask(before)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """How a build is run: by which interpreter, behind which command, under which variables."""

    python: str = sys.executable
    prefix: Sequence[str] = ()
    env: dict[str, str] = field(default_factory=dict)
    umask: int = 0o022
    names: Sequence[str] = tuple(FILES)
    knows_the_base: bool = True


def digest_on(machine: Machine, project: Path, offline: Offline, home: Path) -> str:
    """Return the digests that ``imagespec build`` makes on a machine that has built nothing yet."""
    home.mkdir(parents=True)
    if machine.knows_the_base:
        shutil.copytree(offline.cache / "daemonless" / "bases", home / "cache" / "daemonless" / "bases")
    write_project(project, offline, machine.names, machine.umask)
    if machine.prefix == AS_OTHER_USER:
        for path in (home, *home.rglob("*"), project, *(one for one in project.rglob("*") if not one.is_symlink())):
            os.chown(path, OTHER_USER, OTHER_USER)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("IMAGESPEC_", "LC_", "LANG"))}
    given = {
        "HOME": str(home),
        "IMAGESPEC_STORE": str(home / "store"),
        "IMAGESPEC_CACHE": str(home / "cache"),
        "DOCKER_HOST": f"unix://{home}/none.sock",
        "TMPDIR": str(home),
        "UV_CACHE_DIR": str(home / "uv"),
    }
    # One interpreter of the base's minor version compiles for all: the bytecode choice is the same.
    done = subprocess.run(
        [*machine.prefix, machine.python, "-m", "imagespec", "build", "image.yaml", "--builder", "daemonless"],
        cwd=project,
        env={**kept, **given, **machine.env},
        umask=machine.umask,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "bytecode" not in done.stderr
    listed = json.loads((home / "store" / "index.json").read_text())["manifests"]
    return done.stdout + "".join(sorted(f"{one['digest']}\n" for one in listed))


@pytest.fixture(scope="module")
def expected(looked: Offline, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What this process's own machine makes: the image and its environment."""
    place = tmp_path_factory.mktemp("first")
    found = digest_on(Machine(knows_the_base=False), place / "project", looked, place / "home")
    assert found.count("sha256:") == 2
    return found


@pytest.mark.parametrize(
    "machine",
    [
        pytest.param(Machine(), id="another folder and home"),
        pytest.param(Machine(prefix=AS_OTHER_USER), id="another user", marks=needs_root),
        pytest.param(Machine(prefix=ON_ANOTHER_HOST), id="another host name", marks=needs_root),
        pytest.param(Machine(umask=0o077), id="a narrow umask"),
        pytest.param(Machine(umask=0), id="a wide umask"),
        pytest.param(Machine(env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}), id="the C locale"),
        pytest.param(Machine(env={"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"}), id="a Turkish locale"),
        pytest.param(Machine(env={"TZ": "Pacific/Kiritimati"}), id="another time zone"),
        pytest.param(Machine(env={"PYTHONHASHSEED": "7"}), id="another hash seed"),
        pytest.param(Machine(env={"SOURCE_DATE_EPOCH": "1"}), id="another epoch"),
        pytest.param(Machine(names=tuple(reversed(FILES))), id="files made in another order"),
    ],
)
def test_the_same_image_everywhere(machine: Machine, expected: str, looked: Offline, tmp_path: Path) -> None:
    assert digest_on(machine, tmp_path / "a folder" / "project", looked, tmp_path / "home") == expected


@pytest.mark.parametrize("order", [1, -1])
def test_the_same_image_on_another_file_system(order: int, expected: str, looked: Offline) -> None:
    with memory_folder() as folder:
        machine = Machine(names=tuple(FILES)[::order])
        assert digest_on(machine, folder / "project", looked, folder / "home") == expected


@contextmanager
def memory_folder() -> Iterator[Path]:
    """Give a folder in memory, which lists files newest first, where there is such a file system."""
    parent = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        yield Path(folder)


@pytest.mark.parametrize("minor", ["3.10", "3.11", "3.12", "3.13"])
def test_the_same_image_by_every_python(minor: str, expected: str, looked: Offline, tmp_path: Path) -> None:
    python = interpreter(minor)
    if python is None:
        pytest.skip(f"there is no Python {minor} on this machine")
    site = next(path for path in sys.path if path.endswith("site-packages"))
    env = {"PYTHONPATH": os.pathsep.join([str(ROOT / "builder"), site]), "PYTHONWARNINGS": "ignore"}
    assert (
        digest_on(
            Machine(python=python, env=env, knows_the_base=False), tmp_path / "project", looked, tmp_path / "home"
        )
        == expected
    )
