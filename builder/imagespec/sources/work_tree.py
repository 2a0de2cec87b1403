"""The ignore rules that hold at a place on the disk: git's above it, Docker's at the root of the context."""

from __future__ import annotations

import os
import re
from typing import Final, NamedTuple

from imagespec.errors import InputError
from imagespec.patterns import lazy_pattern
from imagespec.sources import dockerignore, git_index
from imagespec.sources.dockerignore import NO_DOCKERIGNORE, DockerIgnore, Matched
from imagespec.sources.gitignore import NO_GITIGNORE, GitIgnore
from imagespec.sources.ignore import IgnoreRules
from imagespec.sources.walk import Rules, Standing, Tracked, read_gitignore

__all__ = ["context_rules", "docker_rules", "refuse_left_out"]

_SHA256_OBJECTS = lazy_pattern(rb"^\s*objectformat\s*=\s*sha256\s*$", re.IGNORECASE | re.MULTILINE)
_GITDIR: Final = b"gitdir: "


class _WorkTree(NamedTuple):
    top: bytes
    git_folder: bytes


def context_rules(root: bytes, path: str, ignore: IgnoreRules) -> Rules:
    """Return the rules for a walk of the folder ``path`` ('' for all) below ``root``, an absolute path without links.

    The named folder itself is never left out by git's rules: naming it is a decision. Raise InputError when
    ``.dockerignore`` leaves it out, SpecError when that file has a pattern that Docker refuses.
    """
    folder = root + b"/" + path.encode() if path else root
    tree = _work_tree(folder) if ignore.gitignore else None
    top = tree.top if tree else root
    docker = docker_rules(root) if ignore.dockerignore else NO_DOCKERIGNORE
    left_out, matched = _docker_above(docker, path)
    if left_out and not docker.may_keep_below(path):
        raise _left_out(path)
    git = _git_above(top, folder) if ignore.gitignore else NO_GITIGNORE
    return Rules(
        standard=ignore.standard,
        gitignore=ignore.gitignore,
        git_prefix=_prefix(folder[len(top) :].strip(b"/")),
        tracked=Tracked(lambda: _tracked(tree)) if tree and ignore.tracked else None,
        docker=docker,
        docker_prefix=f"{path}/" if path else "",
        standing=Standing(git=git, docker=matched, is_left_out=left_out),
    )


def docker_rules(root: bytes) -> DockerIgnore:
    """Return the patterns of ``root``'s .dockerignore; none when it has no such file."""
    file = root + b"/.dockerignore"
    if not os.path.isfile(file):
        return NO_DOCKERIGNORE
    return dockerignore.parse(_read(file).decode("utf-8", "replace"))


def refuse_left_out(root: bytes, path: str, ignore: IgnoreRules) -> None:
    """Raise InputError when ``.dockerignore`` leaves out the file ``path``, which the user names."""
    docker = docker_rules(root) if ignore.dockerignore else NO_DOCKERIGNORE
    if docker and _docker_above(docker, path)[0]:
        raise _left_out(path)


def _left_out(path: str) -> InputError:
    return InputError(
        f"copy: {path!r} is left out by .dockerignore",
        path=path,
        hint=f"add the line '!{path}' to it, or do not copy it",
    )


def _docker_above(docker: DockerIgnore, path: str) -> tuple[bool, Matched]:
    """Return whether ``path`` is left out, and which patterns match it or one of its parents."""
    left_out, matched = False, ()  # type: tuple[bool, Matched]
    parts = path.split("/") if path and docker else []
    for count in range(1, len(parts) + 1):
        left_out, matched = docker.matched("/".join(parts[:count]), matched)
    return left_out, matched


def _git_above(top: bytes, folder: bytes) -> GitIgnore:
    """Return git's rules from the top down to the parent of ``folder``, without those that exclude the way to it."""
    git = NO_GITIGNORE
    parts = [part for part in folder[len(top) :].split(b"/") if part]
    for count, name in enumerate(parts):
        above = _prefix(b"/".join(parts[:count]))
        git = git.extended(read_gitignore(top + b"/" + above + b".gitignore"), above)
        git = git.without_those_that_exclude(above + name, name)
    return git


def _prefix(path: bytes) -> bytes:
    return path + b"/" if path else b""


def _work_tree(folder: bytes) -> _WorkTree | None:
    """Return the work tree that ``folder`` lies in (gitrepository-layout(5)), or None."""
    top = folder
    while True:
        git_folder = _git_folder(top)
        if git_folder is not None and os.path.isfile(git_folder + b"/HEAD"):
            return _WorkTree(top, git_folder)
        parent = os.path.dirname(top)
        if parent == top:
            return None
        top = parent


def _git_folder(top: bytes) -> bytes | None:
    dot_git = top + b"/.git"
    if os.path.isdir(dot_git):
        return dot_git
    if not os.path.isfile(dot_git):
        return None
    # A linked work tree or a submodule: a file that says where the repository is.
    with open(dot_git, "rb") as stream:
        text = stream.read(65536)
    if not text.startswith(_GITDIR):
        return None
    return os.path.normpath(os.path.join(top, text[len(_GITDIR) :].rstrip(b"\r\n")))


def _tracked(tree: _WorkTree) -> frozenset[bytes]:
    """Return what git tracks; nothing when there is no index yet, or one that cannot be read."""
    hash_bytes = _hash_bytes(tree.git_folder)
    try:
        data = _read(tree.git_folder + b"/index")
        paths = git_index.tracked_paths(data, hash_bytes=hash_bytes)
        shared = git_index.shared_index(data, hash_bytes=hash_bytes)
        if shared is not None:
            paths |= git_index.tracked_paths(_read(tree.git_folder + b"/" + shared.encode()), hash_bytes=hash_bytes)
        return paths
    except FileNotFoundError:
        return frozenset()
    except (OSError, git_index.NotAnIndexError) as error:
        raise InputError(
            f"git index: cannot be read: {error}",
            path=".git/index",
            hint="run 'git status', which mends it, or choose not to keep tracked files",
        ) from error


def _read(file: bytes) -> bytes:
    with open(file, "rb") as stream:
        return stream.read()


def _hash_bytes(git_folder: bytes) -> int:
    common = git_folder
    if os.path.isfile(git_folder + b"/commondir"):
        common = os.path.join(git_folder, _read(git_folder + b"/commondir").strip())
    try:
        return 32 if _SHA256_OBJECTS.search(_read(common + b"/config")) else 20
    except OSError:
        return 20
