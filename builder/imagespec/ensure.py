"""The workflow over the protocols: look up, build if absent, verify, answer."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final, TypeAlias

from imagespec.builders import Builder, BuildOptions
from imagespec.errors import (
    Cancelled,
    EngineError,
    ImageSpecError,
    IntegrityError,
    RegistryError,
    WrongPlatform,
)
from imagespec.events import Emit
from imagespec.fingerprint import Fingerprint
from imagespec.flyte_tags.stand_in import StandIn
from imagespec.names import Reference
from imagespec.oci import Descriptor
from imagespec.plan import BuildPlan
from imagespec.registry import Registry, Resolver
from imagespec.snapshot import Files
from imagespec.values import dataclass, replace

__all__ = [
    "BuildRequest",
    "BuildResult",
    "Clock",
    "Outcome",
    "build_absent",
    "ensure",
    "name_there",
    "reason_to_build",
    "result_of",
    "stood_in_for",
]

_TAG_SHOWN: Final = 11

Clock: TypeAlias = Callable[[], float]
"""Seconds from an arbitrary start, never going back."""


class Outcome(Enum):
    """How an image came to be there."""

    BUILT = "built"
    REUSED = "reused"
    TAGGED = "tagged"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One image that is wanted: its plan, its name, how and by whom to build it if it is absent.

    ``parent`` is the request for the image that the plan is based on, when that is an ImageSpec too. ``registry`` is
    None for an image that is kept on this machine, which ``is_local`` says too: it cannot be copied to another name.
    ``why`` says in one line what makes the image another one than the last, and is asked only when it is built;
    ``usage`` tells people how to use an image that no registry and no engine has. ``stand_in`` is asked for when the
    image is absent, and serves in its place, but never as what another image is based on.
    """

    plan: BuildPlan
    fingerprint: Fingerprint
    reference: Reference
    images: Resolver
    builder: Builder
    options: BuildOptions
    parent: BuildRequest | None = None
    is_forced: bool = False
    registry: Registry | None = None
    is_local: bool = False
    why: Callable[[], str] = str
    usage: str = ""
    stand_in: StandIn | None = None

    @property
    def label(self) -> str:
        """The end of the name, enough to tell the image from its neighbours: ``etl:x1-8pr957ha``."""
        path, tag = self.reference.repository.path, self.reference.tag or ""
        return f"{path.rpartition('/')[2]}:{tag[:_TAG_SHOWN]}"

    @property
    def name(self) -> str:
        """The image's name as people write it: local images without the registry that Docker would fill in."""
        return self.reference.familiar if self.is_local else str(self.reference)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """What stands under the name now: ``reference`` has tag and digest; ``reason`` says why it was built or not.

    ``timings`` are seconds per phase, in the order they happened.
    """

    reference: Reference
    fingerprint: Fingerprint
    outcome: Outcome
    reason: str
    builder: str
    timings: tuple[tuple[str, float], ...]


def ensure(request: BuildRequest, files: Files, *, emit: Emit, clock: Clock) -> BuildResult:
    """Return the image that the request names, building it, and first what it is based on, only if it is absent.

    Raise RegistryError when it cannot be told whether the image is there, and whatever the builder raises.
    """
    started = clock()
    found = request.images.resolve(request.reference)
    lookup = ("look up", clock() - started)
    if found is not None and not request.is_forced:
        return result_of(request, found, Outcome.REUSED, "it exists", (lookup,))
    other = None if request.is_forced else _stand_in(request, emit)
    if other is not None:
        return stood_in_for(request, other, (lookup,))
    reason = reason_to_build(request, exists=found is not None)
    request.builder.check(request.plan)
    base = None
    if request.parent is not None:
        # A forced child does not force its parents (they have identities of their own).
        base = ensure(request.parent, files, emit=emit, clock=clock).reference
    return build_absent(request, files, base=base, reason=reason, spent=(lookup,), emit=emit, clock=clock)


def _stand_in(request: BuildRequest, emit: Emit) -> Reference | None:
    stand_in = request.stand_in
    other = stand_in.name(emit) if stand_in is not None else None
    if stand_in is None or other is None:
        return None
    try:
        found = stand_in.images.resolve(other, stand_in.platforms)
    except WrongPlatform:
        return None
    return other.with_digest(found.digest) if found is not None else None


def stood_in_for(request: BuildRequest, other: Reference, timings: tuple[tuple[str, float], ...]) -> BuildResult:
    """Return the result for a request in whose place ``other`` (tag and digest), made by flytekit, is used."""
    return BuildResult(
        reference=other,
        fingerprint=request.fingerprint,
        outcome=Outcome.REUSED,
        reason="it exists under flytekit's own tag",
        builder=request.builder.name,
        timings=timings,
    )


def name_there(request: BuildRequest, result: BuildResult) -> str:
    """Return the name, without a digest, under which the request's image stands: its own, or that of a stand-in."""
    if result.reference.tag in (None, request.reference.tag):
        return request.name
    other = result.reference.with_tag(result.reference.tag or "")
    return other.familiar if request.is_local else str(other)


def reason_to_build(request: BuildRequest, *, exists: bool) -> str:
    """Return why the image is built, in one line: forced, or absent and what makes it another than the last one."""
    if exists:
        return "forced"
    why = request.why()
    return f"it did not exist; {why}" if why else "it did not exist"


def build_absent(
    request: BuildRequest,
    files: Files,
    *,
    base: Reference | None,
    reason: str,
    spent: tuple[tuple[str, float], ...],
    emit: Emit,
    clock: Clock,
) -> BuildResult:
    """Build what is known to be absent (or forced) on ``base``, its parent's image; ``spent`` begins the timings.

    When the build fails and the image is there all the same, somebody else has made it meanwhile (and the tag may be
    immutable, or stand for other bytes now): that is the result. Otherwise raise what the builder raised.
    """
    started = clock()
    options = request.options if base is None else replace(request.options, base=_found_again(request, base))
    request.builder.prepare(request.plan, options)
    if options.cancellation.cancelled:
        raise Cancelled("build: stopped before it began")
    prepared = clock()
    try:
        built = request.builder.build(request.plan, files, request.reference, options=options, emit=emit)
    except (EngineError, RegistryError, IntegrityError):
        other = None if request.is_forced else _made_elsewhere(request)
        if other is None:
            raise
        timings = (*spent, ("prepare", prepared - started), ("build", clock() - prepared))
        return result_of(request, other, Outcome.REUSED, "another build made it meanwhile", timings)
    timings = (*spent, ("prepare", prepared - started), ("build", clock() - prepared))
    return result_of(request, built, Outcome.BUILT, reason, timings)


def _found_again(request: BuildRequest, base: Reference) -> Reference:
    """Return the reference under which a builder finds the parent: an engine knows its own images by tag alone."""
    is_local = request.parent is not None and request.parent.options.load
    return base.with_tag(base.tag) if is_local and base.tag else base


def _made_elsewhere(request: BuildRequest) -> Descriptor | None:
    try:
        return request.images.resolve(request.reference)
    except ImageSpecError:
        # The build's own error says more than this one.
        return None


def result_of(
    request: BuildRequest,
    descriptor: Descriptor,
    outcome: Outcome,
    reason: str,
    timings: tuple[tuple[str, float], ...],
) -> BuildResult:
    """Return the result for a request whose image stands there as ``descriptor``; raise IntegrityError."""
    if request.reference.tag is None:
        raise IntegrityError(f"ensure: {request.reference} has no tag")
    return BuildResult(
        reference=request.reference.with_digest(descriptor.digest),
        fingerprint=request.fingerprint,
        outcome=outcome,
        reason=reason,
        builder=request.builder.name,
        timings=timings,
    )
