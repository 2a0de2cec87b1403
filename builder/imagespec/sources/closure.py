"""Which Python files a module needs: a static import closure, the same whichever launcher loads the code.

Statements are found in the text, without the host's parser, so that every Python version selects the same files. All
imports count, also those inside functions and under ``if TYPE_CHECKING``, and literal ``import_module("…")`` calls.
"""

from __future__ import annotations

import functools
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias

__all__ = ["Import", "Sources", "import_closure", "imports_of"]

# Compiled where they are used (re keeps them): most runs never look at a module's text.
_STRING_OR_COMMENT: Final = r"""
    \#[^\n]*
    | (?P<quote>\"\"\"|''')(?:\\.|(?!(?P=quote)).)*(?:(?P=quote)|\Z)
    | "(?:\\.|[^"\\\n])*(?:"|$)
    | '(?:\\.|[^'\\\n])*(?:'|$)
    """
_STATEMENT: Final = r"""
    (?:^|;|:)[ \t]*
    (?:
      from\s+(?P<module>[.\s]*[^\W\d][\w.]*|[.]+[.\s]*)\s*\bimport\b\s*(?P<names>\([^)]*\)|[^\n;]*)
      | import\s+(?P<modules>[^\n;]+)
    )
    """
_DYNAMIC: Final = r"""\b(?:import_module|__import__)\(\s*(['"])(?P<module>[\w.]+)\1\s*[,)]"""
_CALLED: Final = ("import_module(", "__import__(")
_NAME: Final = r"[^\W\d]\w*"


class Import(NamedTuple):
    """``import module`` (names empty) or ``from module import names``; ``level`` counts the leading dots."""

    module: str
    names: tuple[str, ...] = ()
    level: int = 0


Sources: TypeAlias = Callable[[str], bytes | None]
"""Return the bytes of the file at a path relative to the root, or None when there is none."""


@functools.lru_cache(maxsize=1024)  # modules that many images hold are looked at once
def imports_of(text: str) -> tuple[Import, ...]:
    """Return the imports that a module's text states, in order."""
    bare = re.sub(_STRING_OR_COMMENT, _blank, text, flags=re.VERBOSE | re.DOTALL | re.MULTILINE)
    statements = re.finditer(_STATEMENT, bare.replace("\\\n", "  "), re.VERBOSE | re.MULTILINE)
    found = [one for match in statements for one in _imports(match)]
    if any(called in text for called in _CALLED):
        found += [Import(match["module"]) for match in re.finditer(_DYNAMIC, text)]
    return tuple(dict.fromkeys(found))


def _blank(match: re.Match[str]) -> str:
    text = match[0]
    return "" if text.startswith("#") else f"''{' ' * min(text.count(chr(10)), 1)}"


def _imports(match: re.Match[str]) -> list[Import]:
    if match["modules"] is not None:
        return [Import(name) for name in map(_imported, match["modules"].split(",")) if name]
    module = re.sub(r"\s", "", match["module"])
    level = len(module) - len(module.lstrip("."))
    names = tuple(name for name in map(_imported, match["names"].strip("()").split(",")) if name)
    return [Import(module[level:], names, level)] if names or level or module else []


def _imported(text: str) -> str:
    """Return the dotted name before ``as``; "" when the text is no import's."""
    words = re.sub(r"\s*\.\s*", ".", text).split()
    name = words[0] if words else ""
    return name if name == "*" or (name and all(re.fullmatch(_NAME, part) for part in name.split("."))) else ""


def import_closure(
    modules: Iterable[str], read: Sources, known: dict[str, tuple[str, ...]] | None = None
) -> Mapping[str, str]:
    """Return the files that ``modules`` (paths relative to the root) need, each with the file that imports it.

    ``known`` keeps what each file names, for the next call with the same ``read``.

    The given modules come with "" and count even when they lie outside ("../main.py"): then only what they import
    is in the result. A name is looked for below the root, and beside the topmost package of the file that names it.
    """
    known = {} if known is None else known
    because: dict[str, str] = {}
    waiting: list[tuple[str, str]] = [(posixpath.normpath(path), "") for path in modules]
    visited: set[str] = set()
    while waiting:
        path, importer = waiting.pop()
        if path in visited:
            continue
        visited.add(path)
        data = read(path)
        if data is None:
            continue
        if not path.startswith("../"):
            because[path] = importer
        if path.endswith(".py"):
            if path not in known:
                known[path] = tuple(sorted(_needed(path, data.decode("utf-8", "replace"), read), reverse=True))
            waiting += [(one, path) for one in known[path]]
    return {path: because[path] for path in sorted(because)}


def _needed(path: str, text: str, read: Sources) -> set[str]:
    folder = posixpath.dirname(path)
    start = _above_packages(folder, read)
    found = _packages_of(folder, start)
    roots = list(dict.fromkeys(("", start)))
    for one in imports_of(text):
        if one.level:
            base = _parent(folder, one.level - 1)
            if base is not None:
                found |= _resolved(base, one, read)
            continue
        for root in roots:
            found |= _resolved(root, one, read)
    found.discard(path)
    return found


def _above_packages(folder: str, read: Sources) -> str:
    """Return the nearest folder that is no package: where the launcher of a script would start to look."""
    while folder and not folder.endswith("..") and read(f"{folder}/__init__.py") is not None:
        folder = posixpath.dirname(folder)
    return folder


def _packages_of(folder: str, start: str) -> set[str]:
    """Return the ``__init__.py`` of every package between the two folders."""
    found = set()
    while folder != start:
        found.add(f"{folder}/__init__.py")
        folder = posixpath.dirname(folder)
    return found


def _parent(folder: str, count: int) -> str | None:
    for _ in range(count):
        if not folder:
            return None
        folder = posixpath.dirname(folder)
    return folder


def _resolved(root: str, one: Import, read: Sources) -> set[str]:
    """Return the files that an import names below ``root``: packages on the way, the module, its submodules."""
    found: set[str] = set()
    location = root
    for part in one.module.split(".") if one.module else ():
        location = posixpath.join(location, part)
        found |= _module(location, read)
    for name in one.names:
        if name != "*":
            found |= _module(posixpath.join(location, name), read)
    if not one.module:
        found |= _module(posixpath.join(location, "__init__"), read)
    return found


def _module(location: str, read: Sources) -> set[str]:
    candidates = (f"{location}.py", f"{location}/__init__.py")
    return {path for path in candidates if read(path) is not None}
