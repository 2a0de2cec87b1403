"""Dictionaries and JSON texts of serialization values, key by key those of flytekit."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from imagespec.errors import SpecError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["JsonForm"]


class JsonForm:
    """A dataclass with a JSON form. ``_nested`` names the fields that have one themselves (or lists of such)."""

    __slots__ = ()
    _nested: ClassVar[Mapping[str, type[JsonForm]]] = {}

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, all of them, as what JSON knows."""
        return {one.name: _plain(getattr(self, one.name)) for one in dataclasses.fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Self:
        """Return the value of a dictionary; keys that are not fields are passed over. Raise SpecError for a gap."""
        given = {}
        for one in dataclasses.fields(cls):  # type: ignore[arg-type]
            if one.name in d:
                given[one.name] = _read(d[one.name], cls._nested.get(one.name))
            elif one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
                raise SpecError(f"{cls.__name__}: {one.name} is missing", path=one.name)
        return cls(**given)

    def to_json(self, **keywords: Any) -> str:
        """Return the JSON text; ``keywords`` are those of ``json.dumps``."""
        return json.dumps(self.to_dict(), **keywords)

    @classmethod
    def from_json(cls, data: str | bytes) -> Self:
        """Return the value of a JSON text; raise SpecError when it is none."""
        try:
            value = json.loads(data)
        except ValueError as error:
            raise SpecError(f"{cls.__name__}: not JSON: {error}", path=cls.__name__) from error
        if not isinstance(value, dict):
            raise SpecError(f"{cls.__name__}: not a JSON object", path=cls.__name__)
        return cls.from_dict(value)


def _plain(value: Any) -> Any:
    if isinstance(value, JsonForm):
        return value.to_dict()
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return value


def _read(value: Any, kind: type[JsonForm] | None) -> Any:
    if isinstance(value, (list, tuple)):
        return [_read(one, kind) for one in value]
    return kind.from_dict(value) if kind is not None and isinstance(value, Mapping) else value
