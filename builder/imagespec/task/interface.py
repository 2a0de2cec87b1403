"""Names and Python types of what goes into a task and comes out of it."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import Any

from imagespec.errors import SpecError

__all__ = ["Directory", "File", "Interface"]


class File(str):
    """A file: an input is mounted into the container, an output is read from it; the text is its path here."""

    __slots__ = ()


class Directory(str):
    """A folder: an input is mounted into the container, an output is read from it; the text is its path here."""

    __slots__ = ()


class Interface:
    """Inputs and outputs by name; an input may be a pair of its type and a default. Instances are not changed."""

    __slots__ = ("_docstring", "_inputs", "_output_tuple", "_output_tuple_name", "_outputs")

    def __init__(
        self,
        inputs: Mapping[str, Any] | None = None,
        outputs: Mapping[str, Any] | None = None,
        output_tuple_name: str | None = None,
        docstring: Any = None,
    ) -> None:
        """Raise SpecError for a name that is no identifier of Python."""
        self._inputs: dict[str, tuple[Any, Any]] = {}
        for name, value in (inputs or {}).items():
            if not name.isidentifier():
                raise SpecError(f"inputs: {name!r} is not a valid Python identifier", path=f"inputs.{name}")
            self._inputs[name] = value if type(value) is tuple and len(value) > 1 else (value, None)
        self._outputs = dict(outputs or {})
        self._output_tuple_name = output_tuple_name
        self._docstring = docstring
        self._output_tuple = collections.namedtuple(  # type: ignore[misc]
            output_tuple_name or "DefaultNamedTupleOutput", list(self._outputs)
        )

    @property
    def inputs(self) -> dict[str, Any]:
        """The inputs' types by name."""
        return {name: kind for name, (kind, _) in self._inputs.items()}

    @property
    def inputs_with_defaults(self) -> dict[str, tuple[Any, Any]]:
        """Type and default (None without) of every input."""
        return dict(self._inputs)

    @property
    def default_inputs_as_kwargs(self) -> dict[str, Any]:
        """The defaults by name."""
        return {name: default for name, (_, default) in self._inputs.items() if default is not None}

    @property
    def outputs(self) -> dict[str, Any]:
        """The outputs' types by name."""
        return dict(self._outputs)

    @property
    def output_names(self) -> list[str] | None:
        """The outputs' names in order, None without outputs."""
        return list(self._outputs) or None

    @property
    def output_tuple(self) -> type[tuple[Any, ...]]:
        """A named tuple of the outputs."""
        return self._output_tuple

    @property
    def output_tuple_name(self) -> str | None:
        """The name that was given to the tuple of outputs."""
        return self._output_tuple_name

    @property
    def docstring(self) -> Any:
        """What was given as documentation: an object with ``input_descriptions`` and ``output_descriptions``."""
        return self._docstring

    def remove_inputs(self, vars: Sequence[str] | None) -> Interface:  # noqa: A002 - flytekit's name
        """Return an interface without these inputs; names that are none are passed over."""
        if vars is None:
            return self
        kept = {name: value for name, value in self._inputs.items() if name not in vars}
        return Interface(kept, self._outputs, docstring=self._docstring)

    def with_inputs(self, extra_inputs: Mapping[str, Any]) -> Interface:
        """Return an interface with more inputs; raise SpecError for one that is there already."""
        if not extra_inputs:
            return self
        return Interface(_joined("input", self._inputs, extra_inputs), self._outputs, docstring=self._docstring)

    def with_outputs(self, extra_outputs: Mapping[str, Any]) -> Interface:
        """Return an interface with more outputs; raise SpecError for one that is there already."""
        if not extra_outputs:
            return self
        return Interface(self._inputs, _joined("output", self._outputs, extra_outputs))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Interface) and (self._inputs, self._outputs) == (other._inputs, other._outputs)

    def __hash__(self) -> int:
        return hash((tuple(self._inputs), tuple(self._outputs)))

    def __repr__(self) -> str:
        inputs = ", ".join(f"{name}: {kind}" + _default(default) for name, (kind, default) in self._inputs.items())
        outputs = ", ".join(f"{name}: {kind}" for name, kind in self._outputs.items())
        return f"({inputs}) -> ({outputs})"


def _default(default: Any) -> str:
    return "" if default is None else f"={default}"


def _joined(kind: str, present: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    for name in extra:
        if name in present:
            raise SpecError(f"{kind} {name}: cannot be added, it exists already", path=name)
    return {**present, **extra}
