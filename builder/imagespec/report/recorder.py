"""What happened when in a run, kept for the JSON report and the page."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from imagespec.events import BytesMoved, Event, ImageChanged, ImageState, InImage, StepFinished, StepStarted
from imagespec.values import dataclass, field

__all__ = ["ImageRecord", "Recorder", "StepRecord"]

_PUSH: Final = "push to"


@dataclass
class StepRecord:
    """One step of one image: when it began and ended, in seconds from the start of the run (None: not ended)."""

    title: str
    started_s: float
    ended_s: float | None = None
    is_cached: bool = False
    error: str = ""


@dataclass
class ImageRecord:
    """One image's states with the time they began, its steps, and the bytes it moved, by what was moved."""

    states: list[tuple[float, ImageState, str]] = field(default_factory=list)
    steps: dict[str, StepRecord] = field(default_factory=dict)
    moved: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def pushed_bytes(self) -> int:
        """What our own client sent to registries; what engines push is not told to anybody."""
        return sum(size for (_, title), size in self.moved.items() if title.startswith(_PUSH))

    def ran_s(self, is_export: Callable[[str], bool]) -> float:
        """Return the seconds that steps ran (cached ones did not) of those whose title is, or is not, an export."""
        steps = (step for step in self.steps.values() if is_export(step.title) and not step.is_cached)
        return sum((step.ended_s or step.started_s) - step.started_s for step in steps)


class Recorder:
    """Listens to a run and passes on what it hears; safe to call from several threads. ``images`` is what it heard."""

    def __init__(self, onward: Callable[[Event], None], *, clock: Callable[[], float]) -> None:
        self.images: dict[str, ImageRecord] = {}
        self._onward = onward
        self._clock = clock
        self._started = clock()
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Note the event, then pass it on."""
        now = self._clock() - self._started
        with self._lock:
            if isinstance(event, ImageChanged):
                self._image(event.image).states.append((now, event.state, event.detail))
            elif isinstance(event, InImage):
                self._note(self._image(event.image), event.event, now)
        self._onward(event)

    def _image(self, name: str) -> ImageRecord:
        return self.images.setdefault(name, ImageRecord())

    def _note(self, image: ImageRecord, event: Event, now: float) -> None:
        match event:
            case StepStarted(step=step, title=title):
                image.steps.setdefault(step, StepRecord(title=title, started_s=now))
            case StepFinished(step=step, title=title, cached=cached, error=error, duration_s=duration_s):
                begun = max(0.0, now - duration_s)
                record = image.steps.setdefault(step, StepRecord(title=title, started_s=begun))
                record.ended_s, record.is_cached, record.error = now, cached, error
            case BytesMoved(step=step, title=title, done_bytes=done):
                image.moved[(step, title)] = done
            case _:
                pass
