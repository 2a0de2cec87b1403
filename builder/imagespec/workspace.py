"""The disk, read once for one run: what a declaration's fields select, as a snapshot, and the content behind it."""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO, NamedTuple

from imagespec import layouts
from imagespec.errors import InputError, InputMissing, InputOutsideRoot, SpecError
from imagespec.events import Emit, Warned, discard
from imagespec.names import Digest
from imagespec.requirements import locks
from imagespec.requirements.requirements_txt import FIELD, requirement_lines
from imagespec.snapshot import (
    ContextEntry,
    EntryKind,
    LocalProject,
    LockFiles,
    RequirementLines,
    Snapshot,
    Tree,
)
from imagespec.sources import closure, content
from imagespec.sources.ignore import DEFAULT, IgnoreRules
from imagespec.sources.links import LinkScope
from imagespec.sources.stat_cache import StatCache, keys_of
from imagespec.sources.trees import OWNER_MAY_EXECUTE, digest_of_file, entries_of
from imagespec.sources.walk import walk
from imagespec.sources.work_tree import context_rules, refuse_left_out
from imagespec.spec import CopyFileDetection, Declaration
from imagespec.values import replace

__all__ = ["Workspace"]


class Workspace:
    """Reads the disk once for one run: the specs of the run share what was read. It is a ``Files``."""

    def __init__(
        self,
        *,
        cwd: str,
        ignore: IgnoreRules = DEFAULT,
        stat_cache: StatCache | None = None,
        emit: Emit = discard,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._cwd = cwd
        self._ignore = ignore
        self._stat_cache = stat_cache
        self._emit = emit
        self._clock_ns = clock_ns
        self._walked: dict[tuple[bytes, str, tuple[bytes, ...]], Sequence[ContextEntry]] = {}
        # Where entries were found: (root, what their paths start with, entries); looked up when content is wanted.
        self._origins: list[tuple[bytes, str, Sequence[ContextEntry]]] = []
        self._by_digest: dict[bytes, tuple[bytes, str, int]] = {}
        self._sources: dict[bytes, _Sources] = {}
        self._imported_by: dict[tuple[bytes, tuple[str, ...]], Mapping[str, str]] = {}
        # Several builds of a run read at once.
        self._indexing = threading.Lock()

    def take(self, declaration: Declaration, *, modules: tuple[str, ...] = ()) -> Snapshot:
        """Return what the disk says of the declaration's fields; ``modules`` are the files that define the targets.

        Raise InputMissing, InputOutsideRoot, InputChanged or InputError for a file, SpecError for what a file says.
        """
        folder = self.folder_of(declaration)
        trees = [*self._source_trees(declaration, folder, modules), *self._copied_trees(declaration, folder)]
        return Snapshot(
            trees=tuple(trees),
            requirements=self._requirements(declaration, folder),
            base_digest=layouts.digest_of_base(declaration.base_image, folder),
        )

    def folder_of(self, declaration: Declaration) -> str:
        """Return the absolute path of the folder that the declaration's paths start at."""
        return os.path.join(self._cwd, declaration.folder or "")

    def open(self, digest: Digest) -> BinaryIO:
        """Return the content behind a digest of a snapshot; raise KeyError for one that was never given out.

        Reading it raises InputChanged, naming the file, when the bytes are not the digest's.
        """
        with self._indexing:
            while self._origins:
                root, prefix, entries = self._origins.pop()
                for entry in entries:
                    if entry.kind is EntryKind.FILE:
                        self._by_digest[entry.sha256] = (root, entry.path[len(prefix) :], entry.size_bytes)
        sha256 = bytes.fromhex(digest.encoded)
        root, path, size = self._by_digest[sha256]
        return content.open_verified(root, path, size, sha256)

    def imported_by(self, declaration: Declaration, modules: tuple[str, ...]) -> Mapping[str, str]:
        """Return why LOADED_MODULES selected each file of a declaration that was taken: the path of what imports it.

        It is "" for a file that defines a target; the mapping is empty where another copy mode selected the files.
        """
        if declaration.source_root is None or declaration.source_copy_mode is not CopyFileDetection.LOADED_MODULES:
            return {}
        root = os.path.join(self.folder_of(declaration), declaration.source_root)
        return self._imported_by.get((os.path.realpath(os.fsencode(root)), modules), {})

    def _source_trees(self, declaration: Declaration, folder: str, modules: tuple[str, ...]) -> list[Tree]:
        written, mode = declaration.source_root, declaration.source_copy_mode
        if written is None or mode is CopyFileDetection.NO_COPY:
            return []
        root = _real(os.path.join(folder, written), "source_root", written)
        if not os.path.isdir(root):
            raise InputError("source_root: is not a folder", path=written, hint="name the folder to copy from")
        if mode is CopyFileDetection.ALL:
            entries = self._folder(root, "", LinkScope(root=root), "source_root")
        else:
            entries = self._loaded_modules(root, folder, modules)
        if not entries:
            self._emit(
                Warned(message=f"source_root: nothing in {written!r} is selected", hint="look at the ignore files")
            )
        return [Tree(field="source_root", entries=entries)]

    def _copied_trees(self, declaration: Declaration, folder: str) -> list[Tree]:
        if not declaration.copy:
            return []
        base = _real(folder, "copy", folder)
        paths = [_inside(f"copy[{index}]", path) for index, path in enumerate(declaration.copy)]
        reals = tuple(os.path.realpath(base + b"/" + path.encode()) for path in paths)
        return [self._copied(f"copy[{index}]", base, path, reals) for index, path in enumerate(paths)]

    def _copied(self, field: str, base: bytes, path: str, reals: tuple[bytes, ...]) -> Tree:
        real = _real(base + b"/" + path.encode(), field, path) if path else base
        if real != base and not real.startswith(base + b"/"):
            raise InputOutsideRoot(
                f"{field}: {path!r} leads out of the folder that it is taken from",
                path=field,
                hint="copy the file into the folder",
            )
        if os.path.isdir(real):
            entries = self._folder(base, path, LinkScope(root=real, others=reals), field)
        elif os.path.isfile(real):
            refuse_left_out(base, path, self._ignore)
            entries = (self._file(real, path),)
        else:
            raise InputError(f"{field}: {path!r} is neither a file nor a folder", path=field, hint="remove it")
        if not entries:
            self._emit(Warned(message=f"{field}: nothing in {path!r} is selected", hint="look at the ignore files"))
        return Tree(field=field, entries=entries)

    def _file(self, real: bytes, path: str) -> ContextEntry:
        looked_at_ns = self._clock_ns()
        status = os.stat(real)
        executable = bool(status.st_mode & OWNER_MAY_EXECUTE)
        digest = digest_of_file(real, keys_of([status]), self._stat_cache, looked_at_ns)
        entry = ContextEntry(path, EntryKind.FILE, executable, status.st_size, digest)
        self._origins.append((real, path, (entry,)))
        return entry

    def _folder(self, base: bytes, path: str, scope: LinkScope, field: str) -> Sequence[ContextEntry]:
        """Return the entries below ``path``, walked once however often they are asked for."""
        key = (base, path, scope.others)
        if key not in self._walked:
            self._walked[key] = self._walk(base, path, scope, field)
        return self._walked[key]

    def _walk(self, base: bytes, path: str, scope: LinkScope, field: str) -> Sequence[ContextEntry]:
        prefix = f"{path}/" if path else ""
        looked_at_ns = self._clock_ns()
        found = walk(scope.root, context_rules(base, path, self._ignore))
        for one in found.special:
            self._skip_special(prefix + one, field)
        others = [ContextEntry(prefix + one, EntryKind.FOLDER) for one in found.empty_folders]
        others += [
            ContextEntry(prefix + one, EntryKind.LINK, target=scope.text_of(one, target)) for one, target in found.links
        ]
        others.sort()
        entries = entries_of(scope.root, prefix, found.folders, others, self._stat_cache, looked_at_ns)
        self._origins.append((scope.root, prefix, entries))
        return entries

    def _skip_special(self, path: str, field: str) -> None:
        if field != "source_root":
            raise InputError(
                f"{field}: {path!r} is a socket, pipe or device",
                path=path,
                hint="remove it, or leave it out by .dockerignore",
            )
        self._emit(Warned(message=f"{field}: {path!r} is a socket, pipe or device, and is skipped"))

    def _loaded_modules(self, root: bytes, folder: str, modules: tuple[str, ...]) -> Sequence[ContextEntry]:
        if not modules:
            raise SpecError(
                "source_copy_mode: LOADED_MODULES needs the files that define the targets, and there are none",
                path="source_copy_mode",
                hint="set source_copy_mode to ALL, or name the target as module:attribute",
            )
        sources = self._sources.setdefault(root, _Sources(root))
        starts = [os.path.relpath(os.path.realpath(os.path.join(folder, one).encode()), root) for one in modules]
        chosen = closure.import_closure((start.decode() for start in starts), sources.read, sources.named)
        self._imported_by[root, modules] = chosen
        entries = tuple(sources.entry(path) for path in chosen)
        for entry in entries:
            self._by_digest[entry.sha256] = (root, sources.real_path(entry.path), entry.size_bytes)
        return entries

    def _requirements(self, declaration: Declaration, folder: str) -> RequirementLines | LockFiles | None:
        written = declaration.requirements
        if written is None:
            return None
        file = os.path.join(folder, written)
        beside, name = os.path.dirname(file), posixpath.basename(written)

        def read(path: str) -> bytes:
            return _read_text(os.path.join(beside, path), path)

        kind = locks.kind_of(name)
        if kind is not None:
            return locks.lock_files(name, kind, read)
        listed = requirement_lines(name, read)
        projects = tuple(self._project(one, beside) for one in listed.projects)
        return replace(listed, projects=projects) if projects else listed

    def _project(self, project: LocalProject, folder: str) -> LocalProject:
        base = _real(folder, FIELD, folder)
        path = _inside(FIELD, project.path)
        tree = self._copied(FIELD, base, path, (os.path.realpath(base + b"/" + path.encode()),))
        return replace(project, entries=tree.entries)


class _Sources:
    """The Python files below a root, each read once; ``named`` keeps what each of them imports."""

    def __init__(self, root: bytes) -> None:
        self.named: dict[str, tuple[str, ...]] = {}
        self._root = root
        self._read: dict[str, _Source | None] = {}
        self._folders: dict[bytes, bytes] = {}

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes, None when there is none; raise InputOutsideRoot for a link that leads out."""
        if path not in self._read:
            self._read[path] = self._from_disk(path)
        found = self._read[path]
        return found.data if found else None

    def entry(self, path: str) -> ContextEntry:
        """Return the entry of a file that ``read`` found."""
        found = self._found(path)
        sha256 = hashlib.sha256(found.data).digest()
        return ContextEntry(path, EntryKind.FILE, found.executable, len(found.data), sha256)

    def real_path(self, path: str) -> str:
        """Return the path of the file itself, where ``path`` goes through links."""
        return self._found(path).real_path

    def _found(self, path: str) -> _Source:
        found = self._read[path]
        assert found is not None, path
        return found

    def _from_disk(self, path: str) -> _Source | None:
        file = self._root + b"/" + path.encode()
        try:
            status = os.stat(file)
            if not stat.S_ISREG(status.st_mode):
                return None
            with open(file, "rb") as stream:
                data = stream.read()
        except OSError:
            return None
        real = self._real(file)
        if not path.startswith("../") and not real.startswith(self._root + b"/"):
            raise InputOutsideRoot(
                f"source_root: the link {path!r} leads out of it", path=path, hint="copy the file into the folder"
            )
        return _Source(data, bool(status.st_mode & OWNER_MAY_EXECUTE), os.path.relpath(real, self._root).decode())

    def _real(self, file: bytes) -> bytes:
        """Return the file's path without links; the way to a folder is followed once."""
        if os.path.islink(file):
            return os.path.realpath(file)
        folder, name = os.path.split(file)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return self._folders[folder] + b"/" + name


class _Source(NamedTuple):
    """A file that was read; ``real_path`` is where it is below the root when links are followed."""

    data: bytes
    executable: bool
    real_path: str


def _read_text(file: str, shown: str) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):
            raise InputError(f"{FIELD}: {shown!r} is not a file", path=shown, hint="name a file")
        with open(file, "rb") as stream:
            return stream.read()
    except FileNotFoundError as error:
        raise InputMissing(
            f"{FIELD}: {shown!r} is not there", path=shown, hint="paths are relative to the file that names them"
        ) from error
    except OSError as error:
        reason = (error.strerror or "input/output error").lower()
        raise InputError(f"{FIELD}: {shown!r}: {reason}", path=shown, hint="make it readable") from error


def _real(path: str | bytes, field: str, written: str) -> bytes:
    """Return the absolute path without links; raise InputMissing, naming the field."""
    real = os.path.realpath(os.fsencode(path) if isinstance(path, str) else path)
    if not os.path.lexists(real):
        raise InputMissing(
            f"{field}: {written!r} is not there", path=written, hint="paths are relative to the folder of the spec"
        )
    return real


def _inside(field: str, path: str) -> str:
    """Return a relative path in its shortest form ('' for the folder itself); raise for one that leads out."""
    if path.startswith(("/", "~")):
        raise SpecError(
            f"{field}: {path!r} is not relative", path=field, hint="write it relative to the folder of the spec"
        )
    if ".." in path.split("/"):
        raise InputOutsideRoot(
            f"{field}: {path!r} leads out of the folder of the spec", path=field, hint="copy the file into the folder"
        )
    shortest = posixpath.normpath(path)
    return "" if shortest == "." else shortest
