"""The paths that git tracks, read from the bytes of its index (gitformat-index(5), versions 2 to 4)."""

from __future__ import annotations

from typing import Final

__all__ = ["NotAnIndexError", "shared_index", "tracked_paths"]

_STAT_BYTES: Final = 40


class NotAnIndexError(ValueError):
    """The bytes are no index of a version that is known."""


def tracked_paths(data: bytes, *, hash_bytes: int = 20) -> frozenset[bytes]:
    """Return the tracked paths, relative to the work tree's top; raise NotAnIndexError.

    ``hash_bytes`` is the length of an object name: 20, or 32 in a repository with ``extensions.objectFormat=sha256``.
    """
    paths, _ = _entries(data, hash_bytes)
    # In a split index an entry that replaces one of the shared index has no name of its own.
    return frozenset(path for path in paths if path)


def shared_index(data: bytes, *, hash_bytes: int = 20) -> str | None:
    """Return the name of the file that holds the rest of a split index (the "link" extension), or None."""
    _, position = _entries(data, hash_bytes)
    while position + 8 <= len(data) - hash_bytes:
        size = int.from_bytes(data[position + 4 : position + 8], "big")
        if data[position : position + 4] == b"link":
            name = data[position + 8 : position + 8 + hash_bytes]
            return f"sharedindex.{name.hex()}" if any(name) else None
        position += 8 + size
    return None


def _entries(data: bytes, hash_bytes: int) -> tuple[list[bytes], int]:
    """Return the paths of the entries, and where the extensions start."""
    version, count = int.from_bytes(data[4:8], "big"), int.from_bytes(data[8:12], "big")
    if data[:4] != b"DIRC" or version not in (2, 3, 4):
        raise NotAnIndexError("not a git index of version 2, 3 or 4")
    try:
        return _compressed(data, count, hash_bytes) if version == 4 else _plain(data, count, hash_bytes)
    except (IndexError, ValueError) as error:
        raise NotAnIndexError("a git index that ends early") from error


def _plain(data: bytes, count: int, hash_bytes: int) -> tuple[list[bytes], int]:
    paths: list[bytes] = []
    flags_at = _STAT_BYTES + hash_bytes
    position = 12
    for _ in range(count):
        start = position + flags_at + (4 if data[position + flags_at] & 0x40 else 2)
        end = data.index(b"\0", start)
        paths.append(data[start:end])
        # One to eight NULs end an entry, so that its length is a multiple of eight.
        position += (end - position + 8) & ~7
    return paths, position


def _compressed(data: bytes, count: int, hash_bytes: int) -> tuple[list[bytes], int]:
    paths: list[bytes] = []
    flags_at = _STAT_BYTES + hash_bytes
    position, previous = 12, b""
    for _ in range(count):
        start = position + flags_at + (4 if data[position + flags_at] & 0x40 else 2)
        dropped, start = _variable_width(data, start)
        if dropped > len(previous):
            raise ValueError("a prefix longer than the path before")
        end = data.index(b"\0", start)
        previous = previous[: len(previous) - dropped] + data[start:end]
        paths.append(previous)
        position = end + 1
    return paths, position


def _variable_width(data: bytes, position: int) -> tuple[int, int]:
    """Return the number at ``position`` in the encoding of pack offsets, and the position after it."""
    byte = data[position]
    value = byte & 0x7F
    while byte & 0x80:
        position += 1
        byte = data[position]
        value = ((value + 1) << 7) | (byte & 0x7F)
    return value, position + 1
