"""How much of what a run built was sent, and how much was there: exact where we push, a bound where an engine does.

BuildKit does not tell what it pushes. What was there before is known all the same for layers of what the image is
based on, and of the last images of its name; the rest counts as pushed, so the sum is an upper bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from imagespec.endings import Ending
from imagespec.ensure import BuildRequest
from imagespec.errors import Cancelled, ImageSpecError, RegistryUnreachable
from imagespec.events import ImageState
from imagespec.names import Reference
from imagespec.plan import BaseImage
from imagespec.registry.layers import Layers, layers_of_each
from imagespec.report.recorder import ImageRecord
from imagespec.values import dataclass

__all__ = ["PushSizes", "push_sizes"]

_ENGINE_STEP: Final = "builder"
_LAST_NAMES: Final = 2
_MADE: Final = (ImageState.BUILT, ImageState.TAGGED)


@dataclass(frozen=True, slots=True, kw_only=True)
class PushSizes:
    """Of the distinct layers of the images that were built: how many, their bytes, and the bytes that were pushed.

    ``is_exact`` is False when an engine pushed some of them: then it pushed ``pushed_bytes`` at the most.
    """

    layers: int
    total_bytes: int
    pushed_bytes: int
    is_exact: bool

    @property
    def record(self) -> dict[str, int | bool]:
        """The same as plain data, for tools."""
        return {
            "layers": self.layers,
            "total_bytes": self.total_bytes,
            "pushed_bytes": self.pushed_bytes,
            "is_exact": self.is_exact,
        }

    @property
    def line(self) -> str:
        """What to tell people."""
        most, least = ("", "") if self.is_exact else ("at most ", "at least ")
        there = self.total_bytes - self.pushed_bytes
        return (
            f"built: {self.layers} layers of {_megabytes(self.total_bytes)}; {most}{_megabytes(self.pushed_bytes)} of "
            f"them pushed, {least}{_megabytes(there)} reused"
        )


def push_sizes(
    endings: Iterable[Ending],
    recorded: Mapping[str, ImageRecord],
    *,
    earlier: Callable[[BuildRequest], Sequence[Reference]],
    locate: Callable[[Reference], Reference],
) -> PushSizes | None:
    """Return the sizes of what was built and tagged; None when nothing was, or nobody can tell.

    ``earlier`` are images of the same name that were built before, the newest first; ``locate`` tells where a base
    is pulled from.
    """
    endings = tuple(endings)
    if any(isinstance(ending.error, Cancelled) for ending in endings):
        return None
    made = {
        request.reference: request
        for ending in endings
        for request in _lineage(ending.request)
        if request.registry is not None and _is_made_now(request.reference, recorded)
    }
    gone = {
        ending.request.reference.repository.registry
        for ending in endings
        if isinstance(ending.error, RegistryUnreachable)
    }
    if any(reference.repository.registry in gone for reference in made):
        return None  # nobody wants to wait for a registry that does not answer any more
    engines = {name: one for name, one in made.items() if _is_engines(one, recorded[one.name])}
    found = dict(layers_of_each((one.registry, name) for name, one in made.items() if one.registry))
    if not found or any(isinstance(listed, ImageSpecError) for listed in found.values()):
        return None
    before = {name: set(_before(request, recorded, earlier, locate)) for name, request in engines.items()}
    asked = {(engines[name].registry, one) for name, listed in before.items() for one in listed - found.keys()}
    found_before = dict(layers_of_each((registry, one) for registry, one in asked if registry is not None)) | found
    sizes = {digest: size for listed in found.values() for digest, size in _told(listed)}
    by_engines = {
        digest
        for name in engines
        for digest in _digests([found[name]]) - _digests(found_before[one] for one in before[name])
    }
    sent_bytes = sum(recorded[one.name].pushed_bytes for name, one in made.items() if name not in engines)
    sent_bytes += sum(sizes[digest] for digest in by_engines)
    total = sum(sizes.values())
    return PushSizes(layers=len(sizes), total_bytes=total, pushed_bytes=min(sent_bytes, total), is_exact=not engines)


def _lineage(request: BuildRequest) -> Iterator[BuildRequest]:
    yield request
    if request.parent is not None:
        yield from _lineage(request.parent)


def _is_made_now(reference: Reference, recorded: Mapping[str, ImageRecord]) -> bool:
    record = recorded.get(str(reference))
    return record is not None and any(state in _MADE for _, state, _ in record.states)


def _is_engines(request: BuildRequest, record: ImageRecord) -> bool:
    if all(state is not ImageState.BUILT for _, state, _ in record.states):
        return False
    name = request.builder.name
    return _ENGINE_STEP in record.steps if name == "auto" else name != "daemonless"


def _digests(answers: Iterable[Layers | ImageSpecError]) -> set[str]:
    return {digest for listed in answers for digest, _ in _told(listed)}


def _told(listed: Layers | ImageSpecError) -> Layers:
    return () if isinstance(listed, ImageSpecError) else listed


def _before(
    request: BuildRequest,
    recorded: Mapping[str, ImageRecord],
    earlier: Callable[[BuildRequest], Sequence[Reference]],
    locate: Callable[[Reference], Reference],
) -> Iterator[Reference]:
    """Yield images in the target's registry that are not this build's work, and that the target shares layers with."""
    if request.parent is not None:
        yield request.parent.reference
    elif isinstance(request.plan.base, BaseImage):
        base = locate(Reference.parse(request.plan.base.reference))
        if base.repository.registry == request.reference.repository.registry:
            yield base
    yield from [one for one in earlier(request) if not _is_made_now(one, recorded)][:_LAST_NAMES]


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
