"""What ``exists`` asks: every image that the targets name, all at once, answered in the order they were named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from imagespec.cli.naming import loaded
from imagespec.compose import Composition
from imagespec.events import Emit
from imagespec.flyte_tags.stand_in import StandIn
from imagespec.flyte_tags.stand_ins import look_up_stand_ins
from imagespec.names import Reference
from imagespec.registry import Resolver
from imagespec.registry.many import LookUp, resolve_many
from imagespec.targets import named as targets
from imagespec.values import dataclass

__all__ = ["look_ups"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    name: str
    reference: Reference
    stand_in: StandIn | None = None


def look_ups(
    composition: Composition, names: tuple[str, ...], registry: str, emit: Emit
) -> Iterator[tuple[str, LookUp]]:
    """Yield each image's name as the user knows it, and what was found: of a stand-in, with its reference."""
    answers = _answers(composition, names, registry)
    if not composition.settings.reuses_flyte_tags:
        yield from ((one.name, answer) for one, answer in answers)
        return
    listed = list(answers)
    absent = (one.stand_in for one, answer in listed if answer == LookUp(reference=one.reference))
    found = look_up_stand_ins([stand_in for stand_in in absent if stand_in is not None], emit)
    yield from ((one.name, found.get(one.reference, answer)) for one, answer in listed)


def _answers(composition: Composition, names: tuple[str, ...], registry: str) -> Iterator[tuple[_Asked, LookUp]]:
    resolvers: dict[int, Resolver] = {}
    asked: list[tuple[int, _Asked]] = []
    for resolver, one in _asked(composition, names, registry):
        resolvers[id(resolver)] = resolver
        asked.append((id(resolver), one))
    found: dict[tuple[int, Reference], LookUp] = {}
    streams = {
        key: resolve_many(
            resolver,
            [one.reference for at, one in asked if at == key],
            concurrency=composition.settings.hosts.default.concurrency,
        )
        for key, resolver in resolvers.items()
    }
    for key, one in asked:
        while (key, one.reference) not in found:
            answer = next(streams[key])
            found[key, answer.reference] = answer
        yield one, found[key, one.reference]


def _asked(composition: Composition, names: tuple[str, ...], registry: str) -> Iterator[tuple[Resolver, _Asked]]:
    mirrored = composition.mirrored
    for name in names:
        reference = targets.reference_of(name, Path.cwd())
        if reference is not None:
            yield mirrored, _Asked(name=str(reference), reference=reference)
            continue
        for found in loaded((name,), registry):
            identity = composition.identify(found)
            images = composition.images_of(found.declaration, identity)
            stand_in = composition.stand_in(found, identity)
            yield images, _Asked(name=identity.name, reference=identity.reference, stand_in=stand_in)
