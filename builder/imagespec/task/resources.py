"""What a task asks of the cluster."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from imagespec.errors import SpecError
from imagespec.task.json_form import JsonForm

__all__ = ["ResourceSpec", "Resources", "singular"]

Quantity: TypeAlias = "str | int | float | list[Any] | tuple[Any, ...] | None"
_WHOLE = (str, int)
_KINDS: dict[str, tuple[type, ...]] = {
    "cpu": (str, int, float),
    "mem": _WHOLE,
    "gpu": _WHOLE,
    "ephemeral_storage": _WHOLE,
}


@dataclass(frozen=True, slots=True)
class Resources(JsonForm):
    """Quantities as Kubernetes writes them; a pair is (request, limit). Raise SpecError for any other value."""

    cpu: Quantity = None
    mem: Quantity = None
    gpu: Quantity = None
    ephemeral_storage: Quantity = None

    def __post_init__(self) -> None:
        for name, value in self.given():
            kinds = _KINDS[name]
            several = isinstance(value, (list, tuple))
            values = value if several else (value,)
            if not all(isinstance(one, kinds) for one in values):
                names = ", ".join(kind.__name__ for kind in kinds)
                raise SpecError(f"{name}: {value!r} is not of {names}, nor a pair of them", path=name)
            if several and len(values) != 2:
                raise SpecError(f"{name}: {value!r} is not a pair of request and limit", path=name)

    def given(self) -> Iterator[tuple[str, Any]]:
        """Yield name and value of what is set."""
        pairs = ((one.name, getattr(self, one.name)) for one in dataclasses.fields(self))
        return (pair for pair in pairs if pair[1] is not None)


def singular(resources: Resources) -> Resources:
    """Return the resources; raise SpecError when one of them is a pair."""
    for name, value in resources.given():
        if isinstance(value, (list, tuple)):
            raise SpecError(f"{name}: a pair of request and limit belongs into resources", path=name)
    return resources


@dataclass(frozen=True, slots=True)
class ResourceSpec(JsonForm):
    """Requests and limits of one container."""

    requests: Resources
    limits: Resources
    _nested: ClassVar[Mapping[str, type[JsonForm]]] = {"requests": Resources, "limits": Resources}

    @classmethod
    def from_multiple_resource(cls, resource: Resources) -> ResourceSpec:
        """Return requests and limits of one value: pairs are split, a single quantity is a request."""
        requests, limits = {}, {}
        for name, value in resource.given():
            if isinstance(value, (list, tuple)):
                requests[name], limits[name] = value
            else:
                requests[name] = value
        return cls(requests=Resources(**requests), limits=Resources(**limits))
