"""One walk over a folder: what lies in it and is not left out, with what stat(2) says of each file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Final

from imagespec.errors import InputChanged, InputError
from imagespec.sources.dockerignore import NO_DOCKERIGNORE, DockerIgnore, Matched
from imagespec.sources.gitignore import NO_GITIGNORE, GitIgnore
from imagespec.sources.ignore import STANDARD_NAMES, STANDARD_SUFFIXES, VIRTUAL_ENVIRONMENT_MARKER
from imagespec.sources.stat_cache import Listed, keys_of
from imagespec.values import dataclass, field

__all__ = ["Found", "Rules", "Standing", "Tracked", "walk"]

_GITIGNORE: Final = b".gitignore"
_GIT_FOLDER: Final = frozenset((b".git",))
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_WHITEOUT: Final = b".wh."


@dataclass(slots=True)
class Found:
    """What a walk found, in the order of the disk; paths are relative to its root."""

    folders: list[Listed] = field(default_factory=list)
    links: list[tuple[str, bytes]] = field(default_factory=list)
    empty_folders: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)

    @property
    def files(self) -> list[str]:
        """The paths of the regular files."""
        return [prefix + name for prefix, names, _ in self.folders for name in names.split("\0")]


class Tracked:
    """The paths that git tracks, from the work tree's top; read when first asked for."""

    def __init__(self, read: Callable[[], frozenset[bytes]]) -> None:
        self._read = read
        self._paths: frozenset[bytes] | None = None
        self._folders: set[bytes] = set()

    def has_file(self, path: bytes) -> bool:
        """Return whether git tracks this path."""
        return path in self._loaded()

    def has_below(self, path: bytes) -> bool:
        """Return whether git tracks something in this folder."""
        self._loaded()
        return path in self._folders

    def _loaded(self) -> frozenset[bytes]:
        if self._paths is None:
            self._paths = self._read()
            for path in self._paths:
                while (slash := path.rfind(b"/")) > 0 and (path := path[:slash]) not in self._folders:
                    self._folders.add(path)
        return self._paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The rules as they stand in one folder: git's lines so far, and which Docker patterns match it or a parent."""

    git: GitIgnore = NO_GITIGNORE
    docker: Matched = ()
    is_left_out: bool = False
    only_tracked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules of one walk. ``git_prefix`` and ``docker_prefix`` lead from their tops to the root, '' or with '/'."""

    standard: bool = True
    gitignore: bool = True
    git_prefix: bytes = b""
    tracked: Tracked | None = None
    docker: DockerIgnore = NO_DOCKERIGNORE
    docker_prefix: str = ""
    standing: Standing = Standing()


def walk(root: bytes, rules: Rules) -> Found:
    """Return what lies below ``root`` and is not left out; links are not followed.

    Raise InputError for a folder that cannot be read, and for a name that no image can hold.
    """
    walker = _Walker(root, rules)
    folders = [("", rules.standing)]
    while folders:
        prefix, standing = folders.pop()
        folders.extend(walker.look_into(prefix, standing))
    return walker.found


class _Walker:
    def __init__(self, root: bytes, rules: Rules) -> None:
        self.found = Found()
        self._root = root + b"/"
        self._rules = rules
        if rules.standard:
            self._skipped: tuple[frozenset[bytes], tuple[bytes, ...]] = STANDARD_NAMES, STANDARD_SUFFIXES
        else:
            self._skipped = _GIT_FOLDER if rules.gitignore else frozenset(), ()
        self._endings = tuple(suffix + b"\0" for suffix in self._skipped[1])

    def look_into(self, prefix: str, standing: Standing) -> list[tuple[str, Standing]]:
        """Note what the folder ``prefix`` ('' or ending with '/') holds; return the folders to look into.

        Raise InputError when it cannot be read, InputChanged when it changes meanwhile.
        """
        handle = self._opened(prefix)
        try:
            # Through a descriptor: stat(2) by path would look up every folder above for every file.
            with os.scandir(handle) as listing:
                entries = list(listing)
            return self._seen(prefix, handle, entries, standing)
        except OSError as error:
            shown = prefix[:-1] or "."
            raise InputChanged(
                f"read: folder {shown!r} changed while it was read",
                path=shown,
                hint="run again when nothing writes to it, or leave it out by .dockerignore",
            ) from error
        finally:
            os.close(handle)

    def _opened(self, prefix: str) -> int:
        try:
            return os.open(self._root + prefix.encode(), _FOLDER)
        except OSError as error:
            shown = prefix[:-1] or "."
            raise InputError(
                f"read: folder {shown!r}: {(error.strerror or 'input/output error').lower()}",
                path=shown,
                hint="make it readable, or leave it out by .dockerignore",
            ) from error

    def _seen(
        self, prefix: str, handle: int, entries: list[os.DirEntry[str]], standing: Standing
    ) -> list[tuple[str, Standing]]:
        if not entries:
            if prefix and not standing.is_left_out and not standing.only_tracked:
                self.found.empty_folders.append(prefix[:-1])
            return []
        joined = os.fsencode("\0".join([entry.name for entry in entries]))
        names = joined.split(b"\0")
        if self._rules.standard and prefix and VIRTUAL_ENVIRONMENT_MARKER in names:
            return []
        if _GITIGNORE in names and self._rules.gitignore and not standing.only_tracked:
            standing = self._with_gitignore(prefix, standing)
        texts, is_suspicious = _texts(joined)
        doubtful = self._doubtful(prefix, names, texts, standing)
        listed = zip(entries, names, texts, strict=True)
        return self._sorted_out(prefix, handle, listed, doubtful, is_suspicious, standing)

    def _with_gitignore(self, prefix: str, standing: Standing) -> Standing:
        folder = prefix.encode()
        data = read_gitignore(self._root + folder + _GITIGNORE)
        git = standing.git.extended(data, self._rules.git_prefix + folder)
        return Standing(git=git, docker=standing.docker, is_left_out=standing.is_left_out)

    def _doubtful(self, prefix: str, names: list[bytes], texts: list[str], standing: Standing) -> set[bytes]:
        """Return the names that some rule may leave out, found for the whole folder at once: most folders have none."""
        skipped_names, skipped_suffixes = self._skipped
        if standing.only_tracked:
            return set(names)
        found = set(skipped_names.intersection(names))
        if skipped_suffixes:
            listed = b"\0".join(names) + b"\0"
            if any(map(listed.__contains__, self._endings)):
                found.update([name for name in names if name.endswith(skipped_suffixes)])
        if standing.git.rules:
            found |= standing.git.candidates(self._rules.git_prefix + prefix.encode(), names)
        if self._rules.docker:
            folder = self._rules.docker_prefix + prefix
            found.update(map(_bytes, self._rules.docker.candidates(folder, texts, standing.docker)))
        return found

    def _sorted_out(
        self,
        prefix: str,
        handle: int,
        listed: Iterable[tuple[os.DirEntry[str], bytes, str]],
        doubtful: set[bytes],
        is_suspicious: bool,
        standing: Standing,
    ) -> list[tuple[str, Standing]]:
        """Note a folder's entries; return the folders among them. The loop is what a large tree's time is spent in."""
        folders: list[tuple[str, Standing]] = []
        files: list[os.DirEntry[str]] = []
        file_names: list[str] = []
        for entry, name, text in listed:
            below = self._judged(prefix, entry, name, text, standing) if name in doubtful else standing
            if below is None:
                continue
            if is_suspicious:
                _refuse_unfit(name, prefix)
            if entry.is_file(follow_symlinks=False):
                files.append(entry)
                file_names.append(text)
            elif entry.is_dir(follow_symlinks=False):
                # No pattern of Docker matches a name that is not in doubt, and so none is asked.
                inside = self._inside(prefix, text, below) if name in doubtful else below
                if inside is not None:
                    folders.append((f"{prefix}{text}/", inside))
            elif entry.is_symlink():
                self.found.links.append((prefix + text, os.readlink(name, dir_fd=handle)))
            else:
                self.found.special.append(prefix + text)
        if files:
            keys = keys_of([entry.stat(follow_symlinks=False) for entry in files])
            self.found.folders.append((prefix, "\0".join(file_names), keys))
        return folders

    def _judged(
        self, prefix: str, entry: os.DirEntry[str], name: bytes, text: str, standing: Standing
    ) -> Standing | None:
        """Return how the rules stand below an entry that they may leave out, or None when they do."""
        names, suffixes = self._skipped
        if name in names or (suffixes and name.endswith(suffixes)):
            return None
        is_folder = entry.is_dir(follow_symlinks=False)
        kept = self._by_git(self._rules.git_prefix + prefix.encode() + name, name, is_folder, standing)
        docker = self._rules.docker
        if kept is None or is_folder or not docker:
            return kept
        return None if docker.matched(self._rules.docker_prefix + prefix + text, standing.docker)[0] else kept

    def _by_git(self, path: bytes, name: bytes, is_folder: bool, standing: Standing) -> Standing | None:
        """Return how the rules stand below ``path``, or None when git's rules leave it out."""
        if not standing.only_tracked and not standing.git.ignores(path, name, is_folder):
            return standing
        tracked = self._rules.tracked
        if tracked is None or not (tracked.has_below(path) if is_folder else tracked.has_file(path)):
            return None
        if not is_folder or standing.only_tracked:
            return standing
        return Standing(docker=standing.docker, is_left_out=standing.is_left_out, only_tracked=True)

    def _inside(self, prefix: str, text: str, standing: Standing) -> Standing | None:
        """Return how Docker's patterns stand inside a folder, or None when they keep nothing in it."""
        docker = self._rules.docker
        if not docker:
            return standing
        path = f"{self._rules.docker_prefix}{prefix}{text}"
        is_left_out, matched = docker.matched(path, standing.docker)
        if is_left_out and not docker.may_keep_below(path):
            return None
        return Standing(git=standing.git, docker=matched, is_left_out=is_left_out, only_tracked=standing.only_tracked)


def read_gitignore(path: bytes) -> bytes:
    """Return a ``.gitignore``'s bytes; nothing when it is a link or no file, which git does not read either."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    with open(handle, "rb") as stream:
        return stream.read()


def _texts(joined: bytes) -> tuple[list[str], bool]:
    """Return a folder's names (NUL between them) as text, and whether one of them may be unfit for an image."""
    try:
        return joined.decode().split("\0"), joined.startswith(_WHITEOUT) or b"\0" + _WHITEOUT in joined
    except UnicodeDecodeError:
        return joined.decode("utf-8", "surrogateescape").split("\0"), True


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _refuse_unfit(name: bytes, prefix: str) -> None:
    """Raise InputError for a name that is not UTF-8, or that a layer would take for a removal."""
    shown = prefix + name.decode("utf-8", "backslashreplace")
    if name.startswith(_WHITEOUT):
        raise InputError(
            f"copy: {shown!r} would be taken for a removal in an image layer",
            path=shown,
            hint="rename it, or leave it out by .dockerignore",
        )
    try:
        name.decode()
    except UnicodeDecodeError:
        raise InputError(
            f"copy: the name of {shown!r} is not UTF-8",
            path=shown,
            hint="rename it, or leave its folder out by .dockerignore",
        ) from None
