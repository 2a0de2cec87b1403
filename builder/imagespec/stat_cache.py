"""Digests remembered by what stat(2) says of a file, so that an unchanged tree is not read again.

Never wrong: an entry holds only while size, mtime, ctime, inode, device and mode are all the same, and a file that was
touched within the last seconds before it was looked at is not remembered at all (git calls such entries racily clean).
One table per walked root, in a file that is replaced atomically and carries its own checksum: a reader sees one whole
table or none, whoever else writes, and a damaged one counts as none.
"""

from __future__ import annotations

import hashlib
import os
import struct
import threading
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from typing import Final

__all__ = ["SLACK_NS", "StatCache", "Table", "key_of"]

SLACK_NS: Final = 2_000_000_000
"""A file that changed less than this before the look is read again next time: the coarsest clock of a file system."""

_MAGIC: Final = b"imagespec-stat-1\n"
_KEY: Final = struct.Struct("<qqqQQI")
_CHECKSUM_BYTES: Final = 32
_RECORD_BYTES: Final = _KEY.size + 32
_pack = _KEY.pack


def key_of(status: os.stat_result) -> bytes:
    """Return everything in ``status`` that would change with the file, as one value to compare."""
    return _pack(
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
        status.st_dev,
        status.st_mode & 0xFFFFFFFF,
    )


class Table:
    """What is known of one root's files: path to key and raw sha256."""

    __slots__ = ("_offsets", "_records")

    def __init__(self, paths: Iterable[str] = (), records: bytes = b"") -> None:
        self._offsets = dict(zip(paths, count(0, _RECORD_BYTES)))
        self._records = records

    def __len__(self) -> int:
        return len(self._offsets)

    def digests(self, files: Iterable[tuple[str, bytes]]) -> list[bytes | None]:
        """Return the raw sha256 of every (path, key), None where it is not known under this very key."""
        records, offset_of, key_bytes = self._records, self._offsets.get, _KEY.size
        found: list[bytes | None] = []
        for path, key in files:
            offset = offset_of(path)
            if offset is None or records[offset : (middle := offset + key_bytes)] != key:
                found.append(None)
            else:
                found.append(records[middle : offset + _RECORD_BYTES])
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
        head = len(_MAGIC) + _CHECKSUM_BYTES
        body = data[head:]
        if not data.startswith(_MAGIC) or hashlib.sha256(body).digest() != data[len(_MAGIC) : head]:
            return Table()
        end = 4 + int.from_bytes(body[:4], "big") * _RECORD_BYTES
        records, paths = body[4:end], body[end:].decode().split("\0") if end > 4 else []
        return Table(paths, records)

    def save(self, root: bytes, rows: Iterable[tuple[str, bytes, bytes]], looked_at_ns: int) -> None:
        """Replace the table of ``root`` by (path, key, raw sha256) rows, without those too young to be trusted.

        ``looked_at_ns`` is the time before the first key was taken. A folder that cannot be written is left alone.
        """
        kept = list(rows)
        times = _KEY.iter_unpack(b"".join([key for _, key, _ in kept]))
        racy = [_is_racy(modified_ns, changed_ns, looked_at_ns) for _, modified_ns, changed_ns, _, _, _ in times]
        if True in racy:
            kept = [row for row, is_racy in zip(kept, racy, strict=True) if not is_racy]
        records = b"".join([part for _, key, digest in kept for part in (key, digest)])
        body = len(kept).to_bytes(4, "big") + records + "\0".join([path for path, _, _ in kept]).encode()
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


def _is_racy(modified_ns: int, changed_ns: int, looked_at_ns: int) -> bool:
    """Return whether the file may change once more without its times changing: every write sets ctime to the clock."""
    return changed_ns > looked_at_ns - SLACK_NS or abs(modified_ns - looked_at_ns) < SLACK_NS
