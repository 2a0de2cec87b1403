"""Declarations as plain data, for the way from the process that runs the user's code to the one that builds."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from imagespec.spec import Declaration

__all__ = ["declaration_from", "plain_from"]

_BASE = "base_image"
_BESIDE = ("is_forced", "folder", "image_id", "added_packages", "written")


def plain_from(declaration: Declaration) -> dict[str, Any]:
    """Return the declaration as what JSON can hold; ``declaration_from`` gives an equal one back."""
    fields = {name: _plain(value) for name, value in declaration.declared().items()}
    return {"fields": fields, **{name: _plain(getattr(declaration, name)) for name in _BESIDE}}


def declaration_from(value: Mapping[str, Any]) -> Declaration:
    """Return the declaration that ``plain_from`` was given; raise SpecError when it is not valid."""
    fields = dict(value["fields"])
    if isinstance(fields.get(_BASE), Mapping):
        fields[_BASE] = declaration_from(fields[_BASE])
    beside = {name: value[name] for name in _BESIDE}
    return Declaration(**fields, **{**beside, "added_packages": tuple(beside["added_packages"])})


def _plain(value: object) -> object:
    if isinstance(value, Declaration):
        return plain_from(value)
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
