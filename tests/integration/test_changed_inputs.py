"""A file that is no longer what was hashed stops the build, by name, and no tag is pushed: whatever happened to it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import Command

pytestmark = pytest.mark.integration

# One process, as of any build, in which the change comes when everything is hashed and nothing is sent.
BUILD = """
import os, sys, time
from pathlib import Path
from imagespec.targets import named as targets
from imagespec.batch import ensure_all
from imagespec.compose import Composition
from imagespec.settings import Settings

def edited(file):
    before = file.stat()
    file.write_bytes(b"B" * len(file.read_bytes()))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

def renamed(file):
    file.rename(file.with_name("other.py"))

def replaced_by_a_link(file):
    file.rename(file.with_name("other.py"))
    file.symlink_to("other.py")

def replaced_by_a_folder(file):
    file.unlink()
    file.mkdir()

def grown(file):
    with file.open("ab") as stream:
        stream.write(b"more")

def cut(file):
    os.truncate(file, 1)

def untouched(file):
    pass

registry, builder, change = sys.argv[1:]
(target,) = targets.load("image.yaml", Path.cwd())
composition = Composition(Settings.load())
request = composition.request(target, builder=builder)
globals()[change](Path("app", "state.py"))
(ending,) = ensure_all([request], composition.workspace, emit=lambda event: None, clock=time.monotonic)
there = request.images.resolve(request.reference) is not None
print(type(ending.error).__name__, there, ending.error, getattr(ending.error, "path", ""), sep="|")
"""


def build(imagespec: Command, folder: Path, builder: str, change: str) -> list[str]:
    (folder / "app").mkdir()
    (folder / "app" / "a.py").write_text("A = 1\n")
    (folder / "app" / "state.py").write_bytes(b"A" * 1000)
    (folder / "image.yaml").write_text(f"name: changed\nregistry: {imagespec.registry}\ncopy: [app]\n")
    program = [sys.executable, "-c", BUILD, imagespec.registry, builder, change]
    done = subprocess.run(program, cwd=folder, env=imagespec.env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().split("|")


@pytest.mark.parametrize("builder", ["daemonless", "buildkit"])
@pytest.mark.parametrize("change", ["edited", "renamed", "replaced_by_a_link", "replaced_by_a_folder", "grown", "cut"])
def test_a_file_that_changed_after_it_was_hashed_is_named(
    shared_imagespec: Command, tmp_path: Path, builder: str, change: str
) -> None:
    error, is_there, message, path = build(shared_imagespec, tmp_path, builder, change)
    assert error == "InputChanged", message
    assert "state.py" in message
    assert path.endswith("state.py")
    assert is_there == "False", "no tag is pushed"


@pytest.mark.parametrize("builder", ["daemonless", "buildkit"])
def test_an_untouched_file_is_built(shared_imagespec: Command, tmp_path: Path, builder: str) -> None:
    assert build(shared_imagespec, tmp_path, builder, "untouched")[:2] == ["NoneType", "True"]
