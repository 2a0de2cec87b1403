"""Wheel, sdist and editable install all carry the template and the command."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = "imagespec/templates/Dockerfile.j2"
RENDER = "import imagespec, imagespec.compose as c; print(imagespec.__file__); print(len(c.dockerfile_template()))"


def build(source: Path, folder: Path, kind: str) -> Path:
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)], cwd=source, check=True)
    return next(path for path in folder.iterdir() if path.suffix in (".whl", ".gz"))


def rendered_by(folder: Path, cwd: Path) -> list[str]:
    env = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, "-c", RENDER], cwd=cwd, env=env, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("wheel"), "wheel")


def test_the_wheel_holds_the_template_and_works(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert names.count(TEMPLATE) == 1
        assert not [name for name in names if name.startswith(("tests/", "testdata/", "builder/"))]
        archive.extractall(tmp_path / "installed")
    where, length = rendered_by(tmp_path / "installed", tmp_path)
    assert where == str(tmp_path / "installed" / "imagespec" / "__init__.py")
    assert int(length) == len((ROOT / "templates" / "Dockerfile.j2").read_text())


def test_the_sdist_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    sdist = build(ROOT, tmp_path / "sdist", "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    source = next((tmp_path / "source").iterdir())
    again = build(source, tmp_path / "again", "wheel")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert {name: one.read(name) for name in one.namelist()} == {
            name: other.read(name) for name in other.namelist()
        }


def test_the_editable_install_finds_the_template_from_anywhere(tmp_path: Path) -> None:
    where, length = rendered_by(tmp_path / "nothing", tmp_path)
    assert Path(where).resolve() == ROOT / "builder" / "imagespec" / "__init__.py"
    assert int(length) > 0
