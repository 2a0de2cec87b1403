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
    def from_dict(cls, d: Mapping[str, Any], *, infer_missing: bool = False) -> Self:
        """Return the value of a dictionary; keys that are not fields are passed over.

        Raise SpecError for a gap, unless ``infer_missing`` makes it None.
        """
        given = {}
        for one in dataclasses.fields(cls):  # type: ignore[arg-type]
            if one.name in d:
                given[one.name] = _read(d[one.name], cls._nested.get(one.name), infer_missing)
            elif one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
                if not infer_missing:
                    raise SpecError(f"{cls.__name__}: {one.name} is missing", path=one.name)
                given[one.name] = None
        return cls(**given)

    def to_json(self, **keywords: Any) -> str:
        """Return the JSON text; ``keywords`` are those of ``json.dumps``."""
        return json.dumps(self.to_dict(), **keywords)

    @classmethod
    def from_json(cls, data: str | bytes, *, infer_missing: bool = False, **keywords: Any) -> Self:
        """Return the value of a JSON text (``keywords``: of ``json.loads``); raise SpecError when it is none."""
        try:
            value = json.loads(data, **keywords)
        except ValueError as error:
            raise SpecError(f"{cls.__name__}: not JSON: {error}", path=cls.__name__) from error
        if not isinstance(value, dict):
            raise SpecError(f"{cls.__name__}: not a JSON object", path=cls.__name__)
        return cls.from_dict(value, infer_missing=infer_missing)


def _plain(value: Any) -> Any:
    if isinstance(value, JsonForm):
        return value.to_dict()
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return value


def _read(value: Any, kind: type[JsonForm] | None, infer_missing: bool) -> Any:
    if isinstance(value, (list, tuple)):
        return [_read(one, kind, infer_missing) for one in value]
    if kind is None or not isinstance(value, Mapping):
        return value
    return kind.from_dict(value, infer_missing=infer_missing)
