"""How much of what a run built was sent, and how much was there: exact where we push, a bound where an engine does.

BuildKit does not tell what it pushes. What was there before is known all the same for layers of what the image is
based on, and of the last images of its name; the rest counts as pushed, so the sum is an upper bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from imagespec.batch import Ending
from imagespec.ensure import BuildRequest, Outcome
from imagespec.errors import ImageSpecError
from imagespec.events import ImageState
from imagespec.names import Reference
from imagespec.plan import BaseImage
from imagespec.registry import Registry
from imagespec.registry.layers import Layers, layers_of_each
from imagespec.report.recorder import ImageRecord
from imagespec.values import dataclass

__all__ = ["PushSizes", "push_sizes"]

_ENGINE_STEP = "builder"
_LAST_NAMES = 2


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
    """Return the sizes of what was built and tagged; None when nothing was, or a registry does not tell.

    ``earlier`` are images of the same name that were built before, the newest first; ``locate`` tells where a base
    is pulled from.
    """
    made: dict[Reference, tuple[Registry, Ending]] = {
        ending.result.reference: (ending.request.registry, ending)
        for ending in endings
        if ending.result and ending.request.registry and ending.result.outcome is not Outcome.REUSED
    }
    found = dict(layers_of_each((registry, reference) for reference, (registry, _) in made.items()))
    layers: dict[str, int] = {}
    by_engine: dict[str, int] = {}
    there: set[tuple[Registry, Reference]] = set()
    sent_bytes = 0
    for reference, (registry, ending) in made.items():
        listed = found[reference]
        if isinstance(listed, ImageSpecError):
            return None
        layers.update(listed)
        record = recorded.get(ending.request.name, ImageRecord())
        if ending.result is not None and ending.result.outcome is Outcome.BUILT and _is_engines(ending, record):
            by_engine.update(listed)
            there.update((registry, one) for one in _before(ending.request, recorded, earlier, locate))
        else:
            sent_bytes += record.pushed_bytes
    if not layers:
        return None
    known = {digest for _, one in layers_of_each(there) for digest, _ in _known(one)} if by_engine else set()
    sent_bytes += sum(size for digest, size in by_engine.items() if digest not in known)
    total = sum(layers.values())
    return PushSizes(layers=len(layers), total_bytes=total, pushed_bytes=min(sent_bytes, total), is_exact=not by_engine)


def _known(listed: Layers | ImageSpecError) -> Layers:
    return () if isinstance(listed, ImageSpecError) else listed


def _is_engines(ending: Ending, record: ImageRecord) -> bool:
    name = ending.request.builder.name
    return _ENGINE_STEP in record.steps if name == "auto" else name != "daemonless"


def _before(
    request: BuildRequest,
    recorded: Mapping[str, ImageRecord],
    earlier: Callable[[BuildRequest], Sequence[Reference]],
    locate: Callable[[Reference], Reference],
) -> Iterator[Reference]:
    """Yield images in the target's registry that were there before the run, and may share layers with the target."""
    parent = request.parent
    if parent is not None:
        if not _made_now(parent.reference, recorded):
            yield parent.reference
    elif isinstance(request.plan.base, BaseImage):
        base = locate(Reference.parse(request.plan.base.reference))
        if base.repository.registry == request.reference.repository.registry:
            yield base
    yield from [one for one in earlier(request) if not _made_now(one, recorded)][:_LAST_NAMES]


def _made_now(reference: Reference, recorded: Mapping[str, ImageRecord]) -> bool:
    record = recorded.get(str(reference))
    return record is not None and any(state is ImageState.BUILT for _, state, _ in record.states)


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
