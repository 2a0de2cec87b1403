"""What all values with a Flyte protobuf of their own can do with it (package ``flyteidl``, an extra)."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from textwrap import shorten
from typing import Any

__all__ = ["IdlForm"]


class IdlForm(ABC):
    """A value that has a protobuf."""

    __slots__ = ()

    @abstractmethod
    def to_flyte_idl(self) -> Any:
        """Return the protobuf message."""

    def serialize_to_string(self) -> bytes:
        """Return the protobuf's bytes."""
        encoded: bytes = self.to_flyte_idl().SerializeToString()
        return encoded

    @property
    def is_empty(self) -> bool:
        """Whether the protobuf says nothing at all."""
        return not self.serialize_to_string()

    def short_string(self) -> str:
        """Return the fields of the protobuf that are set, one a line, for people."""
        lines = "".join(_lines(self.to_flyte_idl(), 2)).rstrip(os.linesep)
        return f"Flyte Serialized object ({type(self).__name__}):{os.linesep}{lines}"

    def verbose_string(self) -> str:
        """Return the same: flytekit has no longer form either."""
        return self.short_string()


def _lines(message: Any, indent: int) -> list[str]:
    found = []
    for descriptor, value in message.ListFields():
        if hasattr(value, "ListFields"):
            if value.ListFields():
                found += [f"{' ' * indent}{descriptor.name}:{os.linesep}", *_lines(value, indent + 2)]
        elif text := shorten(str(value).strip(), width=80):
            found.append(f"{' ' * indent}{descriptor.name}: {text}{os.linesep}")
    return found
