"""What a person names on the command line, to declarations: YAML and TOML files, Python files, ``module:attribute``."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from imagespec import fields
from imagespec.compose import Target
from imagespec.errors import InputMissing, InvalidReference, SpecError
from imagespec.image_spec import ImageSpec
from imagespec.names import Reference
from imagespec.spec import FIELD_NAMES, Declaration

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["load", "reference_of"]

_ATTRIBUTE = re.compile(r"(?P<module>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<attribute>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)")
_DATA_SUFFIXES: Final = (".yaml", ".yml", ".toml")


def load(target: str, cwd: Path) -> tuple[Target, ...]:
    """Return the specs that ``target`` names, each with where it was found.

    Raise SpecError for what is not a spec, InputMissing for what is not there, and the user's own exception when
    importing the user's code raises one.
    """
    path, _, attribute = target.rpartition(":") if ".py:" in target else (target, "", "")
    file = cwd / path
    if file.suffix in _DATA_SUFFIXES:
        return tuple(_from_data(file, path))
    if file.suffix == ".py":
        return tuple(_from_module(_import_file(file, path), attribute, path, (str(file),)))
    named = _ATTRIBUTE.fullmatch(target)
    if named is None:
        raise SpecError(
            f"target: {target!r} is not a YAML, TOML or Python file, nor module:attribute",
            path="target",
            hint="for example image.yaml, workflows/etl.py or workflows.etl:image",
        )
    module = _import_module(named["module"], cwd)
    files = (module.__file__,) if module.__file__ else ()
    return tuple(_from_module(module, named["attribute"], named["module"], files))


def reference_of(target: str, cwd: Path) -> Reference | None:
    """Return the image reference that ``target`` spells, or None when it is a file or a module."""
    path = target.rpartition(":")[0] if ".py:" in target else target
    if Path(path).suffix in (*_DATA_SUFFIXES, ".py") or (cwd / path).exists():
        return None
    if _ATTRIBUTE.fullmatch(target) and _is_module(target.partition(":")[0], cwd):
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
    import yaml

    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputMissing(f"read {shown}: there is no such file", path=shown, hint="check the path") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"read {shown}: {error}", path=shown) from error
    try:
        return tomllib.loads(text) if file.suffix == ".toml" else yaml.safe_load(text)
    except (tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        kind = "TOML" if file.suffix == ".toml" else "YAML"
        raise SpecError(f"read {shown}: not {kind}: {' '.join(str(error).split())}", path=shown) from error


def _declaration(value: object, folder: str, origin: str) -> Declaration:
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


def _from_module(module: ModuleType, attribute: str, origin: str, files: tuple[str, ...]) -> Iterator[Target]:
    if attribute:
        yield Target(declaration=_attribute(module, attribute, origin), origin=f"{origin}:{attribute}", modules=files)
        return
    found = [(name, value) for name, value in vars(module).items() if isinstance(value, Declaration)]
    if not found:
        raise SpecError(f"{origin}: has no ImageSpec at its top level", path=origin, hint="name one: file.py:attribute")
    for name, value in found:
        yield Target(declaration=value, origin=f"{origin}:{name}", modules=files)


def _attribute(module: ModuleType, attribute: str, origin: str) -> Declaration:
    value: object = module
    for name in attribute.split("."):
        if not hasattr(value, name):
            specs = [key for key, one in vars(module).items() if isinstance(one, Declaration)]
            hint = fields.choice_hint(name, specs) if specs else ""
            raise SpecError(f"{origin}: has no attribute {attribute!r}", path=attribute, hint=hint)
        value = getattr(value, name)
    if not isinstance(value, Declaration):
        kind = type(value).__name__
        raise SpecError(f"{origin}:{attribute} is a {kind}, not an ImageSpec", path=attribute)
    return value


def _import_file(file: Path, shown: str) -> ModuleType:
    if not file.is_file():
        raise InputMissing(f"read {shown}: there is no such file", path=shown, hint="check the path")
    name = f"imagespec_target_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise SpecError(f"read {shown}: Python cannot import it", path=shown)
    module = importlib.util.module_from_spec(spec)
    _find_modules_in(file.parent)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _is_module(name: str, cwd: Path) -> bool:
    _find_modules_in(cwd)
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _import_module(name: str, cwd: Path) -> ModuleType:
    if not _is_module(name, cwd):
        raise InputMissing(
            f"import {name}: there is no such module",
            path=name,
            hint="run from the folder that holds it, or install it",
        )
    return importlib.import_module(name)


def _find_modules_in(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
