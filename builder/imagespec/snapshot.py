"""What the disk said, read once, as values: files to copy, requirement lines, lock files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import BinaryIO, NamedTuple, Protocol, final, overload

from imagespec.names import Digest
from imagespec.values import dataclass

__all__ = [
    "ContextEntry",
    "Entries",
    "EntryKind",
    "Files",
    "LocalProject",
    "LockFiles",
    "RequirementLines",
    "Snapshot",
    "TextFile",
    "Tree",
]


class EntryKind(Enum):
    """What a context entry is. A folder is an entry only when it is empty on disk: files imply their parents."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"


class ContextEntry(NamedTuple):
    """One path to copy: ``path`` is relative, with '/'; ``sha256`` is of a file's content; ``target`` is a link's text.

    A plain tuple with the digest's 32 raw bytes, since a tree may hold 100,000 of them.
    """

    path: str
    kind: EntryKind
    executable: bool = False
    size_bytes: int = 0
    sha256: bytes = b""
    target: str = ""

    @property
    def digest(self) -> Digest | None:
        """The digest of a file's content; None for folders and links."""
        return Digest("sha256", self.sha256.hex()) if self.sha256 else None


@final
class Entries(Sequence[ContextEntry]):
    """Entries whose digest is known: made when somebody looks at one, which for a tag nobody does.

    ``digest`` is what ``fingerprint.tree_digest`` gives for them. Equal to any sequence of the same entries.
    """

    __slots__ = ("_count", "_entries", "_make", "digest")

    def __init__(self, digest: bytes, count: int, make: Callable[[], tuple[ContextEntry, ...]]) -> None:
        self.digest = digest
        self._count = count
        self._make = make
        self._entries: tuple[ContextEntry, ...] | None = None

    def _all(self) -> tuple[ContextEntry, ...]:
        if self._entries is None:
            self._entries = self._make()
        return self._entries

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[ContextEntry]:
        return iter(self._all())

    @overload
    def __getitem__(self, index: int) -> ContextEntry: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[ContextEntry, ...]: ...
    def __getitem__(self, index: int | slice) -> ContextEntry | tuple[ContextEntry, ...]:
        return self._all()[index]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Entries):
            return self.digest == other.digest
        return self._all() == other

    def __hash__(self) -> int:
        return hash(self._all())

    def __repr__(self) -> str:
        return f"<{self._count} entries, {self.digest.hex()[:12]}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """What one field ("source_root", "copy[2]") selects; entries are sorted by path, relative to the workdir."""

    field: str
    entries: Sequence[ContextEntry]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFile:
    """A small file that an installer needs: its path relative to the lock's folder, and its bytes."""

    path: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalProject:
    """A requirement that is a folder or an archive here: ``-e ./lib`` or ``./dist/a.whl``.

    ``path`` is relative to the folder of the requirements file; entries are relative to the same folder.
    """

    path: str
    editable: bool = False
    extras: tuple[str, ...] = ()
    marker: str = ""
    entries: Sequence[ContextEntry] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RequirementLines:
    """A requirements.txt with its nested files: normalised lines, each set sorted; options keep their order."""

    lines: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    projects: tuple[LocalProject, ...] = ()


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
