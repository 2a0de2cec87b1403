"""The stat cache is never wrong: any change, a young file, damage and other processes lead to reading again."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from imagespec.spec import Declaration
from imagespec.stat_cache import SLACK_NS, StatCache, key_of
from imagespec.workspace import Workspace

ROOT = b"/some/root"
OLD = 1_000_000_000 * 10**9


def status(
    size: int = 1, mtime: int = OLD, ctime: int = OLD, inode: int = 5, device: int = 6, mode: int = 0o100644
) -> os.stat_result:
    return os.stat_result(
        (mode, inode, device, 1, 0, 0, size, 0, 0, 0, 0.0, 0.0, 0.0, 0, mtime, ctime)[:10],
        {"st_mtime_ns": mtime, "st_ctime_ns": ctime, "st_atime_ns": 0},
    )


def known(cache: StatCache, path: str, key: bytes) -> bytes | None:
    return cache.load(ROOT).digests([(path, key)])[0]


@pytest.fixture
def cache(tmp_path: Path) -> StatCache:
    return StatCache(str(tmp_path / "cache" / "stat"))


def test_what_was_saved_is_known(cache: StatCache) -> None:
    rows = [(f"dir/é{number}", key_of(status(inode=number)), bytes([number]) * 32) for number in range(50)]
    cache.save(ROOT, rows, OLD + 10 * SLACK_NS)
    assert cache.load(ROOT).digests([row[:2] for row in rows]) == [row[2] for row in rows]
    assert known(cache, "dir/other", rows[0][1]) is None
    assert cache.load(b"/other/root").digests([rows[0][:2]]) == [None]


@pytest.mark.parametrize(
    "changed",
    [
        status(size=2),
        status(mtime=OLD + 1),
        status(ctime=OLD + 1),
        status(inode=7),
        status(device=8),
        status(mode=0o100755),
    ],
    ids=["size", "mtime", "ctime", "inode", "device", "mode"],
)
def test_any_change_is_seen(cache: StatCache, changed: os.stat_result) -> None:
    cache.save(ROOT, [("a", key_of(status()), b"x" * 32)], OLD + 10 * SLACK_NS)
    assert known(cache, "a", key_of(status())) == b"x" * 32
    assert known(cache, "a", key_of(changed)) is None


@pytest.mark.parametrize(
    ("one", "is_trusted"),
    [
        (status(), True),
        (status(ctime=OLD + 9 * SLACK_NS + 1), False),
        (status(ctime=OLD + 9 * SLACK_NS), True),
        (status(mtime=OLD + 9 * SLACK_NS + 1), False),
        (status(ctime=OLD + 20 * SLACK_NS), False),
        # A time set by hand, far ahead: a write would still move ctime.
        (status(mtime=OLD + 20 * SLACK_NS), True),
    ],
)
def test_files_that_changed_just_before_the_look_are_not_trusted(
    cache: StatCache, one: os.stat_result, is_trusted: bool
) -> None:
    cache.save(ROOT, [("a", key_of(one), b"x" * 32)], OLD + 10 * SLACK_NS)
    assert (known(cache, "a", key_of(one)) is not None) == is_trusted


def entries(project: Path, cache: StatCache, clock_ns: Callable[[], int]) -> dict[str, bytes]:
    workspace = Workspace(cwd=str(project), stat_cache=cache, clock_ns=clock_ns)
    tree = workspace.take(Declaration(source_root=".", source_copy_mode="ALL")).trees[0]
    return {entry.path: entry.sha256 for entry in tree.entries}


def sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def test_a_rewrite_with_the_same_size_and_mtime_is_seen(tmp_path: Path, cache: StatCache) -> None:
    project = tmp_path / "p"
    project.mkdir()
    file = project / "a"
    file.write_text("one")
    os.utime(file, ns=(OLD, OLD))
    later = time.time_ns() + 10 * SLACK_NS
    assert entries(project, cache, lambda: later) == {"a": sha256("one")}
    file.write_text("two")
    os.utime(file, ns=(OLD, OLD))
    assert entries(project, cache, lambda: later) == {"a": sha256("two")}


def test_known_files_are_not_read_again(tmp_path: Path, cache: StatCache) -> None:
    project = tmp_path / "p"
    project.mkdir()
    (project / "a").write_text("one")
    later = time.time_ns() + 10 * SLACK_NS
    root = os.fsencode(os.path.realpath(project))
    cache.save(root, [("a", key_of(os.stat(project / "a")), b"remembered".ljust(32))], later)
    assert entries(project, cache, lambda: later) == {"a": b"remembered".ljust(32)}


def test_a_young_file_is_read_again_until_it_is_old_enough(tmp_path: Path, cache: StatCache) -> None:
    project = tmp_path / "p"
    project.mkdir()
    (project / "a").write_text("one")
    now = os.stat(project / "a").st_ctime_ns
    root = os.fsencode(os.path.realpath(project))
    entries(project, cache, lambda: now + SLACK_NS // 2)
    assert len(cache.load(root)) == 0
    entries(project, cache, lambda: now + 2 * SLACK_NS)
    assert len(cache.load(root)) == 1


def test_files_that_are_gone_leave_the_table(tmp_path: Path, cache: StatCache) -> None:
    project = tmp_path / "p"
    project.mkdir()
    for name in "ab":
        (project / name).write_text(name)
    later = time.time_ns() + 10 * SLACK_NS
    entries(project, cache, lambda: later)
    (project / "a").unlink()
    assert list(entries(project, cache, lambda: later)) == ["b"]
    assert len(cache.load(os.fsencode(os.path.realpath(project)))) == 1


def test_damage_of_any_byte_is_an_empty_table(tmp_path: Path, cache: StatCache) -> None:
    key = key_of(status())
    cache.save(ROOT, [("a", key, b"x" * 32)], OLD + 10 * SLACK_NS)
    (file,) = (tmp_path / "cache" / "stat").iterdir()
    data = file.read_bytes()
    for position in range(len(data)):
        file.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        assert known(cache, "a", key) is None
    for length in (0, 5, 20, len(data) - 1):
        file.write_bytes(data[:length])
        assert known(cache, "a", key) is None
    cache.save(ROOT, [("a", key, b"x" * 32)], OLD + 10 * SLACK_NS)
    assert known(cache, "a", key) == b"x" * 32


def test_a_folder_that_cannot_be_written_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = StatCache(str(tmp_path / "file" / "below"))
    cache.save(ROOT, [("a", key_of(status()), b"x" * 32)], OLD + 10 * SLACK_NS)
    assert len(cache.load(ROOT)) == 0


def _write_many(folder: str, mark: int) -> None:
    cache = StatCache(folder)
    rows = [(f"f{number}", key_of(status(inode=mark)), bytes([mark]) * 32) for number in range(200)]
    for _ in range(30):
        cache.save(ROOT, rows, OLD + 10 * SLACK_NS)


def test_several_processes_write_and_read_whole_tables(tmp_path: Path) -> None:
    folder = str(tmp_path / "stat")
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(folder, mark)) for mark in (1, 2, 3)]
    for writer in writers:
        writer.start()
    cache = StatCache(folder)
    while any(writer.is_alive() for writer in writers):
        table = cache.load(ROOT)
        if len(table):
            found = [table.digests([(f"f{n}", key_of(status(inode=mark))) for n in range(200)]) for mark in (1, 2, 3)]
            whole = [digests for digests in found if None not in digests]
            assert len(whole) == 1
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert len(cache.load(ROOT)) == 200
    assert len(os.listdir(folder)) == 1
