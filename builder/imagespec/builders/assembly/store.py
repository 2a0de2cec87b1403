"""The local store of what can be made again: layers, wheels, bytecode, facts about bases, locks.

Content lies under its digest, records (small JSON values) under the digest of what they were made from; a value that a
disk has changed counts as none. Every file appears complete under its name or not at all. Each process writes in a
folder of its own under ``tmp``, which it holds by a lock: what a killed process left is removed by the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

from imagespec.values import dataclass

__all__ = ["DEFAULT_LIMIT_BYTES", "Kept", "Store", "key_of"]

_Thing = TypeVar("_Thing")
_KINDS: Final = ("layers", "wheels", "bytecode", "bases", "locks", "records")
_LOCK: Final = "lock"
_PRUNED: Final = "pruned"
_PRUNE_EVERY_S: Final = 86_400.0
DEFAULT_LIMIT_BYTES: Final = 20 << 30
"""How much the store may keep where nobody says otherwise."""


def key_of(*parts: Any) -> str:
    """Return the sha256, in hex, of plain values (bytes among them): the name of what is made from them."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=bytes.hex)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One file of the store; ``used_s`` is when it was last used, in seconds since the epoch."""

    kind: str
    name: str
    size_bytes: int
    used_s: float


class Store:
    """Files by kind and name under ``root``; safe for several threads and processes at once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._work: Path | None = None
        self._work_lock = -1
        self._opening = threading.Lock()
        self._being_made: dict[tuple[str, str], threading.Lock] = {}
        self._users = 0
        self._things: dict[Callable[[Store], Any], Any] = {}

    def __enter__(self) -> Store:
        """Use the store for one build; several may run side by side."""
        with self._opening:
            self._users += 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._opening:
            self._users -= 1
            if self._users == 0:
                self._close()

    @contextlib.contextmanager
    def making(self, kind: str, name: str) -> Iterator[None]:
        """Hold what is made under this name: of the builds side by side one makes it, and the others find it then."""
        with self._opening:
            lock = self._being_made.setdefault((kind, name), threading.Lock())
        with lock:
            yield

    def once(self, make: Callable[[Store], _Thing]) -> _Thing:
        """Return what belongs to this store in this process, made when it is first asked for."""
        with self._opening:
            if make not in self._things:
                self._things[make] = make(self)
            thing: _Thing = self._things[make]
            return thing

    def path(self, kind: str, name: str) -> Path:
        """Return where a file of this kind and name is, or would be."""
        return self._root / kind / name[:2] / name

    def find(self, kind: str, name: str, size_bytes: int | None = None) -> Path | None:
        """Return the file if it is there (with this size), marking it as used; None otherwise."""
        path = self.path(kind, name)
        try:
            found = path.stat()
            if size_bytes is not None and found.st_size != size_bytes:
                return None
            os.utime(path)
        except OSError:
            return None
        return path

    def record(self, name: str) -> Any:
        """Return the value recorded under ``name``, None when there is none (or it cannot be read)."""
        return self.value("records", name)

    def value(self, kind: str, name: str, max_age_s: float | None = None, now_s: float = 0.0) -> Any:
        """Return the JSON value of this kind and name, None when there is none or it is older than allowed."""
        path = self.path(kind, name)
        try:
            if max_age_s is not None and now_s - path.stat().st_mtime > max_age_s:
                return None
            digest, _, data = path.read_bytes().partition(b"\n")
            return json.loads(data) if digest == _digest(data) else None
        except (OSError, ValueError):
            return None

    def write_record(self, name: str, value: Any) -> None:
        """Record a JSON value under ``name``."""
        self.write_value("records", name, value)

    def write_value(self, kind: str, name: str, value: Any) -> None:
        """Keep a JSON value of this kind under ``name``."""
        data = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

        def make(file: BinaryIO) -> str:
            file.write(b"%b\n%b" % (_digest(data), data))
            return name

        self.write(kind, make)

    def drop(self, kind: str, name: str) -> None:
        """Remove a file: its content is not what it should be."""
        self.path(kind, name).unlink(missing_ok=True)

    def write(self, kind: str, make: Callable[[BinaryIO], str]) -> Path:
        """Return the new file: ``make`` writes it and returns the name that it shall have."""
        temporary = self.temporary()
        try:
            with temporary.open("wb", buffering=1 << 20) as file:
                name = make(file)
            return self.adopt(kind, name, temporary)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def adopt(self, kind: str, name: str, temporary: Path) -> Path:
        """Return the place of a finished file, moved there at once."""
        path = self.path(kind, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(path)
        return path

    def temporary(self) -> Path:
        """Return a new path in this process's own folder, on the store's file system."""
        return self._own_folder() / os.urandom(8).hex()

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """Give a new folder, removed at the end; the next process removes it if this one is killed."""
        import shutil

        with self:
            path = self.temporary()
            try:
                yield path
            finally:
                shutil.rmtree(path, ignore_errors=True)

    def _own_folder(self) -> Path:
        with self._opening:
            if self._work is None:
                parent = self._root / "tmp"
                parent.mkdir(parents=True, exist_ok=True)
                _remove_abandoned(parent)
                self._work, self._work_lock = _own_folder(parent)
            return self._work

    def close(self) -> None:
        """Remove the folder of what is being written."""
        with self._opening:
            self._close()

    def _close(self) -> None:
        if self._work is not None:
            import shutil

            shutil.rmtree(self._work, ignore_errors=True)
            os.close(self._work_lock)
            self._work = None

    def list(self) -> Iterator[Kept]:
        """Yield every file that is kept."""
        for kind in _KINDS:
            for path in (self._root / kind).glob("*/*"):
                with contextlib.suppress(FileNotFoundError):
                    found = path.stat()
                    yield Kept(kind=kind, name=path.name, size_bytes=found.st_size, used_s=found.st_mtime)

    def prune(self, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> tuple[Kept, ...]:
        """Remove what was not used for longest until the rest fits in ``limit_bytes``; return what was removed."""
        kept = sorted(self.list(), key=lambda one: one.used_s, reverse=True)
        removed: list[Kept] = []
        total = 0
        for one in kept:
            total += one.size_bytes
            if total > limit_bytes:
                self.path(one.kind, one.name).unlink(missing_ok=True)
                removed.append(one)
        return tuple(removed)

    def prune_when_due(self, limit_bytes: int, now_s: float) -> tuple[Kept, ...]:
        """Prune if the last time was a day ago; return what was removed."""
        marker = self._root / _PRUNED
        if _age_s(marker, now_s) < _PRUNE_EVERY_S or not self._root.exists():
            return ()
        marker.touch()
        return self.prune(limit_bytes)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def _age_s(path: Path, now_s: float) -> float:
    try:
        return now_s - path.stat().st_mtime
    except OSError:
        return _PRUNE_EVERY_S


def _own_folder(parent: Path) -> tuple[Path, int]:
    """Return a new folder and the lock that holds it; another process may take it for abandoned until it is held."""
    while True:
        folder = parent / f"{os.getpid()}-{os.urandom(6).hex()}"
        lock = -1
        try:
            folder.mkdir()
            lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (folder / _LOCK).stat()
            return folder, lock
        except (FileNotFoundError, BlockingIOError):
            if lock >= 0:
                os.close(lock)


def _remove_abandoned(parent: Path) -> None:
    import shutil

    for folder in parent.iterdir():
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            # Just made, or being removed: a folder without a lock that stays is empty.
            with contextlib.suppress(OSError):
                folder.rmdir()
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue
        finally:
            os.close(lock)
