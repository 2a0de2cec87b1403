"""Gzip members made without a compressor library, so that their bytes are the same whichever zlib a machine has.

Formats: RFC 1951 (deflate) and RFC 1952 (gzip). What is encoded here are tar headers, padding and small texts: literals
in the fixed Huffman code, and runs of zeros as copies of the byte before. Longer content goes into stored blocks.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

__all__ = ["MEMBER_HEADER", "deflated", "gzip_member", "member_trailer", "stored"]

MEMBER_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""The header of a gzip member: deflate, no name, no time, operating system unknown."""

_RUN: Final = re.compile(rb"\x00{4,}")
_LONGEST: Final = 258
_STORED_BYTES: Final = 65_535
# Beyond this, content of other kinds than headers is likely, which stored blocks hold at no cost of time.
_MOST_LITERALS: Final = 16_384


def _bits(value: int, width: int) -> str:
    return format(value, f"0{width}b")


def _symbol(value: int) -> str:
    """Return the fixed Huffman code of a literal or length symbol, in the order its bits stand in (section 3.2.6)."""
    if value < 144:
        return _bits(0x30 + value, 8)
    if value < 256:
        return _bits(0x190 + value - 144, 9)
    return _bits(value - 256, 7) if value < 280 else _bits(0xC0 + value - 280, 8)


def _length(length: int) -> str:
    """Return the code of a length from 3 to 258 with its extra bits, least significant first (section 3.2.5)."""
    if length == _LONGEST:
        return _symbol(285)
    offset = length - 3
    if offset < 8:
        return _symbol(257 + offset)
    extra = offset.bit_length() - 3
    rest = offset & ((1 << extra) - 1)
    return _symbol(257 + 4 * extra + (offset >> extra)) + _bits(rest, extra)[::-1]


_LITERALS: Final = tuple(_symbol(value) for value in range(256))
_DISTANCE_ONE: Final = "00000"
_COPIES: Final = ("", "", "", *(_length(length) + _DISTANCE_ONE for length in range(3, _LONGEST + 1)))
_END_OF_BLOCK: Final = _symbol(256)
_FINAL_FIXED: Final = "110"


def deflated(data: bytes) -> bytes:
    """Return ``data`` as one deflate stream."""
    if len(data) - sum(len(run) for run in _RUN.findall(data)) > _MOST_LITERALS:
        return stored(data)
    parts, position = [_FINAL_FIXED], 0
    literals = _LITERALS
    for run in _RUN.finditer(data):
        start, end = run.span()
        parts += [literals[byte] for byte in data[position : start + 1]]
        parts.append(_zeros(end - start - 1))
        position = end
    parts += [literals[byte] for byte in data[position:]]
    parts.append(_END_OF_BLOCK)
    stream = "".join(parts)
    return int(stream[::-1], 2).to_bytes((len(stream) + 7) // 8, "little")


def _zeros(count: int) -> str:
    """Return the codes that repeat a zero ``count`` times more."""
    whole, rest = divmod(count, _LONGEST)
    copies = _COPIES[_LONGEST] * whole
    return copies + (_COPIES[rest] if rest >= 3 else _LITERALS[0] * rest)


def stored(data: bytes) -> bytes:
    """Return ``data`` as a deflate stream of stored blocks (section 3.2.4): five bytes more for every 64 KiB."""
    parts: list[bytes] = []
    for start in range(0, max(len(data), 1), _STORED_BYTES):
        block = data[start : start + _STORED_BYTES]
        final = start + _STORED_BYTES >= len(data)
        length = len(block)
        parts += (bytes((final,)), length.to_bytes(2, "little"), (length ^ 0xFFFF).to_bytes(2, "little"), block)
    return b"".join(parts)


def gzip_member(data: bytes) -> bytes:
    """Return ``data`` as one gzip member."""
    return b"".join((MEMBER_HEADER, deflated(data), member_trailer(zlib.crc32(data), len(data))))


def member_trailer(crc32: int, size_bytes: int) -> bytes:
    """Return the trailer of a gzip member: CRC-32 and size of the content, modulo 2 to the 32nd."""
    return crc32.to_bytes(4, "little") + (size_bytes & 0xFFFFFFFF).to_bytes(4, "little")
