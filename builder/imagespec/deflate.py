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

_RUN: Final = re.compile("\x00{4,65535}")
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


_DISTANCE_ONE: Final = "00000"
_END_OF_BLOCK: Final = _symbol(256)
_FINAL_FIXED: Final = "110"
_RUNS_FROM: Final = 0x100
"""A run of zeros stands in a text as one character: this much and its length."""


class _Codes(dict[str, str]):
    """The codes of bytes, and of runs of zeros, by character; a run's is worked out when it first comes."""

    def __missing__(self, character: str) -> str:
        self[character] = code = _zeros(ord(character) - _RUNS_FROM)
        return code


def _zeros(count: int) -> str:
    """Return the codes of a run: the first zero, and copies of the byte before."""
    whole, rest = divmod(count - 1, _LONGEST)
    last = _length(rest) + _DISTANCE_ONE if rest >= 3 else _symbol(0) * rest
    return _symbol(0) + (_length(_LONGEST) + _DISTANCE_ONE) * whole + last


_CODES: Final = _Codes((chr(byte), _symbol(byte)) for byte in range(256))


def deflated(data: bytes) -> bytes:
    """Return ``data`` as one deflate stream."""
    text = data.decode("latin-1")
    if len(data) > _MOST_LITERALS and len(data) - sum(map(len, _RUN.findall(text))) > _MOST_LITERALS:
        return stored(data)
    text = _RUN.sub(_as_character, text)
    bits = f"{_FINAL_FIXED}{''.join(map(_CODES.__getitem__, text))}{_END_OF_BLOCK}"
    return int(bits[::-1], 2).to_bytes((len(bits) + 7) // 8, "little")


def _as_character(run: re.Match[str]) -> str:
    return chr(_RUNS_FROM + run.end() - run.start())


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
