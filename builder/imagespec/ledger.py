"""What was built on this machine under each name, and from what: kept so that the next build can say what changed."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import os
from pathlib import Path
from typing import Any, Final

from imagespec.names import Repository
from imagespec.record import Record
from imagespec.values import dataclass

__all__ = ["Entry", "Ledger"]

_KEPT: Final = 20
_TEMPORARY: Final = ".new"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One image that was built or found: its tag, the whole record, and when, in seconds since the epoch."""

    tag: str
    record: Record
    time_s: float


class Ledger:
    """A small file per repository below ``folder``, replaced atomically; a damaged one counts as empty."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def entries(self, repository: Repository) -> tuple[Entry, ...]:
        """Return what is known of a repository, the newest first."""
        try:
            listed = json.loads(gzip.decompress(self._file(repository).read_bytes()))
            return tuple(_entry(one) for one in listed)
        except (OSError, EOFError, ValueError, KeyError, TypeError):
            return ()

    def remember(self, repository: Repository, entry: Entry) -> None:
        """Put an entry first, in place of an older one with the same tag."""
        self._folder.mkdir(parents=True, exist_ok=True)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            # One writer at a time: none loses another's entry, and what a killed one left is written over.
            fcntl.flock(folder, fcntl.LOCK_EX)
            older = [one for one in self.entries(repository) if one.tag != entry.tag]
            listed = [{"tag": one.tag, "record": one.record, "time_s": one.time_s} for one in (entry, *older)[:_KEPT]]
            temporary = self._folder / _TEMPORARY
            temporary.write_bytes(gzip.compress(json.dumps(listed).encode(), compresslevel=1, mtime=0))
            temporary.replace(self._file(repository))
        finally:
            os.close(folder)

    def _file(self, repository: Repository) -> Path:
        return self._folder / f"{hashlib.sha256(str(repository).encode()).hexdigest()[:32]}.json.gz"


def _entry(value: Any) -> Entry:
    record = {str(group): {str(k): str(v) for k, v in leaves.items()} for group, leaves in value["record"].items()}
    return Entry(tag=str(value["tag"]), record=record, time_s=float(value["time_s"]))
