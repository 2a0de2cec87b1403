"""Symbolic links in a selected tree: kept when they lead to something inside it, refused by name when not."""

from __future__ import annotations

import os
import posixpath

from imagespec.errors import InputError, InputMissing, InputOutsideRoot
from imagespec.values import dataclass

__all__ = ["LinkScope"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkScope:
    """Where links may lead: below ``root``, or below one of the ``others``; all absolute, without links themselves."""

    root: bytes
    others: tuple[bytes, ...] = ()

    def text_of(self, path: str, target: bytes) -> str:
        """Return the text for the link at ``path`` below the root, made relative when it is not.

        Raise InputOutsideRoot when it leads out, InputMissing when it leads to nothing.
        """
        folder = os.path.dirname(self.root + b"/" + path.encode())
        location = _location(folder, target)
        if not self._holds(location):
            raise _outside(path)
        if not os.path.exists(location):
            raise InputMissing(
                f"copy: the link {path!r} leads to nothing",
                path=path,
                hint="remove it, or leave it out by .dockerignore",
            )
        if not self._holds(os.path.realpath(location)):
            raise _outside(path)
        text = _utf8(path, target)
        stays = posixpath.normpath(posixpath.join(posixpath.dirname(path), text))
        if text.startswith("/") or stays == ".." or stays.startswith("../"):
            return _utf8(path, os.path.relpath(location, folder))
        return text

    def _holds(self, location: bytes) -> bool:
        return any(location == root or location.startswith(root + b"/") for root in (self.root, *self.others))


def _location(folder: bytes, target: bytes) -> bytes:
    """Return where a link's text leads, one step: links on the way resolved, the last name not."""
    whole = os.path.join(folder, target).rstrip(b"/")
    head, name = os.path.split(whole)
    if name in (b"", b".", b".."):
        return os.path.realpath(whole)
    return os.path.join(os.path.realpath(head), name)


def _outside(path: str) -> InputOutsideRoot:
    return InputOutsideRoot(
        f"copy: the link {path!r} leads out of what is copied",
        path=path,
        hint="copy the file itself to that place, or leave the link out by .dockerignore",
    )


def _utf8(path: str, target: bytes) -> str:
    try:
        return target.decode()
    except UnicodeDecodeError:
        raise InputError(f"copy: the link {path!r} leads to a name that is not UTF-8", path=path) from None
