"""Entries to tar bytes, the same bytes for the same entries: the uncompressed form of an image layer.

Format: POSIX.1-2001 pax interchange (ustar headers, an extended header where a field does not fit), as the OCI Image
Specification's ``layer.md`` asks. No names of users, no device numbers, one fixed time: 1980-01-01, the earliest that
a zip archive can hold, since tools in the container copy file times into zips.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

__all__ = [
    "BLOCK_BYTES",
    "END",
    "EPOCH_S",
    "FILE",
    "FOLDER",
    "LINK",
    "TarEntry",
    "header",
    "padding",
    "parents_of",
    "tar_bytes",
]

BLOCK_BYTES: Final = 512
END: Final = bytes(2 * BLOCK_BYTES)
"""The end of an archive: two blocks of zeros."""

EPOCH_S: Final = 315_532_800

FILE: Final = b"0"
LINK: Final = b"2"
FOLDER: Final = b"5"
_PAX: Final = b"x"

_NAME_BYTES: Final = 100
_PREFIX_BYTES: Final = 155
_MAX_OCTAL_7: Final = 0o7777777
_MAX_OCTAL_11: Final = 0o77777777777
_MTIME: Final = b"%011o\0" % EPOCH_S
_MAGIC: Final = b"ustar\x0000"
_NO_NAMES: Final = bytes(80)
_PAX_NAME: Final = b"pax-header"


class TarEntry(NamedTuple):
    """One path of a layer, relative, with '/', folders without a trailing one; ``target`` is a link's text."""

    path: str
    kind: bytes = FILE
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size_bytes: int = 0
    target: str = ""


def header(entry: TarEntry) -> bytes:
    """Return the header block of an entry, after the blocks of a pax header where a field needs one.

    The content of ``entry.size_bytes`` bytes follows, and then ``padding``. Raise ValueError for a path that is empty,
    absolute, has ``..`` or a NUL in it.
    """
    name, target = _encoded(entry.path), entry.target.encode()
    if b"\0" in target:
        raise ValueError(f"tar: a link's target has a NUL: {entry.path!r}")
    if entry.kind == FOLDER:
        name += b"/"
    records = _pax_records(name, target, entry)
    prefix, short = _split(name)
    block = _block(short, prefix, target[:_NAME_BYTES], entry, entry.kind, entry.size_bytes)
    if not records:
        return block
    data = b"".join(records)
    pax = _block(_PAX_NAME, b"", b"", entry._replace(mode=0o644, uid=0, gid=0), _PAX, len(data))
    return b"".join((pax, data, padding(len(data)), block))


def padding(size_bytes: int) -> bytes:
    """Return the zeros that fill up the last block of a content of this size."""
    return bytes(-size_bytes % BLOCK_BYTES)


def tar_bytes(entries: Iterable[tuple[TarEntry, bytes]]) -> bytes:
    """Return the archive of small entries with their contents, in the order given.

    Raise ValueError when a content has not the size its entry says.
    """
    parts: list[bytes] = []
    for entry, data in entries:
        if len(data) != entry.size_bytes:
            raise ValueError(f"tar: {entry.path!r} has {len(data)} bytes, not {entry.size_bytes}")
        parts += (header(entry), data, padding(len(data)))
    return b"".join((*parts, END))


def parents_of(paths: Iterable[str]) -> Sequence[str]:
    """Return the folders above the paths, sorted, so that each comes before what it holds."""
    found: set[str] = set()
    for path in paths:
        parent = path.rpartition("/")[0]
        while parent and parent not in found:
            found.add(parent)
            parent = parent.rpartition("/")[0]
    return sorted(found)


def _encoded(path: str) -> bytes:
    if not path or path[0] == "/" or "\0" in path or (".." in path and ".." in path.split("/")):
        raise ValueError(f"tar: not a relative path: {path!r}")
    return path.encode()


def _split(name: bytes) -> tuple[bytes, bytes]:
    """Return ustar's prefix and name fields; of a path that fits in neither way, its beginning."""
    if len(name) <= _NAME_BYTES:
        return b"", name
    cut = name.rfind(b"/", 0, min(len(name) - 1, _PREFIX_BYTES + 1))
    if cut > 0 and len(name) - cut - 1 <= _NAME_BYTES:
        return name[:cut], name[cut + 1 :]
    return b"", name[:_NAME_BYTES]


def _pax_records(name: bytes, target: bytes, entry: TarEntry) -> list[bytes]:
    records = []
    fits = len(name) <= _NAME_BYTES or _split(name)[0]
    if not fits or not name.isascii():
        records.append(_record(b"path", name))
    if len(target) > _NAME_BYTES or not target.isascii():
        records.append(_record(b"linkpath", target))
    if entry.size_bytes > _MAX_OCTAL_11:
        records.append(_record(b"size", b"%d" % entry.size_bytes))
    for key, number in ((b"uid", entry.uid), (b"gid", entry.gid)):
        if number > _MAX_OCTAL_7:
            records.append(_record(key, b"%d" % number))
    return records


def _record(key: bytes, value: bytes) -> bytes:
    """Return a pax record, which begins with its own length in decimal."""
    rest = b" %s=%s\n" % (key, value)
    length = len(rest)
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return b"%d%s" % (length, rest)


def _block(name: bytes, prefix: bytes, target: bytes, entry: TarEntry, kind: bytes, size: int) -> bytes:
    """Return one ustar header block with its checksum: the sum of its bytes, its own field counted as spaces."""
    account, known = _account(entry.mode, entry.uid, entry.gid)
    length = b"%011o" % min(size, _MAX_OCTAL_11)
    checksum = known + sum(name) + sum(length) + kind[0]
    if target or prefix:
        checksum += sum(target) + sum(prefix)
    # 80 bytes of empty user and group names and device numbers lie between the magic and the prefix.
    return b"".join(
        (name.ljust(_NAME_BYTES, b"\0"), account, length, b"\0", _MTIME, b"%06o\0 " % checksum, kind,
         target.ljust(100, b"\0"), _MAGIC, _NO_NAMES, prefix.ljust(167, b"\0"))
    )  # fmt: skip


@lru_cache(maxsize=256)
def _account(mode: int, uid: int, gid: int) -> tuple[bytes, int]:
    """Return a header's fields of mode and owner, and the sum of all bytes that headers with them share."""
    fields = b"%07o\0%07o\0%07o\0" % (mode, min(uid, _MAX_OCTAL_7), min(gid, _MAX_OCTAL_7))
    return fields, sum(fields) + sum(_MTIME) + sum(_MAGIC) + 8 * ord(" ")
