"""The golden tags are the same on every interpreter, file system and checkout, and from an installed wheel."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.golden.cases import FOLDER, ROOT, names
from tests.integration.conftest import Command

SCRIPT = ROOT / "tests" / "golden" / "tags.py"
MINORS = ("3.10", "3.11", "3.12", "3.13")


def recorded() -> dict[str, str]:
    return {name: (FOLDER / name / "tag").read_text().strip() for name in names()}


def printed(python: Path | str, folder: Path, **env: str) -> dict[str, str]:
    program = [str(python), str(SCRIPT), str(folder)]
    done = subprocess.run(program, cwd="/", env={**os.environ, **env}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    value: dict[str, str] = json.loads(done.stdout)
    return value


def interpreter(minor: str) -> str | None:
    """Return an interpreter of this minor version on this machine: on the PATH, under pyenv, or uv's own."""
    pyenv = Path.home() / ".pyenv" / "versions"
    for path in [shutil.which(f"python{minor}"), *(str(one) for one in sorted(pyenv.glob(f"{minor}.*/bin/python")))]:
        if path and subprocess.run([path, "-c", "import venv"], capture_output=True, check=False).returncode == 0:
            return path
    return None


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    program = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(program, cwd=ROOT, check=True, capture_output=True)
    return next(folder.iterdir())


@pytest.mark.parametrize("minor", MINORS)
def test_on_every_interpreter_from_a_wheel(minor: str, wheel: Path, tmp_path: Path) -> None:
    base = interpreter(minor)
    if base is None:
        pytest.skip(f"there is no Python {minor} on this machine")
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--python", base, str(tmp_path / "env")], check=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), str(wheel)], check=True)
    assert printed(python, FOLDER, PYTHONPATH="", PYTHONHASHSEED="7", LC_ALL="C", TZ="Pacific/Chatham") == recorded()


def test_every_python_writes_old_characters_alike_and_new_ones_differently() -> None:
    """flytekit's tag is made of ``repr``: what of it can be told is what every Python writes in the same way."""
    script = (
        "import hashlib, sys, unicodedata\n"
        "known = unicodedata.ucd_3_2_0.category\n"
        "every = [chr(code) for code in range(sys.maxunicode + 1)]\n"
        "for chosen in ([c for c in every if known(c) != 'Cn'], every):\n"
        "    print(hashlib.sha256(bytes(c.isprintable() for c in chosen)).hexdigest())\n"
    )
    pythons = [path for path in map(interpreter, MINORS) if path is not None]
    said = [subprocess.run([path, "-c", script], capture_output=True, text=True, check=True).stdout for path in pythons]
    assert len({one.splitlines()[0] for one in said}) == 1
    assert len({one.splitlines()[1] for one in said}) == len(pythons)


def test_on_other_file_systems_and_checkouts(tmp_path: Path) -> None:
    expected = recorded()
    shutil.copytree(FOLDER, tmp_path / "copied", symlinks=True)
    with tarfile.open(tmp_path / "golden.tar", "w") as archive:
        archive.add(FOLDER, arcname="golden")
    with tarfile.open(tmp_path / "golden.tar") as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    places = [tmp_path / "copied", tmp_path / "unpacked" / "golden"]
    if os.access("/dev/shm", os.W_OK):
        memory = Path("/dev/shm", f"imagespec-{os.getpid()}")
        shutil.copytree(FOLDER, memory, symlinks=True)
        places.append(memory)
    try:
        for place in places:
            assert printed(sys.executable, place) == expected, place
    finally:
        for place in places:
            shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository that holds the cases."""
    origin = tmp_path_factory.mktemp("origin") / "golden"
    shutil.copytree(FOLDER, origin, symlinks=True)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com"]
    for arguments in (["init", "-q"], ["add", "--force", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *arguments], cwd=origin, check=True, capture_output=True)
    return origin


@pytest.mark.parametrize(
    ("umask", "environment"),
    [
        (0o022, {}),
        (0o077, {"LC_ALL": "C", "TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "1"}),
        (0o002, {"LC_ALL": "C.UTF-8", "TZ": "America/St_Johns", "PYTHONHASHSEED": "4294967295"}),
        (0o027, {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "PYTHONUTF8": "0", "PYTHONHASHSEED": "random"}),
        (0o022, {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "TZ": "UTC+12"}),
    ],
)
def test_in_a_git_clone_under_other_umasks_locales_and_zones(
    repository: Path, tmp_path: Path, umask: int, environment: dict[str, str]
) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(repository), str(clone)], check=True, umask=umask)
    run_sh = clone / "modes" / "spec" / "tree" / "run.sh"
    assert run_sh.stat().st_mode & 0o777 == 0o777 & ~umask, "the clone was made under the umask"
    assert printed(sys.executable, clone, **environment) == recorded()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("version", "base"), [("3.11", "python:3.11-slim-bookworm"), ("3.13", "python:3.13-slim-trixie")]
)
def test_inside_the_python_bases(imagespec: Command, wheel: Path, tmp_path: Path, version: str, base: str) -> None:
    shutil.copy(wheel, tmp_path)
    shutil.copytree(FOLDER, tmp_path / "golden", symlinks=True)
    shutil.copy(SCRIPT, tmp_path / "tags.py")
    (tmp_path / "requirements.txt").write_text(f"./{wheel.name}\n")
    spec = {
        "name": "inside",
        "base_image": base,
        "python_version": version,
        "requirements": "requirements.txt",
        "copy": ["golden", "tags.py"],
    }
    (tmp_path / "image.yaml").write_text(json.dumps(spec))
    reference = imagespec("build", "image.yaml", "--registry", imagespec.registry, cwd=tmp_path).stdout.strip()
    found = json.loads(imagespec.docker("run", "--rm", "--quiet", reference, "python", "tags.py", "golden"))
    assert found == recorded()
