"""The stat cache is never wrong: any change, a young file, damage and other processes lead to reading again."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from imagespec.fingerprint import tree_digest
from imagespec.snapshot import Entries
from imagespec.sources.stat_cache import SLACK_NS, Listed, StatCache, Table, keys_of
from imagespec.spec import Declaration
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


def key_of(one: os.stat_result) -> bytes:
    return keys_of([one])


def one_file(name: str, key: bytes) -> Listed:
    return "", name, key


def save_one(cache: StatCache, root: bytes, name: str, key: bytes, digest: bytes, looked_at_ns: int) -> None:
    cache.save(root, [one_file(name, key)], [digest], looked_at_ns)


def known(cache: StatCache, name: str, key: bytes) -> bytes | None:
    """Return the digest of a file, which the two ways to ask for it agree on."""
    table = cache.load(ROOT)
    (digest,) = table.digests_one_by_one(one_file(name, key))
    assert table.digests(one_file(name, key)) == digest
    return digest


@pytest.fixture
def cache(tmp_path: Path) -> StatCache:
    return StatCache(str(tmp_path / "cache" / "stat"))


def folder(prefix: str, numbers: Sequence[int]) -> tuple[Listed, bytes]:
    keys = keys_of([status(inode=number) for number in numbers])
    return (prefix, "\0".join(f"é{number}" for number in numbers), keys), b"".join(bytes([n]) * 32 for n in numbers)


def save(cache: StatCache, *folders: tuple[Listed, bytes], trees: dict[bytes, bytes] | None = None) -> None:
    cache.save(ROOT, [one for one, _ in folders], [digests for _, digests in folders], OLD + 10 * SLACK_NS, trees)


def test_what_was_saved_is_known(cache: StatCache) -> None:
    folders = [folder("", range(3)), folder("dir/", range(50, 90)), folder("dir/é/", [7])]
    save(cache, *folders)
    table = cache.load(ROOT)
    assert (len(table), table.folders) == (44, 3)
    for listed, digests in folders:
        assert table.digests(listed) == digests
        assert b"".join(one or b"" for one in table.digests_one_by_one(listed)) == digests
    assert table.digests(("other/", *folders[0][0][1:])) is None
    prefix, names, keys = folders[0][0]
    renamed: Listed = (prefix, names.replace("é1", "e1"), keys)
    assert table.digests(renamed) is None
    assert table.digests_one_by_one(renamed)[1] is None
    assert cache.load(b"/other/root").digests(folders[0][0]) is None


def test_a_folder_that_lost_gained_or_changed_a_file_is_known_file_by_file(cache: StatCache) -> None:
    save(cache, folder("d/", [1, 2, 3]))
    table = cache.load(ROOT)
    for numbers, expected in (([1, 3], [1, 3]), ([2, 1, 4, 3], [2, 1, None, 3]), ([3, 2, 1], [3, 2, 1])):
        listed, _ = folder("d/", numbers)
        assert table.digests(listed) is None
        assert [one and one[0] for one in table.digests_one_by_one(listed)] == expected
    prefix, names, _ = folder("d/", [1, 2, 3])[0]
    changed: Listed = (prefix, names, keys_of([status(inode=1), status(inode=2, size=9), status(inode=3)]))
    assert table.digests(changed) is None
    assert [one and one[0] for one in table.digests_one_by_one(changed)] == [1, None, 3]
    swapped: Listed = (prefix, names, keys_of([status(inode=2), status(inode=1), status(inode=3)]))
    assert table.digests_one_by_one(swapped)[:2] == [None, None]


def test_digests_of_the_whole_are_kept_beside_the_files(cache: StatCache) -> None:
    trees = {b"n" * 32: b"d" * 32, b"m" * 32: b"e" * 32}
    save(cache, folder("", [1]), trees=trees)
    assert cache.load(ROOT).trees == trees
    assert Table().trees == {}


def test_no_digest_of_the_whole_is_kept_when_a_file_is_too_young(cache: StatCache) -> None:
    young = status(ctime=OLD + 10 * SLACK_NS)
    listed: Listed = ("", "a\0b", keys_of([status(), young]))
    save(cache, (listed, b"a" * 32 + b"b" * 32), trees={b"n" * 32: b"d" * 32})
    table = cache.load(ROOT)
    assert table.digests_one_by_one(listed) == [b"a" * 32, None]
    assert (table.trees, len(table)) == ({}, 1)


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
    save_one(cache, ROOT, "a", key_of(status()), b"x" * 32, OLD + 10 * SLACK_NS)
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
    save_one(cache, ROOT, "a", key_of(one), b"x" * 32, OLD + 10 * SLACK_NS)
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
    save_one(cache, root, "a", key_of(os.stat(project / "a")), b"remembered".ljust(32), later)
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


def digest_of(project: Path, cache: StatCache | None, clock_ns: Callable[[], int], **fields: Any) -> bytes:
    workspace = Workspace(cwd=str(project), stat_cache=cache, clock_ns=clock_ns)
    fields = fields or {"source_root": ".", "source_copy_mode": "ALL"}
    entries = workspace.take(Declaration(**fields)).trees[0].entries
    assert isinstance(entries, Entries)
    assert tree_digest(tuple(entries)) == entries.digest
    assert len(tuple(entries)) == len(entries)
    return entries.digest


CHANGES: dict[str, Callable[[Path], Any]] = {
    "file": lambda project: (project / "pkg" / "a.py").write_text("other"),
    "new file": lambda project: (project / "pkg" / "c.py").write_text(""),
    "new folder": lambda project: (project / "new").mkdir(),
    "gone file": lambda project: (project / "pkg" / "a.py").unlink(),
    "gone folder": lambda project: (project / "empty").rmdir(),
    "executable": lambda project: (project / "pkg" / "a.py").chmod(0o755),
    "moved": lambda project: (project / "pkg" / "a.py").rename(project / "pkg" / "z.py"),
    "link": lambda project: ((project / "link").unlink(), (project / "link").symlink_to("pkg/b.py")),
    "new link": lambda project: (project / "link2").symlink_to("pkg"),
    "ignored": lambda project: (project / ".gitignore").write_text("b.py"),
    "no more ignored": lambda project: (project / ".dockerignore").unlink(),
    "folder to file": lambda project: ((project / "empty").rmdir(), (project / "empty").write_text("")),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("first_look_s", [100, 0])
def test_a_remembered_whole_never_outlives_a_change(
    tmp_path: Path, cache: StatCache, change: str, first_look_s: int
) -> None:
    project = tmp_path / "p"
    for name in ("pkg/a.py", "pkg/b.py", "top.py", "left/out.py"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(name)
    (project / "empty").mkdir()
    (project / "link").symlink_to("top.py")
    (project / ".dockerignore").write_text("left")
    first = time.time_ns() + first_look_s * 10**9
    later = first + 1000 * 10**9
    before = digest_of(project, None, lambda: later)
    for clock in (first, first, later):
        assert digest_of(project, cache, lambda clock=clock: clock) == before  # type: ignore[misc]
    CHANGES[change](project)
    after = digest_of(project, cache, lambda: later)
    assert after == digest_of(project, None, lambda: later) != before
    assert digest_of(project, cache, lambda: later) == after


def test_one_folder_under_two_names_has_two_digests(tmp_path: Path, cache: StatCache) -> None:
    (tmp_path / "p" / "src").mkdir(parents=True)
    (tmp_path / "p" / "src" / "a.py").write_text("a")
    later = time.time_ns() + 100 * SLACK_NS
    asked: list[dict[str, Any]] = [{"copy": ["src"]}, {"source_root": "src", "source_copy_mode": "ALL"}]
    without = [digest_of(tmp_path / "p", None, lambda: later, **fields) for fields in asked]
    assert without[0] != without[1]
    for _ in range(2):
        assert [digest_of(tmp_path / "p", cache, lambda: later, **fields) for fields in asked] == without


def test_a_digest_of_the_whole_goes_by_the_encoding_that_made_it(tmp_path: Path, cache: StatCache) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a").write_text("a")
    later = time.time_ns() + 100 * SLACK_NS
    right = digest_of(tmp_path / "p", cache, lambda: later)
    root = os.fsencode(os.path.realpath(tmp_path / "p"))
    listed: Listed = ("", "a", key_of(os.stat(tmp_path / "p" / "a")))
    ((name, _),) = cache.load(root).trees.items()
    for remembered, expected in (({name: b"x" * 32}, b"x" * 32), ({b"older".ljust(32): b"x" * 32}, right)):
        cache.save(root, [listed], [hashlib.sha256(b"a").digest()], later, remembered)
        workspace = Workspace(cwd=str(tmp_path / "p"), stat_cache=cache, clock_ns=lambda: later)
        (tree,) = workspace.take(Declaration(source_root=".", source_copy_mode="ALL")).trees
        assert tree_digest(tree.entries) == expected


def test_damage_of_any_byte_is_an_empty_table(tmp_path: Path, cache: StatCache) -> None:
    key = key_of(status())
    save_one(cache, ROOT, "a", key, b"x" * 32, OLD + 10 * SLACK_NS)
    (file,) = (tmp_path / "cache" / "stat").iterdir()
    data = file.read_bytes()
    for position in range(len(data)):
        file.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        assert known(cache, "a", key) is None
    for length in (0, 5, 20, len(data) - 1):
        file.write_bytes(data[:length])
        assert known(cache, "a", key) is None
    save_one(cache, ROOT, "a", key, b"x" * 32, OLD + 10 * SLACK_NS)
    assert known(cache, "a", key) == b"x" * 32


def test_a_folder_that_cannot_be_written_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = StatCache(str(tmp_path / "file" / "below"))
    save_one(cache, ROOT, "a", key_of(status()), b"x" * 32, OLD + 10 * SLACK_NS)
    assert len(cache.load(ROOT)) == 0


def _marked(mark: int) -> tuple[Listed, bytes]:
    names = "\0".join(f"f{number}" for number in range(200))
    return ("", names, key_of(status(inode=mark)) * 200), bytes([mark]) * 32 * 200


def _write_many(folder: str, mark: int) -> None:
    cache = StatCache(folder)
    for _ in range(30):
        save(cache, _marked(mark), trees={bytes([mark]) * 32: bytes([mark]) * 32})


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
            whole = [digests for mark in (1, 2, 3) if (digests := table.digests(_marked(mark)[0]))]
            assert len(whole) == 1
            assert list(table.trees.values()) == [whole[0][:32]]
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert len(cache.load(ROOT)) == 200
    assert len(os.listdir(folder)) == 1
