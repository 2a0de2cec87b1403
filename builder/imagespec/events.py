"""What happens during a build, as records that a report can show and a tool can read."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TypeAlias

from imagespec.values import dataclass

__all__ = [
    "BytesMoved",
    "Emit",
    "Event",
    "ImageChanged",
    "ImageState",
    "InImage",
    "StepFinished",
    "StepLog",
    "StepStarted",
    "Warned",
    "discard",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted:
    """A step began. ``step`` identifies it within one build, ``title`` is for people."""

    step: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLog:
    """One line that a step printed."""

    step: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFinished:
    """A step ended: ``cached`` when nothing had to be done, ``error`` is "" when it went well."""

    step: str
    title: str
    duration_s: float
    cached: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BytesMoved:
    """Progress of a transfer; ``total_bytes`` is None when it is not known."""

    step: str
    title: str
    done_bytes: int
    total_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Something the user should know, and what can be done about it."""

    message: str
    hint: str = ""


class ImageState(Enum):
    """Where one image of a run stands."""

    WAITING = "waiting"
    BUILDING = "building"
    BUILT = "built"
    REUSED = "reused"
    TAGGED = "tagged"
    FAILED = "failed"
    BLOCKED = "blocked"
    STOPPED = "stopped"

    @property
    def is_final(self) -> bool:
        """Whether nothing follows it in a run."""
        return self not in (ImageState.WAITING, ImageState.BUILDING)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageChanged:
    """An image of a run (its name, as people write it) came into a state; ``detail`` says why, or what it waits for."""

    image: str
    state: ImageState
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InImage:
    """What happened in the build of one image among several."""

    image: str
    event: StepStarted | StepLog | StepFinished | BytesMoved | Warned


Event: TypeAlias = StepStarted | StepLog | StepFinished | BytesMoved | Warned | ImageChanged | InImage
Emit: TypeAlias = Callable[[Event], None]


def discard(event: Event) -> None:
    """Return nothing: an ``Emit`` for callers who do not listen."""
