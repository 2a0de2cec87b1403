"""What flytekit reads of a spec's files: everything that lies there, before any rule of ours leaves something out."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator
from functools import cached_property
from typing import Final

from imagespec.errors import InputError, NoFlyteTag
from imagespec.flyte_tags.tag import FlyteFolder
from imagespec.requirements import locks
from imagespec.requirements.requirements_txt import FIELD, requirement_lines
from imagespec.snapshot import ContextEntry, EntryKind
from imagespec.spec import Declaration
from imagespec.values import dataclass
from imagespec.workspace import Workspace

__all__ = ["DeclaredFiles"]

_CHUNK_BYTES: Final = 1 << 20
_SOURCE_ROOT: Final = "source_root"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a field points: its absolute path, and what our own rules select there by relative path."""

    path: str
    entries: dict[str, ContextEntry]


class DeclaredFiles:
    """The files of one declaration, a ``FlyteDisk``; paths start at the spec's folder, as if flytekit ran there."""

    def __init__(self, declaration: Declaration, workspace: Workspace) -> None:
        self._declaration = declaration
        self._workspace = workspace

    @cached_property
    def _folder(self) -> str:
        return self._workspace.folder_of(self._declaration)

    @cached_property
    def _places(self) -> dict[str, _Place]:
        places = {}
        for tree in self._workspace.take(self._declaration).trees:
            written = self._written(tree.field)
            prefix = "" if tree.field == _SOURCE_ROOT else posixpath.normpath(written).removeprefix(".")
            entries = {one.path[len(prefix) :].lstrip("/"): one for one in tree.entries}
            places[tree.field] = _Place(os.path.realpath(os.path.join(self._folder, written)), entries)
        return places

    def _written(self, field: str) -> str:
        if field == _SOURCE_ROOT:
            return str(self._declaration.source_root)
        return (self._declaration.copy or ())[int(field.removeprefix("copy[").removesuffix("]"))]

    def requirements(self) -> tuple[bytes, tuple[str, ...]]:
        """Return the requirements file's bytes, and the other files that decide what it installs; raise InputError."""
        beside, name = os.path.split(os.path.join(self._folder, str(self._declaration.requirements)))
        seen: dict[str, bytes] = {}

        def read(path: str) -> bytes:
            seen[path] = _read(os.path.join(beside, path), path)
            return seen[path]

        kind = locks.kind_of(name)
        if kind is not None:
            locks.lock_files(name, kind, read)
            return seen[name], tuple(path for path in seen if path != name)
        listed = requirement_lines(name, read)
        projects = (one.path for one in listed.projects)
        return seen[name], (*(path for path in seen if path != name), *projects)

    def folder(self, field: str) -> FlyteFolder:
        """Return what lies where ``field`` points; raise InputError."""
        place = self._places[field]
        selected = frozenset(path for path, one in place.entries.items() if one.kind is not EntryKind.FOLDER)
        if os.path.isfile(place.path):
            return FlyteFolder(files=frozenset(("",)), others=frozenset(), selected=selected)
        files, others = set(), set()
        for path, mode in _lying(place.path, skips_git=field == _SOURCE_ROOT):
            if stat.S_ISREG(mode):
                files.add(path)
            elif not stat.S_ISSOCK(mode):
                others.add(path)
        ignore = os.path.join(place.path, ".dockerignore")
        rules = _read(ignore, ".dockerignore") if field == _SOURCE_ROOT and os.path.isfile(ignore) else b""
        return FlyteFolder(files=frozenset(files), others=frozenset(others), selected=selected, dockerignore=rules)

    def read(self, field: str, path: str) -> Iterator[bytes]:
        """Yield a selected file's content; raise InputChanged when it is no longer what was selected, NoFlyteTag."""
        place = self._places[field]
        entry = place.entries[path]
        if entry.kind is EntryKind.LINK:
            real = os.path.relpath(os.path.realpath(os.path.join(place.path, path)), place.path)
            entry = place.entries.get(real, entry)
        if entry.digest is None:
            raise NoFlyteTag(f"{field}: the link {path!r} leads to what is not copied", path=field)
        with self._workspace.open(entry.digest) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                yield chunk


def _lying(root: str, *, skips_git: bool) -> Iterator[tuple[str, int]]:
    """Yield every path below ``root`` that is no folder, with its mode behind links; dangling links are skipped."""
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not (skips_git and name == ".git")]
        for name in names:
            full = os.path.join(folder, name)
            try:
                yield os.path.relpath(full, root), os.stat(full).st_mode
            except OSError:  # as os.path.exists, which flytekit asks
                continue


def _read(file: str, shown: str) -> bytes:
    try:
        with open(file, "rb") as stream:
            return stream.read()
    except OSError as error:
        reason = (error.strerror or "input/output error").lower()
        raise InputError(f"{FIELD}: {shown!r}: {reason}", path=shown, hint="make it a file that can be read") from error
