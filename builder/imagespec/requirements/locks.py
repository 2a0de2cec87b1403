"""Lock and project files that ``requirements`` may name, and what must lie beside each; read through a function."""

from __future__ import annotations

import posixpath
import re
import sys
from typing import Any, Final

from imagespec.errors import InputMissing, InputOutsideRoot, SpecError
from imagespec.patterns import lazy_pattern
from imagespec.requirements.requirements_txt import FIELD, Read, refuse_credentials
from imagespec.snapshot import LockFiles, TextFile

__all__ = ["kind_of", "lock_files"]

PYPROJECT: Final = "pyproject.toml"
_PYLOCK = lazy_pattern(r"pylock(\.[^.]+)?\.toml")
_CONDA: Final = ("environment.yml", "environment.yaml")
_CONDA_PIP_FILE = lazy_pattern(
    r"^\s*-\s*['\"]?(?:-r|-c|--requirement|--constraint)[=\s]\s*(?P<path>[^\s'\"#]+)", re.MULTILINE
)
_NESTED = lazy_pattern(r"^\s*(?:-r|-c|--requirement|--constraint)[=\s]*(?P<path>[^\s#]+)", re.MULTILINE)


def kind_of(name: str) -> str | None:
    """Return the kind of lock that a file's name says, or None for a requirements.txt under whatever name."""
    if name in ("uv.lock", "poetry.lock", PYPROJECT) or _PYLOCK.fullmatch(name):
        return "pylock.toml" if _PYLOCK.fullmatch(name) else name
    return "environment.yml" if name in _CONDA else None


def lock_files(name: str, kind: str, read: Read) -> LockFiles:
    """Return the lock and the files that an installer needs beside it, sorted by path.

    Raise InputMissing when one of them is not there, SpecError for a file that is not valid or holds credentials.
    """
    data = read(name)
    found = {name: data}
    if kind in ("uv.lock", "poetry.lock"):
        found[PYPROJECT] = _beside(PYPROJECT, name, read)
    if kind == "uv.lock":
        for member in _members(name, data):
            found[f"{member}/{PYPROJECT}"] = _beside(f"{member}/{PYPROJECT}", name, read)
    elif kind == "environment.yml":
        for path in _included(_CONDA_PIP_FILE, data, ""):
            _include(path, found, read)
    elif kind == PYPROJECT:
        _refuse_dynamic(name, data)
    for path, content in found.items():
        refuse_credentials(path, content)
    return LockFiles(kind=kind, files=tuple(TextFile(path=path, data=found[path]) for path in sorted(found)))


def _beside(path: str, lock: str, read: Read) -> bytes:
    try:
        return read(path)
    except InputMissing as error:
        raise InputMissing(
            f"{FIELD}: {lock} needs {path} beside it, which is not there",
            path=path,
            hint=f"keep {path} and {lock} together, or export a requirements.txt",
        ) from error


def _toml(name: str, data: bytes) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(data.decode())
    except ValueError as error:
        raise SpecError(f"{FIELD}: {name} is not valid TOML", path=FIELD, hint=str(error)) from error


def _members(name: str, data: bytes) -> list[str]:
    """Return the folders of a uv workspace's members and of local projects, without the root's own."""
    members = set()
    for package in _toml(name, data).get("package", []):
        source = package.get("source", {})
        if "path" in source:
            raise SpecError(
                f"{FIELD}: {name} takes {package.get('name')} from a file here: {source['path']!r}",
                path=FIELD,
                hint="list the file in a requirements.txt, or publish it on an index",
            )
        for key in ("editable", "virtual", "directory"):
            path = source.get(key)
            if isinstance(path, str) and path != ".":
                members.add(posixpath.normpath(path))
    for path in members:
        if path.startswith(("/", "../")):
            raise SpecError(
                f"{FIELD}: {name} names a project outside its folder: {path!r}",
                path=FIELD,
                hint="move the project below the folder of the lock",
            )
    return sorted(members)


def _included(pattern: re.Pattern[str], data: bytes, folder: str) -> list[str]:
    text = data.decode("utf-8", "replace")
    return [posixpath.normpath(posixpath.join(folder, match["path"])) for match in pattern.finditer(text)]


def _include(path: str, found: dict[str, bytes], read: Read) -> None:
    if path in found:
        return
    if path.startswith(("/", "../")):
        raise InputOutsideRoot(
            f"{FIELD}: the file includes {path!r}, outside its folder", path=path, hint="move it beside the file"
        )
    found[path] = read(path)
    for nested in _included(_NESTED, found[path], posixpath.dirname(path)):
        _include(nested, found, read)


def _refuse_dynamic(name: str, data: bytes) -> None:
    project = _toml(name, data).get("project")
    if not isinstance(project, dict):
        raise SpecError(
            f"{FIELD}: {name} has no [project] table",
            path=FIELD,
            hint="list dependencies as in PEP 621, or name a lock",
        )
    if "dependencies" in project.get("dynamic", []):
        raise SpecError(
            f"{FIELD}: {name} computes its dependencies when it is built",
            path=FIELD,
            hint="name the file that lists them, or a lock",
        )
