"""Python types to Flyte's literal types, for what containers exchange."""

from __future__ import annotations

import datetime
import enum
import os
import types
import typing
from typing import Any, Final

from imagespec.errors import SpecError
from imagespec.task.interface import Directory, File

__all__ = ["literal_type"]

_SIMPLE: Final[dict[Any, tuple[str, str]]] = {
    int: ("INTEGER", "int"),
    float: ("FLOAT", "float"),
    bool: ("BOOLEAN", "bool"),
    str: ("STRING", "str"),
    datetime.datetime: ("DATETIME", "datetime"),
    datetime.date: ("DATETIME", "date"),
    datetime.timedelta: ("DURATION", "timedelta"),
    type(None): ("NONE", "none"),
}
_FILES: Final = (File, os.PathLike)


def literal_type(kind: Any) -> Any:
    """Return the ``flyteidl.core.types_pb2.LiteralType`` of a Python type; raise SpecError for one without."""
    made, _ = _made(kind)
    return made


def _made(kind: Any) -> tuple[Any, str]:
    """Return the literal type, and flytekit's name for what converts it (it marks the variants of a union)."""
    from flyteidl.core import types_pb2

    if kind in _SIMPLE:
        simple, tag = _SIMPLE[kind]
        return types_pb2.LiteralType(simple=simple), tag
    if kind in _FILES:
        return types_pb2.LiteralType(blob=types_pb2.BlobType(dimensionality="SINGLE")), "FlyteFilePath"
    if kind is Directory:
        return types_pb2.LiteralType(blob=types_pb2.BlobType(dimensionality="MULTIPART")), "FlyteDirectory"
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        values = [str(member.value) for member in kind]
        return types_pb2.LiteralType(enum_type=types_pb2.EnumType(values=values)), "DefaultEnumTransformer"
    return _generic(kind)


def _generic(kind: Any) -> tuple[Any, str]:
    from flyteidl.core import types_pb2

    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _made(arguments[0])
    if origin is list and len(arguments) == 1:
        return types_pb2.LiteralType(collection_type=literal_type(arguments[0])), "Typed List"
    if origin is dict and arguments and arguments[0] is str:
        return types_pb2.LiteralType(map_value_type=literal_type(arguments[1])), "Typed Dict"
    if origin in (typing.Union, types.UnionType):
        variants = []
        for argument in arguments:
            variant, tag = _made(argument)
            variant.structure.tag = tag
            variants.append(variant)
        return types_pb2.LiteralType(union_type=types_pb2.UnionType(variants=variants)), "Typed Union"
    raise SpecError(
        f"type: {kind!r} has no counterpart in Flyte",
        path=str(kind),
        hint="int, float, bool, str, datetime, date, timedelta, File, Directory, enumerations, lists, dicts and unions",
    )
