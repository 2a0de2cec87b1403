"""The workflow over the protocols: look up, build if absent, verify, answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeAlias

from imagespec.builders import Builder, BuildOptions
from imagespec.errors import Cancelled, IntegrityError
from imagespec.events import Emit
from imagespec.fingerprint import Fingerprint
from imagespec.names import Reference
from imagespec.oci import Descriptor
from imagespec.plan import BuildPlan
from imagespec.registry import Resolver
from imagespec.snapshot import Files

__all__ = ["BuildRequest", "BuildResult", "Clock", "Outcome", "ensure"]

Clock: TypeAlias = Callable[[], float]
"""Seconds from an arbitrary start, never going back."""


class Outcome(Enum):
    """How an image came to be there."""

    BUILT = "built"
    REUSED = "reused"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One image that is wanted: its plan, its name, how and by whom to build it if it is absent.

    ``parent`` is the request for the image that the plan is based on, when that is an ImageSpec too.
    """

    plan: BuildPlan
    fingerprint: Fingerprint
    reference: Reference
    images: Resolver
    builder: Builder
    options: BuildOptions
    parent: BuildRequest | None = None
    is_forced: bool = False


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
    looked_up = clock()
    lookup = ("look up", looked_up - started)
    if found is not None and not request.is_forced:
        return _result(request, found, Outcome.REUSED, "it exists", (lookup,))
    reason = "it did not exist" if found is None else "forced"
    options = request.options
    request.builder.check(request.plan)
    if request.parent is not None:
        # A forced child does not force its parents (they have identities of their own).
        parent = ensure(request.parent, files, emit=emit, clock=clock)
        options = replace(options, base=parent.reference)
    request.builder.prepare(request.plan, options)
    if options.cancellation.cancelled:
        raise Cancelled("build: stopped before it began")
    prepared = clock()
    built = request.builder.build(request.plan, files, request.reference, options=options, emit=emit)
    timings = (lookup, ("prepare", prepared - looked_up), ("build", clock() - prepared))
    return _result(request, built, Outcome.BUILT, reason, timings)


def _result(
    request: BuildRequest,
    descriptor: Descriptor,
    outcome: Outcome,
    reason: str,
    timings: tuple[tuple[str, float], ...],
) -> BuildResult:
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
