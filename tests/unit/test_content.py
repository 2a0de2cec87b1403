"""Digests of many files, warm and cold, and what changes while they are read."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from imagespec.errors import InputChanged, InputError
from imagespec.sources import content


def tree(root: Path, count: int) -> dict[str, bytes]:
    files = {f"f{number}": os.urandom(number * 37 % 5000) for number in range(count)}
    for path, data in files.items():
        with (root / path).open("wb") as stream:
            stream.write(data)
            os.fsync(stream.fileno())
    return files


@pytest.mark.parametrize("is_cold", [False, True])
def test_digests_in_order(tmp_path: Path, is_cold: bool) -> None:
    files = tree(tmp_path, 400)
    if is_cold:
        if not hasattr(os, "posix_fadvise"):
            pytest.skip("this system has no posix_fadvise(2)")
        for path in files:
            handle = os.open(tmp_path / path, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)
    found = content.digests(os.fsencode(tmp_path), [(path, len(data)) for path, data in files.items()])
    assert found == [hashlib.sha256(data).digest() for data in files.values()]


def test_large_and_small_and_empty_files_together(tmp_path: Path) -> None:
    sizes = [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20, 5]
    wanted = [(f"f{index}", size) for index, size in enumerate(sizes)]
    for path, size in wanted:
        (tmp_path / path).write_bytes(b"x" * size)
    expected = [hashlib.sha256(b"x" * size).digest() for size in sizes]
    assert content.digests(os.fsencode(tmp_path), wanted) == expected


@pytest.mark.parametrize("size", [10, 2 << 20])
@pytest.mark.parametrize("difference", [-1, 1])
def test_another_size_than_was_seen_is_a_change(tmp_path: Path, size: int, difference: int) -> None:
    (tmp_path / "a").write_bytes(b"x" * (size + difference))
    with pytest.raises(InputChanged, match="'a'"):
        content.digests(os.fsencode(tmp_path), [("a", size)])


@pytest.mark.parametrize("size", [0, 2 << 20])
def test_files_that_became_something_else(tmp_path: Path, size: int) -> None:
    (tmp_path / "target").write_bytes(b"x" * size)
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "folder").mkdir()
    for path, kind in (("gone", InputChanged), ("link", InputChanged), ("folder", InputError)):
        with pytest.raises(kind, match=path):
            content.digests(os.fsencode(tmp_path), [(path, size)])


def test_what_is_a_folder_or_gone_when_it_is_sent_has_changed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path in ("folder", "gone"):
        with pytest.raises(InputChanged, match=path):
            content.open_verified(os.fsencode(tmp_path), path, 0, bytes(32))


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputChanged):
        content.digests(os.fsencode(tmp_path), [("pipe", 5)])


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts in /proc")
def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    files = tree(tmp_path, 300)
    wanted = [(path, len(data)) for path, data in files.items()]
    before = len(os.listdir("/proc/self/fd"))
    content.digests(os.fsencode(tmp_path), wanted)
    with pytest.raises(InputChanged):
        content.digests(os.fsencode(tmp_path), [*wanted, ("gone", 1)])
    assert len(os.listdir("/proc/self/fd")) == before
