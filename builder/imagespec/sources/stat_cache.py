"""Digests remembered by what stat(2) says of a file, so that an unchanged tree is not read again.

Never wrong: an entry holds only while size, mtime, ctime, inode, device and mode are all the same, and a file that was
touched within the last seconds before it was looked at is not remembered at all (git calls such entries racily clean).
One table per walked root, in a file that is replaced atomically and carries its own checksum: a reader sees one whole
table or none, whoever else writes, and a damaged one counts as none.

A folder is looked up at once: its names and all its keys are one comparison, and where every folder is as it was, so is
the digest of the whole tree.
"""

from __future__ import annotations

import hashlib
import os
import struct
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import starmap
from operator import attrgetter
from typing import Final, TypeAlias

__all__ = ["DIGEST_BYTES", "SLACK_NS", "Listed", "StatCache", "Table", "keys_of", "modes", "sizes"]

SLACK_NS: Final = 2_000_000_000
"""A file that changed less than this before the look is read again next time: the coarsest clock of a file system."""

DIGEST_BYTES: Final = 32

Listed: TypeAlias = tuple[str, str, bytes]
"""Regular files of one folder: what their paths start with ('' or ending with '/'), their names with NUL between, and
their keys one after the other. A folder without such files is not listed."""

_MAGIC: Final = b"imagespec-stat-2\n"
_KEY: Final = struct.Struct("<qqqQQI")
_TIMES: Final = struct.Struct("<8xqq20x")
_SIZE: Final = struct.Struct("<q36x")
_MODE: Final = struct.Struct("<40xI")
_COUNTS: Final = struct.Struct("<II")
_FOLDER: Final = struct.Struct("<III")
_pack = _KEY.pack
_what_counts = attrgetter("st_size", "st_mtime_ns", "st_ctime_ns", "st_ino", "st_dev", "st_mode")


def keys_of(statuses: Iterable[os.stat_result]) -> bytes:
    """Return, for each status, everything that would change with the file, as one value to compare."""
    return b"".join(starmap(_pack, map(_what_counts, statuses)))


def sizes(keys: bytes) -> list[int]:
    """Return the size in bytes that each key tells."""
    return [size for (size,) in _SIZE.iter_unpack(keys)]


def modes(keys: bytes) -> list[int]:
    """Return the mode that each key tells."""
    return [mode for (mode,) in _MODE.iter_unpack(keys)]


class Table:
    """What is known of one root's files, folder by folder; ``trees`` are digests of the whole, under any name."""

    __slots__ = ("_count", "_digests", "_folders", "_keys", "trees")

    def __init__(
        self,
        folders: Iterable[tuple[str, str, int]] = (),
        keys: bytes = b"",
        digests: bytes = b"",
        trees: Mapping[bytes, bytes] | None = None,
    ) -> None:
        """Take (prefix, names, count) of every folder, and all keys and digests in the same order."""
        self._folders: dict[str, tuple[str, int, int]] = {}
        self._keys = keys
        self._digests = digests
        self._count = 0
        self.trees: Mapping[bytes, bytes] = trees or {}
        for prefix, names, count in folders:
            self._folders[prefix] = (names, self._count, self._count + count)
            self._count += count

    def __len__(self) -> int:
        return self._count

    @property
    def folders(self) -> int:
        """How many folders have files in it."""
        return len(self._folders)

    def digests(self, listed: Listed) -> bytes | None:
        """Return the raw sha256 of a folder's files, one after the other; None unless all are what they were."""
        prefix, names, keys = listed
        known, start, end = self._folders.get(prefix, ("", 0, 0))
        if known != names or self._keys[start * _KEY.size : end * _KEY.size] != keys:
            return None
        return self._digests[start * DIGEST_BYTES : end * DIGEST_BYTES]

    def digests_one_by_one(self, listed: Listed) -> list[bytes | None]:
        """Return the raw sha256 of each of a folder's files, None where it is not known under this very key."""
        prefix, names, keys = listed
        if prefix not in self._folders:
            return [None] * (len(keys) // _KEY.size)
        known, start, end = self._folders[prefix]
        at = dict(zip(known.split("\0"), range(start, end), strict=False))
        found: list[bytes | None] = []
        for index, name in enumerate(names.split("\0")):
            row, key = at.get(name), keys[index * _KEY.size : (index + 1) * _KEY.size]
            if row is None or self._keys[row * _KEY.size : (row + 1) * _KEY.size] != key:
                found.append(None)
            else:
                found.append(self._digests[row * DIGEST_BYTES : (row + 1) * DIGEST_BYTES])
        return found


class StatCache:
    """The tables in one folder of this machine."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def load(self, root: bytes) -> Table:
        """Return the table of ``root`` (an absolute path without links); empty when there is none or it is damaged."""
        try:
            with open(self._file(root), "rb") as stream:
                data = stream.read()
        except OSError:
            return Table()
        head = len(_MAGIC) + DIGEST_BYTES
        body = data[head:]
        if not data.startswith(_MAGIC) or hashlib.sha256(body).digest() != data[len(_MAGIC) : head]:
            return Table()
        return _unpacked(body)

    def save(
        self,
        root: bytes,
        folders: Sequence[Listed],
        digests: Sequence[bytes],
        looked_at_ns: int,
        trees: Mapping[bytes, bytes] | None = None,
    ) -> None:
        """Replace the table of ``root`` by these folders and their digests, without files too young to be trusted.

        ``looked_at_ns`` is the time before the first key was taken; ``trees`` are 32-byte digests of the whole under
        32-byte names. A folder that cannot be written is left alone.
        """
        trusted = [_trusted(*row, looked_at_ns) for row in zip(folders, digests, strict=True)]
        if any(kept is not listed for (kept, _), listed in zip(trusted, folders, strict=True)):
            # The whole has files that the table has not: no later state of the table could speak for it.
            trees = None
        body = _packed([row for row in trusted if row[0][2]], trees or {})
        with suppress(OSError):
            self._replace(self._file(root), _MAGIC + hashlib.sha256(body).digest() + body)

    def _file(self, root: bytes) -> str:
        return os.path.join(self._folder, hashlib.sha256(root).hexdigest()[:32])

    def _replace(self, file: str, data: bytes) -> None:
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        temporary = f"{file}.{os.getpid()}.{threading.get_ident()}"
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with open(handle, "wb") as stream:
                stream.write(data)
            os.replace(temporary, file)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise


def _trusted(listed: Listed, digests: bytes, looked_at_ns: int) -> tuple[Listed, bytes]:
    """Return a folder and its digests without the files that may change once more without their times changing."""
    prefix, names, keys = listed
    # The file may change once more without its times changing, but for this: every write sets ctime to the clock.
    latest = looked_at_ns - SLACK_NS
    racy = [
        changed > latest or -SLACK_NS < modified - looked_at_ns < SLACK_NS
        for modified, changed in _TIMES.iter_unpack(keys)
    ]
    if True not in racy:
        return listed, digests
    old = [index for index, is_racy in enumerate(racy) if not is_racy]
    every = names.split("\0")
    return (
        (prefix, "\0".join([every[index] for index in old]), _chosen(keys, old, _KEY.size)),
        _chosen(digests, old, DIGEST_BYTES),
    )


def _chosen(rows: bytes, indexes: Iterable[int], size: int) -> bytes:
    return b"".join([rows[index * size : (index + 1) * size] for index in indexes])


def _packed(rows: Sequence[tuple[Listed, bytes]], trees: Mapping[bytes, bytes]) -> bytes:
    """Return a table: counts, trees, and of all folders the lengths, the keys, the digests and the text."""
    lengths = [_FOLDER.pack(len(prefix), len(names), len(keys) // _KEY.size) for (prefix, names, keys), _ in rows]
    text = "".join([part for (prefix, names, _), _ in rows for part in (prefix, names)])
    parts = [
        _COUNTS.pack(len(trees), len(rows)),
        *(part for tree in trees.items() for part in tree),
        *lengths,
        *(keys for (_, _, keys), _ in rows),
        *(digests for _, digests in rows),
        text.encode(),
    ]
    return b"".join(parts)


def _unpacked(body: bytes) -> Table:
    tree_count, folder_count = _COUNTS.unpack_from(body)
    names_at = _COUNTS.size + tree_count * 2 * DIGEST_BYTES
    trees = [body[at : at + DIGEST_BYTES] for at in range(_COUNTS.size, names_at, DIGEST_BYTES)]
    keys_at = names_at + folder_count * _FOLDER.size
    lengths = list(_FOLDER.iter_unpack(body[names_at:keys_at]))
    count = sum([files for _, _, files in lengths])
    digests_at = keys_at + count * _KEY.size
    text_at = digests_at + count * DIGEST_BYTES
    return Table(
        _folders(lengths, body[text_at:].decode()),
        body[keys_at:digests_at],
        body[digests_at:text_at],
        dict(zip(trees[::2], trees[1::2], strict=True)),
    )


def _folders(lengths: Iterable[tuple[int, int, int]], text: str) -> Iterator[tuple[str, str, int]]:
    at = 0
    for prefix, names, files in lengths:
        middle, end = at + prefix, at + prefix + names
        yield text[at:middle], text[middle:end], files
        at = end
