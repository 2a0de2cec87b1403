"""A task's inputs in its command line and as texts, its outputs from texts."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final

from imagespec.errors import SpecError
from imagespec.task.interface import Directory, File, Interface

__all__ = ["bound", "is_path", "output_of", "rendered", "text_of"]

_INPUT: Final = re.compile(r"\{\{\s*\.inputs\.(?P<name>\w+)\s*\}\}", re.IGNORECASE)
_DURATION: Final = re.compile(
    r"(?P<sign>-)?(?:(?P<days>-?\d+) days?, )?(?:(?P<hours>\d+):)?(?P<minutes>\d+):(?P<seconds>\d+(?:\.\d+)?)"
)
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}


def is_path(kind: Any) -> bool:
    """Return whether values of this type are files or folders."""
    return kind in (File, Directory)


def bound(interface: Interface, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a value for every input, from ``given`` or its default; raise SpecError for a gap or an unknown name."""
    unknown = sorted(given.keys() - interface.inputs.keys())
    if unknown:
        raise SpecError(f"inputs: there is no input {unknown[0]!r}", path=f"inputs.{unknown[0]}")
    values = {**interface.default_inputs_as_kwargs, **given}
    missing = [name for name in interface.inputs if name not in values]
    if missing:
        raise SpecError(f"inputs: {missing[0]!r} has no value and no default", path=f"inputs.{missing[0]}")
    return values


def rendered(words: Sequence[str], interface: Interface, values: Mapping[str, Any]) -> list[str]:
    """Return the words with ``{{.inputs.NAME}}`` filled in; raise SpecError for a file, a folder or an unknown name."""

    def fill(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in interface.inputs:
            raise SpecError(f"command: {match[0]} is not an input", path="command")
        if is_path(interface.inputs[name]):
            raise SpecError(
                f"command: {match[0]} is a file or a folder, whose place Flyte does not fill in",
                path="command",
                hint=f"write its path in the container: the input_data_dir, then /{name}",
            )
        return text_of(values[name])

    return [_INPUT.sub(fill, word) for word in words]


def text_of(value: Any) -> str:
    """Return a value as Flyte writes it into a command line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    if isinstance(value, (list, dict)):
        return json.dumps(value, default=text_of)
    return str(value)


def output_of(name: str, kind: Any, text: str) -> Any:
    """Return the value that a container wrote; raise SpecError when it is none of its type."""
    try:
        return _value(kind, text)
    except (ValueError, KeyError) as error:
        shown = text if len(text) < 80 else f"{text[:77]}..."
        wanted = getattr(kind, "__name__", str(kind))
        raise SpecError(f"outputs: {name} is {shown!r}, which is no {wanted}", path=f"outputs.{name}") from error


def _value(kind: Any, text: str) -> Any:
    if kind is str:
        return text
    text = text.strip()
    if kind is bool:
        return _BOOLEANS[text.lower()]
    if kind in (datetime.datetime, datetime.date):
        # Python 3.10 does not know the Z.
        return kind.fromisoformat(re.sub(r"Z$", "+00:00", text))
    if kind is datetime.timedelta:
        return _duration(text)
    if kind in (int, float) or (isinstance(kind, type) and issubclass(kind, Enum)):
        return kind(text)
    return json.loads(text)


def _duration(text: str) -> datetime.timedelta:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(text)
    found = datetime.timedelta(
        days=int(match["days"] or 0),
        hours=int(match["hours"] or 0),
        minutes=int(match["minutes"]),
        seconds=float(match["seconds"]),
    )
    return -found if match["sign"] else found
