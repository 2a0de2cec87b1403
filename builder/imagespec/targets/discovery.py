"""The child process that imports the user's code: reads what to import on stdin, writes what it found as JSON lines.

First comes a line for each module that has been imported, then, in the same order, a line with what each holds.
The user's code may print, hang, exit or crash: nothing of that reaches the process that builds.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TextIO

from imagespec import fields
from imagespec.errors import ImageSpecError, SpecError
from imagespec.identity import Target
from imagespec.spec import Declaration
from imagespec.targets.hiding_places import attribute_of, specs_in, specs_of_module
from imagespec.targets.interchange import Written, plain_from
from imagespec.workspace import Workspace

__all__ = ["main"]

_FLYTE_SPECS: Final = "flytekit.image_spec.image_spec"
# The adapter needs flytekit, which only some have: it is imported when the user's code has imported flytekit.
_FLYTE_ADAPTER: Final = "imagespec.flyte.discovered"


def main() -> None:
    """Import what stdin lists and write two lines a module to the file descriptor that it names."""
    order = json.load(sys.stdin)
    # What the user's code reads or prints is none of ours.
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115
    sys.path[:0] = [path for path in (order["root"], order["cwd"]) if path not in sys.path]
    seen: dict[str, dict[int, object]] = {}
    with os.fdopen(order["answers"], "w", encoding="utf-8") as answers:
        imported = [_imported_for(item, answers, order) for item in order["items"]]
        for item, (module, error) in zip(order["items"], imported, strict=True):
            found = functools.partial(_found, item, module, order, seen)
            _write(answers, error or _answer(found, order))
        # Threads and exit handlers of the user's code must not hold up the answer.
        os._exit(0)


def _imported_for(item: dict[str, Any], answers: TextIO, order: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the module, and {} or the answer that stands in its place; either way a line says that it is over."""
    modules: list[ModuleType] = []

    def load() -> list[dict[str, Any]]:
        modules.append(_imported(item["module"], item["file"]))
        return []

    answer = _answer(load, order)
    _write(answers, {})
    return (modules[0], {}) if modules else (None, answer)


def _answer(act: Callable[[], list[dict[str, Any]]], order: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"found": act()}
    except ImageSpecError as error:
        return {
            "error": {
                "type": type(error).__name__,
                "message": _place(error, order["cwd"]) + str(error),
                "path": getattr(error, "path", ""),
                "hint": error.hint,
            }
        }
    except BaseException as error:  # SystemExit and KeyboardInterrupt of the user's code are errors of it, too
        return {"raised": f"{type(error).__name__}: {error}".partition("\n")[0], "traceback": _users_traceback(error)}


def _write(answers: TextIO, line: dict[str, Any]) -> None:
    answers.write(json.dumps(line) + "\n")
    answers.flush()


def _found(
    item: dict[str, Any], module: ModuleType, order: dict[str, Any], seen: dict[str, dict[int, object]]
) -> list[dict[str, Any]]:
    shown, attribute = item["shown"], item["attribute"]
    specs = specs_of_module(module, _is_spec)
    if attribute:
        specs = specs_in(attribute, _attribute(module, attribute, shown), _is_spec)
    known = seen.setdefault(item["scan"], {})
    lines = []
    written: Written = {}
    count = 0
    for path, spec in specs:
        count += 1
        if item["scan"] and id(spec) in known:
            continue
        known[id(spec)] = spec
        lines.append(_line(f"{shown}:{path}", _target(spec, order, module), written))
    if not count and attribute:
        kind = type(attribute_of(module, attribute)).__name__
        raise SpecError(f"{shown}:{attribute} is a {kind}, not an ImageSpec", path=attribute)
    if not count and not item["scan"]:
        raise SpecError(f"{shown}: has no ImageSpec", path=shown, hint="name one: file.py:attribute")
    return lines


def _line(origin: str, target: Target, written: Written) -> dict[str, Any]:
    return {
        "origin": origin,
        "modules": list(target.modules),
        "code_root": target.code_root,
        "spec": plain_from(target.declaration, written),
    }


def _place(error: ImageSpecError, cwd: str) -> str:
    """Return ``file.py:3: `` for an error that a line of the user's code has raised, "" for one of ours."""
    ours = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [one for one in frames if not one.filename.startswith((ours, "<")) and "importlib" not in one.filename]
    if not theirs:
        return ""
    path = os.path.relpath(theirs[-1].filename, cwd)
    return f"{theirs[-1].filename if path.startswith('..') else path}:{theirs[-1].lineno}: "


def _is_spec(value: object) -> bool:
    return isinstance(value, Declaration) or _is_flyte_spec(value)


def _is_flyte_spec(value: object) -> bool:
    flyte = sys.modules.get(_FLYTE_SPECS)
    return flyte is not None and isinstance(value, flyte.ImageSpec) and _flyte().is_ours(value)


def _flyte() -> Any:
    return importlib.import_module(_FLYTE_ADAPTER)


def _target(spec: object, order: dict[str, Any], module: ModuleType) -> Target:
    modules = (module.__file__,) if module.__file__ else ()
    if isinstance(spec, Declaration):
        return Target(declaration=spec, modules=modules, code_root=order["root"])
    found: Target = _flyte().loaded_target(spec, Workspace(cwd=order["cwd"]), modules, order["root"])
    return found


def _attribute(module: ModuleType, path: str, shown: str) -> object:
    try:
        return attribute_of(module, path)
    except (AttributeError, LookupError, TypeError) as error:
        specs = [found for found, _ in specs_of_module(module, _is_spec)]
        hint = fields.choice_hint(path, specs) if specs else ""
        raise SpecError(f"{shown}: has no attribute {path!r}", path=path, hint=hint) from error


def _imported(name: str, file: str) -> ModuleType:
    """Return the module, imported under its own name so that the user's other modules meet the same one."""
    if not file:
        return importlib.import_module(name)
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) and os.path.samefile(str(known.__file__), file):
        return known
    if "." in name:
        return importlib.import_module(name)
    if known is not None or name in sys.stdlib_module_names:
        # The name is taken: importing must not give us the other module, nor others this one.
        name = f"imagespec_target_{name}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise SpecError(f"read {Path(file).name}: Python cannot import it", path=file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _users_traceback(error: BaseException) -> list[str]:
    """Return the traceback's lines from the first frame that is the user's."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename != __file__ and "importlib" not in frame.filename]
    lines = traceback.format_list(own) + traceback.format_exception_only(error)
    return "".join(["Traceback (most recent call last):\n", *lines] if own else lines).rstrip().splitlines()


if __name__ == "__main__":
    main()
