"""What the disk said, read once, as values: files to copy, requirement lines, lock files."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import BinaryIO, Protocol

from imagespec.names import Digest

__all__ = ["ContextEntry", "EntryKind", "Files", "LockFiles", "RequirementLines", "Snapshot", "TextFile", "Tree"]


class EntryKind(Enum):
    """What a context entry is. A folder is an entry only when it is empty on disk: files imply their parents."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextEntry:
    """One path to copy: ``path`` is relative, with '/'; ``digest`` is of a file's content; ``target`` a link's text."""

    path: str
    kind: EntryKind
    executable: bool = False
    size_bytes: int = 0
    digest: Digest | None = None
    target: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """What one field ("source_root", "copy[2]") selects; entries are sorted by path, relative to the workdir."""

    field: str
    entries: tuple[ContextEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFile:
    """A small file that an installer needs: its path relative to the lock's folder, and its bytes."""

    path: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RequirementLines:
    """A requirements.txt with its nested files: normalised lines, each set sorted; options keep their order."""

    lines: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LockFiles:
    """A lock and what must lie beside it. ``kind`` is the lock's file name, for example ``uv.lock``."""

    kind: str
    files: tuple[TextFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything outside the declaration that decides the image's bytes.

    ``base_digest`` is the manifest's digest when the base is an OCI layout on disk.
    """

    trees: tuple[Tree, ...] = ()
    requirements: RequirementLines | LockFiles | None = None
    base_digest: Digest | None = None


class Files(Protocol):
    """The content behind a snapshot's digests."""

    def open(self, digest: Digest) -> BinaryIO:
        """Return a stream of the content, closed by the caller.

        The read that reaches the end raises InputChanged, naming the file, when the bytes are not the digest's.
        """
        ...
