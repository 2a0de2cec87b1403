"""Images that are absent under their own tags, looked up all together under those that flytekit gave them."""

from __future__ import annotations

from collections.abc import Iterable

from imagespec.errors import InputError, WrongPlatform
from imagespec.events import Emit
from imagespec.flyte_tags.stand_in import StandIn
from imagespec.names import Reference
from imagespec.oci import Platform
from imagespec.registry import Resolver
from imagespec.registry.many import LookUp, resolve_many

__all__ = ["look_up_stand_ins"]


def look_up_stand_ins(stand_ins: Iterable[StandIn], emit: Emit) -> dict[Reference, LookUp]:
    """Return what stands in for which image, by its own reference, or why that cannot be told.

    Absent ones are left out, as are those for other platforms, and those without another name: ``emit`` hears why.
    """
    found: dict[Reference, LookUp] = {}
    groups: dict[tuple[int, tuple[Platform, ...]], tuple[Resolver, dict[Reference, list[Reference]]]] = {}
    for one in stand_ins:
        try:
            name = one.name(emit)
        except InputError as error:
            found[one.own] = LookUp(reference=one.own, error=error)
            continue
        if name is not None:
            _, wanted = groups.setdefault((id(one.images), one.platforms), (one.images, {}))
            wanted.setdefault(name, []).append(one.own)
    for (_, platforms), (images, wanted) in groups.items():
        for answer in resolve_many(images, wanted, platforms=platforms):
            if answer.descriptor is not None or (answer.error and not isinstance(answer.error, WrongPlatform)):
                found.update(dict.fromkeys(wanted[answer.reference], answer))
    return found
