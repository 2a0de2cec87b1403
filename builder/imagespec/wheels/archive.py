"""A zip archive's directory, read from bytes: what its members are and where their compressed streams lie.

Format: PKWARE APPNOTE 6.3 (end of central directory, central directory, ZIP64 extra field). Only what wheels use:
stored and deflated members, not encrypted, in one file.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from imagespec.errors import IntegrityError

__all__ = ["DEFLATED", "STORED", "TAIL_BYTES", "DirectorySpan", "Member", "data_offset", "directory_span", "members"]

STORED: Final = 0
DEFLATED: Final = 8
TAIL_BYTES: Final = 65_535 + 22 + 20 + 56
"""How much of an archive's end may be needed to find its directory."""

LOCAL_HEADER_BYTES: Final = 30
_END: Final = struct.Struct("<4s4H2LH")
_END_64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64: Final = struct.Struct("<4sLQL")
_ENTRY: Final = struct.Struct("<4s4B4HL2L5H2L")
_LARGE: Final = 0xFFFFFFFF
_ENCRYPTED: Final = 1
_UTF_8: Final = 0x800


class Member(NamedTuple):
    """One member: ``offset`` is of its local header, ``mode`` its Unix mode bits, 0 where none are recorded."""

    name: str
    method: int
    crc32: int
    compressed_bytes: int
    size_bytes: int
    offset: int
    mode: int


class DirectorySpan(NamedTuple):
    """Where the central directory lies in the archive, and how many entries it has."""

    offset: int
    size_bytes: int
    entries: int


def directory_span(tail: bytes, archive_bytes: int) -> DirectorySpan:
    """Return where the directory lies, from the archive's last ``TAIL_BYTES`` bytes; raise IntegrityError."""
    position = tail.rfind(b"PK\x05\x06")
    if position < 0 or position + _END.size > len(tail):
        raise IntegrityError("wheel: not a zip archive")
    _, _, _, _, entries, size, offset, _ = _END.unpack_from(tail, position)
    locator = position - _LOCATOR_64.size
    if locator >= 0 and tail[locator : locator + 4] == b"PK\x06\x07":
        start = _LOCATOR_64.unpack_from(tail, locator)[2] - (archive_bytes - len(tail))
        if not 0 <= start <= len(tail) - _END_64.size:
            raise IntegrityError("wheel: its zip64 directory is not where it says")
        *_, entries, size, offset = _END_64.unpack_from(tail, start)
    if offset + size > archive_bytes:
        raise IntegrityError("wheel: its directory lies outside of it")
    return DirectorySpan(offset, size, entries)


def members(directory: bytes, entries: int) -> list[Member]:
    """Return the files of a central directory, in its order, folders left out; raise IntegrityError."""
    found: list[Member] = []
    position = 0
    try:
        for _ in range(entries):
            member, position = _member(directory, position)
            if not member.name.endswith("/"):
                found.append(member)
    except (struct.error, UnicodeDecodeError) as error:
        raise IntegrityError("wheel: its directory is cut or damaged") from error
    return found


def _member(directory: bytes, position: int) -> tuple[Member, int]:
    fields = _ENTRY.unpack_from(directory, position)
    signature, flags, method, crc32 = fields[0], fields[5], fields[6], fields[9]
    compressed, size, name_bytes, extra_bytes, comment_bytes = fields[10:15]
    attributes, offset = fields[17], fields[18]
    if signature != b"PK\x01\x02":
        raise IntegrityError("wheel: its directory is damaged")
    start = position + _ENTRY.size
    name = directory[start : start + name_bytes].decode("utf-8" if flags & _UTF_8 else "cp437")
    if flags & _ENCRYPTED or method not in (STORED, DEFLATED):
        raise IntegrityError(f"wheel: {name!r} is packed in a way that wheels may not use")
    if _LARGE in (compressed, size, offset):
        extra = directory[start + name_bytes : start + name_bytes + extra_bytes]
        compressed, size, offset = _large(extra, compressed, size, offset)
    member = Member(name, method, crc32, compressed, size, offset, attributes >> 16)
    return member, start + name_bytes + extra_bytes + comment_bytes


def _large(extra: bytes, compressed: int, size: int, offset: int) -> tuple[int, int, int]:
    """Return the three numbers, those that do not fit in 32 bits from the ZIP64 extra field."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        if kind == 1:
            numbers = iter(struct.unpack_from(f"<{length // 8}Q", extra, position + 4))
            large = [next(numbers, _LARGE) if number == _LARGE else number for number in (size, compressed, offset)]
            return large[1], large[0], large[2]
        position += 4 + length
    raise IntegrityError("wheel: a member is larger than its directory can say")


def data_offset(local_header: bytes, offset: int) -> int:
    """Return where a member's stream begins, from its local header at ``offset``; raise IntegrityError."""
    if len(local_header) < LOCAL_HEADER_BYTES or local_header[:4] != b"PK\x03\x04":
        raise IntegrityError("wheel: a member is not where its directory says")
    name_bytes, extra_bytes = struct.unpack_from("<2H", local_header, 26)
    return offset + LOCAL_HEADER_BYTES + int(name_bytes) + int(extra_bytes)
