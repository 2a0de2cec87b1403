"""One build at a time for one name on one machine: a lock file a target, which ends with the process that holds it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from imagespec.builders import Cancellation
from imagespec.errors import Cancelled, InputError
from imagespec.names import Reference

__all__ = ["TargetLocks"]

_POLL_S: Final = 0.1


class TargetLocks:
    """Locks of the folder ``root``, for threads and processes alike.

    They are kernel locks on open files: whoever dies, however, lets go of them at once.
    """

    def __init__(self, root: Path, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._root = root
        self._sleep = sleep

    @contextlib.contextmanager
    def hold(self, target: Reference, cancellation: Cancellation, waiting: Callable[[str], None]) -> Iterator[None]:
        """Hold the lock of ``target`` inside the block; ``waiting`` is told once who has it, if somebody does.

        Raise Cancelled when stop is asked for meanwhile, InputError when the folder cannot be written to.
        """
        file = self._opened(target)
        try:
            if not _taken(file):
                waiting(_owner(file))
                while not _taken(file):
                    if cancellation.cancelled:
                        raise Cancelled(f"build {target}: stopped while another process built it")
                    self._sleep(_POLL_S)
            with contextlib.suppress(OSError):  # a full disk: the note for others is all that is lost
                os.ftruncate(file, 0)
                os.pwrite(file, f"process {os.getpid()}".encode(), 0)
            yield
        finally:
            os.close(file)

    def _opened(self, target: Reference) -> int:
        # The name is hashed: a reference may be longer than a file's name, and holds slashes.
        path = self._root / f"{hashlib.sha256(str(target).encode()).hexdigest()[:32]}.lock"
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise InputError(
                f"lock {target}: {path}: {(error.strerror or 'not possible').lower()}",
                path=str(path),
                hint="set IMAGESPEC_CACHE to a folder that can be written to",
            ) from error


def _taken(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(file: int) -> str:
    return os.pread(file, 100, 0).decode(errors="replace") or "another process"
