"""The same project has the same tag on two machines that differ in everything that must not count."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SPEC = """\
name: two-developers
packages: [pandas==2.2.3, humanize]
requirements: requirements.txt
env: {B: two, A: one}
source_root: .
source_copy_mode: ALL
"""


def write_project(folder: Path, umask: int) -> Path:
    """Write the files in an order of their own, under this umask."""
    before = os.umask(umask)
    try:
        (folder / "pkg").mkdir(parents=True)
        names = ["pkg/a.py", "pkg/b.py", "naïve name.txt", "pins.txt", "run.sh"]
        for name in names if umask == 0o022 else reversed(names):
            (folder / name).write_text("x==1.0\n" if name == "pins.txt" else f"# {name}\n")
        (folder / "run.sh").chmod(0o755 & ~umask)
        (folder / "link.py").symlink_to("pkg/a.py")
        (folder / "requirements.txt").write_text("-r pins.txt\n")
        (folder / "image.yaml").write_text(SPEC)
    finally:
        os.umask(before)
    return folder


def tag(folder: Path, cache: Path, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "imagespec", "tag", "image.yaml", "--short"],
        cwd=folder,
        env={**os.environ, "IMAGESPEC_CACHE": str(cache), **env},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "alice" / "work", 0o022)


def test_two_developers_get_the_same_tag(project: Path, tmp_path: Path) -> None:
    other = write_project(tmp_path / "bob" / "a longer path" / "src", 0o077)
    (other / "pkg" / "__pycache__").mkdir()
    (other / "pkg" / "__pycache__" / "a.cpython-312.pyc").write_bytes(b"\0")
    os.utime(other / "pkg" / "a.py", (0, 0))
    mine = tag(project, tmp_path / "c1", LC_ALL="C", TZ="UTC", PYTHONHASHSEED="1")
    theirs = tag(other, tmp_path / "c2", LC_ALL="C.UTF-8", TZ="Asia/Kathmandu", PYTHONHASHSEED="2", PATH="/nowhere")
    assert mine == theirs
    assert mine == tag(project, tmp_path / "c1"), "the second look, with the stat cache"


@pytest.mark.parametrize("change", ["byte", "mode", "link", "path", "nested requirement", "new file"])
def test_whatever_changes_the_image_changes_the_tag(project: Path, tmp_path: Path, change: str) -> None:
    before = tag(project, tmp_path / "cache")
    match change:
        case "byte":
            (project / "pkg" / "a.py").write_text("# pkg/A.py\n")
        case "mode":
            (project / "pkg" / "a.py").chmod(0o755)
        case "link":
            (project / "link.py").unlink()
            (project / "link.py").symlink_to("pkg/b.py")
        case "path":
            shutil.move(project / "pkg" / "b.py", project / "pkg" / "c.py")
        case "nested requirement":
            (project / "pins.txt").write_text("x==1.1\n")
        case _:
            (project / ".hidden").write_text("")
    assert tag(project, tmp_path / "cache") != before
