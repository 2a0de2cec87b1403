"""What a person names on the command line, to declarations.

A target is a YAML or TOML file, a Python file, ``module`` or ``module:attribute``, a folder, or a glob of files and
folders. Every ImageSpec in it counts, wherever it hides, and is named by where it was found.
"""

from __future__ import annotations

import glob
import importlib.machinery
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from imagespec import data_file, fields
from imagespec.errors import ImageSpecError, InputError, InputMissing, InvalidReference, SpecError
from imagespec.identity import Target
from imagespec.image_spec import ImageSpec
from imagespec.names import Reference
from imagespec.spec import FIELD_NAMES, Declaration
from imagespec.targets.folders import DATA_SUFFIXES, files_in
from imagespec.targets.importing import Found, PythonModule, import_all
from imagespec.values import dataclass

__all__ = ["IMPORT_LIMIT_S", "Findings", "find", "load", "reference_of"]

IMPORT_LIMIT_S: Final = 60.0
_MODULE: Final = re.compile(r"(?P<module>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)(:(?P<attribute>[A-Za-z_].*))?")
_PYTHON_FILE: Final = re.compile(r"(?P<file>.*\.py):(?P<attribute>[A-Za-z_].*)")
_GLOB: Final = re.compile(r"[*?\[]")
# How like a field a key is that was meant for it: "packges" is 0.93, conda's "channels" beside ours 0.73.
_NEARLY: Final = 0.85
# A mapping with one of these is an ImageSpec even if another of its keys is wrong.
_TELLING: Final = frozenset(FIELD_NAMES) - {
    *("name", "env", "platform", "packages", "requirements", "registry", "builder", "entrypoint", "commands", "copy"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was found for each target name, in order, and what could not be loaded."""

    targets: tuple[Target, ...]
    problems: tuple[ImageSpecError, ...]


def load(target: str, cwd: Path, import_limit_s: float = IMPORT_LIMIT_S) -> tuple[Target, ...]:
    """Return the specs that ``target`` names, each with where it was found.

    Raise SpecError for what is not a spec, InputMissing for what is not there, ImportFailed, with its own traceback,
    when the user's code cannot be imported.
    """
    findings = find((target,), cwd, import_limit_s)
    if findings.problems:
        raise findings.problems[0]
    return findings.targets


def find(
    names: Iterable[str], cwd: Path, import_limit_s: float = IMPORT_LIMIT_S, exclude: Sequence[str] = ()
) -> Findings:
    """Return the specs of all targets and the problems of those that cannot be loaded; no problem stops the others.

    ``exclude`` are patterns as in a .gitignore, relative to ``cwd``: files that a folder or a glob does not mean.
    """
    sought = [_sought(name, cwd, _left_out(exclude, cwd)) for name in names]
    modules = [one for listed in sought for one in listed.parts if isinstance(one, PythonModule)]
    imported = iter(import_all(modules, cwd, import_limit_s) if modules else [])
    targets: list[Target] = []
    problems: list[ImageSpecError] = []
    for listed in sought:
        parts = [next(imported) if isinstance(part, PythonModule) else part for part in listed.parts]
        found = [target for part in parts for target in part.targets]
        errors = [part.error for part in parts if part.error is not None]
        problems += errors
        if listed.is_scan and not found and not errors:
            problems.append(
                SpecError(f"{listed.name}: holds no ImageSpec", path="target", hint="name a file, or another folder")
            )
        targets += _distinct(found) if listed.is_scan else found
    return Findings(targets=tuple(targets), problems=tuple(problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sought:
    """The parts of one target: modules to import, and what was read already."""

    name: str
    parts: tuple[PythonModule | Found, ...]
    is_scan: bool = False


def _left_out(exclude: Sequence[str], cwd: Path) -> Callable[[Path], bool]:
    if not exclude:
        return lambda file: False
    from pathspec import GitIgnoreSpec

    patterns = GitIgnoreSpec.from_lines(exclude)
    return lambda file: file.is_relative_to(cwd) and patterns.match_file(file.relative_to(cwd))


def _sought(name: str, cwd: Path, left_out: Callable[[Path], bool]) -> _Sought:
    try:
        return _parts(name, cwd, left_out)
    except ImageSpecError as error:
        return _Sought(name=name, parts=(Found(error=error),))


def _parts(name: str, cwd: Path, left_out: Callable[[Path], bool]) -> _Sought:
    if not name.strip():
        # A variable that is not set, most often: it must not mean everything that is here.
        raise SpecError("target: is empty", path="target", hint="name a file, or . for the current folder")
    python = _PYTHON_FILE.fullmatch(name)
    if python:
        return _Sought(name=name, parts=(_python_file(python["file"], cwd, python["attribute"]),))
    path = cwd / name
    if path.is_dir():
        return _Sought(name=name, parts=tuple(_scanned(files_in(path), cwd, name, left_out)), is_scan=True)
    if _GLOB.search(name) and not path.exists() and not _MODULE.fullmatch(name):
        return _Sought(name=name, parts=tuple(_scanned(_matching(name, cwd), cwd, name, left_out)), is_scan=True)
    if path.suffix in DATA_SUFFIXES:
        return _Sought(name=name, parts=(Found(targets=tuple(_from_data(path, name))),))
    if path.suffix == ".py":
        return _Sought(name=name, parts=(_python_file(name, cwd),))
    return _Sought(name=name, parts=(_module(name, cwd),))


def _matching(pattern: str, cwd: Path) -> Iterator[Path]:
    for match in sorted(glob.glob(pattern, root_dir=cwd, recursive=True)):
        path = cwd / match
        yield from files_in(path) if path.is_dir() else (path,)


def _scanned(
    files: Iterable[Path], cwd: Path, scan: str, left_out: Callable[[Path], bool]
) -> Iterator[PythonModule | Found]:
    for file in dict.fromkeys(files):
        if left_out(file):
            continue
        shown = str(file.relative_to(cwd)) if file.is_relative_to(cwd) else str(file)
        if file.suffix == ".py":
            yield _python_file(shown, cwd, scan=scan)
        elif file.suffix in DATA_SUFFIXES:
            yield _scanned_data(file, shown)


def _scanned_data(file: Path, shown: str) -> Found:
    """Return what a file that nobody named holds: nothing, unless it looks like a spec."""
    try:
        value = _parsed(file, shown)
    except SpecError:
        return Found()
    documents = value if isinstance(value, list) else [value]
    if not documents or not all(_looks_like_a_spec(document) for document in documents):
        return Found()
    try:
        return Found(targets=tuple(_from_data(file, shown)))
    except ImageSpecError as error:
        return Found(error=error)


def _looks_like_a_spec(value: object) -> bool:
    if not isinstance(value, Mapping) or not value:
        return False
    keys = {str(key) for key in value}
    unknown = keys - set(FIELD_NAMES)
    return bool(keys & _TELLING) or (len(keys) > 1 and all(_is_misspelt(key) for key in unknown))


def _is_misspelt(key: str) -> bool:
    """Return whether a key is nearly a field: what is meant for a spec must not be passed over without a word."""
    import difflib

    return bool(difflib.get_close_matches(key, FIELD_NAMES, n=1, cutoff=_NEARLY))


def _distinct(found: Iterable[Target]) -> list[Target]:
    """Return each declaration once per set of modules: two modules of a folder may import the same one."""
    kept: list[Target] = []
    for target in found:
        if not any(one.declaration == target.declaration and one.modules == target.modules for one in kept):
            kept.append(target)
    return kept


def reference_of(target: str, cwd: Path) -> Reference | None:
    """Return the image reference that ``target`` spells, or None when it is a file, a folder, a glob or a module."""
    if _PYTHON_FILE.fullmatch(target) or Path(target).suffix in (*DATA_SUFFIXES, ".py") or (cwd / target).exists():
        return None
    named = _MODULE.fullmatch(target)
    if named and _is_module(named["module"], cwd):
        return None
    try:
        return Reference.parse(target)
    except InvalidReference:
        return None


def _from_data(file: Path, shown: str) -> Iterator[Target]:
    value = _parsed(file, shown)
    documents = value if isinstance(value, list) else [value]
    for index, document in enumerate(documents):
        origin = f"{shown}[{index}]" if isinstance(value, list) else shown
        yield Target(declaration=_declaration(document, str(file.parent), origin), origin=origin)


def _parsed(file: Path, shown: str) -> Any:
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise InputMissing(f"read {shown}: there is no such file", path=shown, hint="check the path") from error
    except OSError as error:
        reason = (error.strerror or "input/output error").lower()
        raise InputError(f"read {shown}: {reason}", path=shown, hint="make it a file that can be read") from error
    return data_file.parse(shown, data)


def _declaration(value: object, folder: str, origin: str) -> Declaration:
    if value is None:
        raise SpecError(f"{origin}: is empty", path=origin, hint="write at least a name: name: demo")
    if not isinstance(value, Mapping):
        raise SpecError(f"{origin}: is not a mapping of ImageSpec's fields", path=origin, hint="for example name: demo")
    given = dict(value)
    for key in given:
        if key not in FIELD_NAMES:
            hint = fields.choice_hint(str(key), list(FIELD_NAMES))
            raise SpecError(f"{origin}: {key} is not a field of ImageSpec", path=str(key), hint=hint)
    base = given.get("base_image")
    if isinstance(base, Mapping):
        given["base_image"] = _declaration(base, folder, f"{origin}: base_image")
    try:
        return ImageSpec(**given, folder=folder)
    except SpecError as error:
        error.args = (f"{origin}: {error}",)
        raise


def _python_file(shown: str, cwd: Path, attribute: str = "", *, scan: str = "") -> PythonModule:
    file = cwd / shown
    if not file.is_file():
        raise InputMissing(f"read {shown}: there is no such file", path=shown, hint="check the path")
    root, parts = file.parent, [file.stem]
    while (root / "__init__.py").is_file() and root.name.isidentifier() and root != root.parent:
        parts.insert(0, root.name)
        root = root.parent
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    return PythonModule(name=".".join(parts), root=root, shown=shown, file=str(file), attribute=attribute, scan=scan)


def _module(target: str, cwd: Path) -> PythonModule:
    named = _MODULE.fullmatch(target)
    if named is None or not (named["attribute"] or _is_module(named["module"], cwd)):
        raise SpecError(
            f"target: {target!r} is not a YAML, TOML or Python file, nor a folder, nor module:attribute",
            path="target",
            hint="for example image.yaml, workflows/etl.py or workflows.etl:image",
        )
    if not _is_module(named["module"], cwd):
        raise InputMissing(
            f"import {named['module']}: there is no such module",
            path=named["module"],
            hint="run from the folder that holds it, or install it",
        )
    return PythonModule(name=named["module"], root=cwd, shown=named["module"], attribute=named["attribute"] or "")


def _is_module(name: str, cwd: Path) -> bool:
    """Return whether Python would find the module; nothing is imported to tell."""
    places: list[str] | None = [str(cwd), *sys.path]
    parts = name.split(".")
    for index in range(len(parts)):
        spec = importlib.machinery.PathFinder.find_spec(".".join(parts[: index + 1]), places)
        if spec is None:
            return False
        places = list(spec.submodule_search_locations or ())
    return True
