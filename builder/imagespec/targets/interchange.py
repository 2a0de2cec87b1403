"""Declarations as plain data, for the way from the process that runs the user's code to the one that builds."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeAlias

from imagespec.spec import Declaration

__all__ = ["declaration_from", "plain_from"]

_BASE = "base_image"
_NUMBER = "number"
_BESIDE = ("is_forced", "folder", "image_id", "added_packages", "written")


Written: TypeAlias = dict[int, tuple[int, Declaration]]
"""Number and declaration by the object's id, which is its own while the declaration is kept here."""


def plain_from(declaration: Declaration, written: Written) -> dict[str, Any]:
    """Return the declaration as what JSON can hold; ``declaration_from`` gives an equal one back.

    ``written`` are the declarations that went before it on the same way: they are sent as their number in it.
    """
    if id(declaration) in written:
        return {_NUMBER: written[id(declaration)][0]}
    fields = {name: _plain(value, written) for name, value in declaration.declared().items()}
    written[id(declaration)] = (len(written), declaration)
    return {"fields": fields, **{name: _plain(getattr(declaration, name), written) for name in _BESIDE}}


def declaration_from(value: Mapping[str, Any], read: list[Declaration]) -> Declaration:
    """Return the declaration that ``plain_from`` was given; raise SpecError when it is not valid.

    ``read`` are those that came before it on the same way: what was one object there is one object here.
    """
    if _NUMBER in value:
        return read[int(value[_NUMBER])]
    fields = dict(value["fields"])
    if isinstance(fields.get(_BASE), Mapping):
        fields[_BASE] = declaration_from(fields[_BASE], read)
    beside = {name: value[name] for name in _BESIDE}
    read.append(Declaration(**fields, **{**beside, "added_packages": tuple(beside["added_packages"])}))
    return read[-1]


def _plain(value: object, written: Written) -> object:
    if isinstance(value, Declaration):
        return plain_from(value, written)
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Mapping):
        return {key: _plain(item, written) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, written) for item in value]
    return value
