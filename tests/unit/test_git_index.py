"""The git index, version by version, as git writes it; and bytes that are none."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from imagespec.sources.git_index import NotAnIndexError, shared_index, tracked_paths

PATHS = ["a", "a-b", f"dir/{'x' * 200}/{'y' * 200}", "dir/é ü", "dir/sub/1234567", "dir/sub/12345678", "z\nz"]

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git writes the index")


def index(top: Path, version: int, *, object_format: str = "sha1") -> bytes:
    environment = {"HOME": str(top), "PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1"}

    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=top, env=environment, check=True, capture_output=True)

    git("init", "-q", f"--object-format={object_format}")
    for path in PATHS:
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(path)
    git("add", "-f", "--", *PATHS[:-1])
    # Only an entry with extended flags makes git write version 3.
    git("add", "-N", "--", PATHS[-1])
    git("update-index", f"--index-version={version}", "--force-write-index")
    return (top / ".git" / "index").read_bytes()


@pytest.mark.parametrize("version", [2, 4])
@pytest.mark.parametrize(("object_format", "hash_bytes"), [("sha1", 20), ("sha256", 32)])
def test_paths_that_git_tracks(tmp_path: Path, version: int, object_format: str, hash_bytes: int) -> None:
    data = index(tmp_path, version, object_format=object_format)
    assert data[7] == (3 if version == 2 else 4)
    assert tracked_paths(data, hash_bytes=hash_bytes) == {path.encode() for path in PATHS}


@pytest.mark.parametrize("version", [2, 4])
def test_an_index_that_ends_early_or_is_none(tmp_path: Path, version: int) -> None:
    data = index(tmp_path, version)
    for broken in (b"", b"DIRC", b"JUNK" + data[4:], data[:7] + b"\x05" + data[8:], data[:100], data[:-400]):
        with pytest.raises(NotAnIndexError):
            tracked_paths(broken)


def test_an_empty_index() -> None:
    assert tracked_paths(b"DIRC\0\0\0\x02\0\0\0\0" + bytes(20)) == frozenset()


def test_a_split_index_names_the_file_with_the_rest(tmp_path: Path) -> None:
    assert shared_index(index(tmp_path, 2)) is None
    subprocess.run(["git", "update-index", "--split-index"], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "later").touch()
    subprocess.run(["git", "add", "later"], cwd=tmp_path, check=True, capture_output=True)
    data = (tmp_path / ".git" / "index").read_bytes()
    name = shared_index(data)
    assert name is not None
    assert tracked_paths(data) == {b"later"}
    assert tracked_paths((tmp_path / ".git" / name).read_bytes()) == {path.encode() for path in PATHS}
