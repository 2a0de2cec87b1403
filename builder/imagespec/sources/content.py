"""File content: digests of many files at the disk's speed, and streams that check what they give."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import resource
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import BinaryIO, Final, TypeAlias

from imagespec.errors import InputChanged, InputError

__all__ = ["Wanted", "digests", "open_verified"]

Wanted: TypeAlias = tuple[str, int]
"""A path relative to the root, and the size in bytes that it had when it was looked at."""

_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_LARGE_BYTES: Final = 1 << 20
_CHUNK_BYTES: Final = 1 << 20
_BATCH: Final = 128
# Twenty times what a file in memory takes: network file systems do not count as reads from a disk.
_SLOW_S: Final = 200e-6
_THREADS: Final = 4
_MISSING: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def digests(root: bytes, wanted: Sequence[Wanted]) -> list[bytes]:
    """Return the raw sha256 of every file, in order; the path '' is the root itself.

    Raise InputChanged for a file that is gone, is another kind of thing, or has another size by now; InputError for
    one that cannot be read. Files over 1 MiB are hashed in threads; memory does not grow with a file's size.
    """
    results = [b""] * len(wanted)
    small = [index for index, (_, size) in enumerate(wanted) if size <= _LARGE_BYTES]
    large = [index for index, (_, size) in enumerate(wanted) if size > _LARGE_BYTES] if len(small) < len(wanted) else []
    is_cold = False
    for start in range(0, len(small), _BATCH):
        batch = small[start : start + _BATCH]
        began, reads = time.perf_counter(), _disk_reads()
        (_hash_ahead if is_cold else _hash_each)(root, wanted, batch, results)
        waited = time.perf_counter() - began > _SLOW_S * len(batch)
        is_cold = is_cold or waited or _disk_reads() - reads > len(batch) // 4
    if large:
        _hash_large(root, wanted, large, results)
    return results


def _disk_reads() -> int:
    """Return how often this process has read from a disk and not from memory (getrusage(2), ru_inblock)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_inblock


def _hash_each(root: bytes, wanted: Sequence[Wanted], batch: list[int], results: list[bytes]) -> None:
    """Hash small files one after the other: the fastest way when they are in memory."""
    open_, read, close, sha256 = os.open, os.read, os.close, hashlib.sha256
    above = root + b"/"
    for index in batch:
        path, size = wanted[index]
        try:
            handle = open_(above + path.encode() if path else root, _FLAGS)
            try:
                # One byte more than expected shows that the file has grown.
                data = read(handle, size + 1)
            finally:
                close(handle)
        except OSError as error:
            raise _error(path, error) from error
        if len(data) != size:
            raise _changed(path)
        results[index] = sha256(data).digest()


def _hash_ahead(root: bytes, wanted: Sequence[Wanted], batch: list[int], results: list[bytes]) -> None:
    """Hash small files after announcing them all, so that a cold disk sees many requests at once."""
    handles: list[int] = []
    try:
        for index in batch:
            path, size = wanted[index]
            handle = _opened(root, path)
            handles.append(handle)
            if size and hasattr(os, "posix_fadvise"):
                os.posix_fadvise(handle, 0, size, os.POSIX_FADV_WILLNEED)
        _hash_each(root, wanted, batch, results)
    finally:
        for handle in handles:
            os.close(handle)


def _hash_large(root: bytes, wanted: Sequence[Wanted], indexes: list[int], results: list[bytes]) -> None:
    left = deque(indexes)
    problems: list[BaseException] = []

    def work() -> None:
        try:
            while not problems:
                index = left.popleft()
                results[index] = _hash_one(root, *wanted[index])
        except IndexError:
            return
        except BaseException as error:  # handed to the caller's thread below
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(min(_THREADS, os.cpu_count() or 1, len(indexes)) - 1)]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]


def _hash_one(root: bytes, path: str, size: int) -> bytes:
    hasher, total = hashlib.sha256(), 0
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    try:
        with open(_opened(root, path), "rb", buffering=0) as stream:
            while count := stream.readinto(buffer):
                hasher.update(buffer[:count])
                total += count
    except OSError as error:
        raise _error(path, error) from error
    if total != size:
        raise _changed(path)
    return hasher.digest()


def _opened(root: bytes, path: str) -> int:
    try:
        return os.open(root + b"/" + path.encode() if path else root, _FLAGS)
    except OSError as error:
        raise _error(path, error) from error


def _changed(path: str) -> InputChanged:
    return InputChanged(
        f"read: {path!r} changed while it was read",
        path=path,
        hint="run again when nothing writes to it, or leave it out",
    )


def _error(path: str, error: OSError) -> InputError:
    if error.errno in _MISSING:
        return _changed(path)
    return InputError(
        f"read: {path!r}: {(error.strerror or 'input/output error').lower()}",
        path=path,
        hint="make it readable, or leave it out by .dockerignore",
    )


class _Verified(io.RawIOBase):
    """A file's bytes; the read that reaches the expected size, or the end, compares the digest."""

    def __init__(self, handle: int, path: str, size: int, sha256: bytes) -> None:
        super().__init__()
        self._stream = open(handle, "rb", buffering=0)  # noqa: SIM115 -- closed by close()
        self._path, self._left, self._sha256 = path, size, sha256
        self._hasher = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview | bytearray) -> int:  # type: ignore[override]
        count = self._stream.readinto(buffer) or 0
        self._hasher.update(memoryview(buffer)[:count])
        self._left -= count
        reached = not count or self._left <= 0
        if self._left < 0 or (reached and self._hasher.digest() != self._sha256):
            raise InputChanged(
                f"read: {self._path!r} changed after it was hashed",
                path=self._path,
                hint="build again: the new content has another tag",
            )
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


def open_verified(root: bytes, path: str, size: int, sha256: bytes) -> BinaryIO:
    """Return the content of a file; reading raises InputChanged as soon as it cannot be what was hashed."""
    handle = _opened(root, path)
    try:
        return io.BufferedReader(_Verified(handle, path, size, sha256), _CHUNK_BYTES)
    except IsADirectoryError as error:
        os.close(handle)
        raise _changed(path) from error
