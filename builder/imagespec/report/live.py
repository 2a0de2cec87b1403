"""The live display for terminals: steps of one image, or one line an image when there are several."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from imagespec.events import (
    BytesMoved,
    Event,
    ImageChanged,
    ImageState,
    InImage,
    StepFinished,
    StepLog,
    StepStarted,
    Warned,
)
from imagespec.report.plain import line_of, printable, short_name
from imagespec.values import dataclass, field

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["LiveReport"]

_LOG_LINES_SHOWN: Final = 4
_NAME_COLUMNS: Final = 28
_STATE_COLUMNS: Final = 8
_STYLES: Final = {
    ImageState.BUILT: "green",
    ImageState.TAGGED: "green",
    ImageState.REUSED: "dim",
    ImageState.FAILED: "bold red",
    ImageState.BLOCKED: "yellow",
    ImageState.STOPPED: "yellow",
}


@dataclass
class _Image:
    """What the display knows of one image."""

    state: ImageState = ImageState.WAITING
    detail: str = ""
    since_s: float = 0.0
    running: dict[str, str] = field(default_factory=dict)
    logs: dict[str, list[str]] = field(default_factory=dict)
    moved: dict[str, tuple[int, int | None]] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        """Take an event of this image's build in."""
        match event:
            case StepStarted(step=step, title=title):
                self.running[step] = title
            case StepLog(step=step, text=text) if text.strip():
                self.logs[step] = [*self.logs.get(step, []), printable(text)][-_LOG_LINES_SHOWN:]
            case BytesMoved(step=step, done_bytes=done, total_bytes=total):
                self.moved[step] = (done, total)
            case StepFinished(step=step):
                self.running.pop(step, None)
                self.logs.pop(step, None)
                self.moved.pop(step, None)
            case _:
                pass

    @property
    def step(self) -> str:
        """The step that was begun last; else what it waits for."""
        return list(self.running.values())[-1] if self.running else self.detail or "preparing"

    @property
    def amount(self) -> str:
        """The bytes that the step which was begun last has moved, "" when it moves none."""
        return _amount(self.moved.get(list(self.running)[-1])).strip() if self.running else ""


class LiveReport:
    """What ended scrolls by; what is under way stays at the bottom, as steps of one image or as lines of several."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.live import Live

        self._console = console
        self._clock = clock
        self._lock = threading.Lock()
        self._images: dict[str, _Image] = {}
        self._alone = _Image()
        self._begun: dict[str, float] = {}
        # Last: it renders at once.
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=8, transient=True)

    def __enter__(self) -> LiveReport:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Take the event into the display."""
        with self._lock:
            self._take(event)
            line, style = self._scrolling(event)
            if isinstance(event, ImageChanged) and event.state is ImageState.BUILDING:
                self._begun.setdefault(event.image, self._clock())
        if line:
            self._console.print(line, markup=False, style=style, soft_wrap=True)

    def _take(self, event: Event) -> None:
        if isinstance(event, ImageChanged):
            image = self._images.setdefault(event.image, _Image())
            if image.state is not event.state:
                image.since_s = self._clock()
            image.state, image.detail = event.state, event.detail
            if event.state.is_final:
                image.running.clear()
        elif isinstance(event, InImage):
            self._images.setdefault(event.image, _Image()).take(event.event)
        else:
            self._alone.take(event)

    def _scrolling(self, event: Event) -> tuple[str, str]:
        """Return the line that the event leaves behind, and its style."""
        several = len(self._images) > 1
        if isinstance(event, ImageChanged):
            if not several or not event.state.is_final:
                return "", ""
            return self._ended(event), _STYLES.get(event.state, "")
        inner = event.event if isinstance(event, InImage) else event
        if isinstance(inner, Warned) or (isinstance(inner, StepFinished) and (inner.error or not several)):
            name = f"{short_name(event.image)}: " if several and isinstance(event, InImage) else ""
            return name + line_of(inner), "red" if isinstance(inner, StepFinished) and inner.error else ""
        return "", ""

    def _ended(self, event: ImageChanged) -> str:
        detail = event.detail.partition("\n")[0]
        begun = self._begun.get(event.image)
        time_text = "" if begun is None else f"{self._clock() - begun:.1f} s"
        text = f"{event.state.value:<{_STATE_COLUMNS}} {_column(event.image)} {time_text:>7}  {detail}"
        return _cut(text, self._console.width)

    def _render(self) -> Any:
        from rich.console import Group

        with self._lock:
            if len(self._images) > 1:
                lines = self._board()
            else:
                alone = next(iter(self._images.values()), self._alone)
                lines = [*_steps(alone), *(_steps(self._alone) if alone is not self._alone else ())]
        return Group(*lines)

    def _board(self) -> list[Any]:
        """One line for each image under way, as many as fit, and one that counts the others."""
        from rich.spinner import Spinner
        from rich.text import Text

        now, width = self._clock(), self._console.width
        under_way = [(name, one) for name, one in self._images.items() if one.state is ImageState.BUILDING]
        room = max(1, self._console.height - 3)
        lines: list[Any] = []
        for name, one in under_way[:room]:
            # What moves stands at the right edge: a long title may be cut, bytes and time never are.
            right = f" {one.amount} {now - one.since_s:4.0f} s"
            left = width - len(right) - 2
            text = _cut(f"{_column(name)} {one.step}", left)
            lines.append(Spinner("dots", text=Text(f"{text:<{left}}{right}", no_wrap=True)))
        lines.append(Text(_cut(self._counts(len(under_way) - room), width), style="bold", no_wrap=True))
        return lines

    def _counts(self, hidden: int) -> str:
        states = [one.state for one in self._images.values()]
        ended = sum(state.is_final for state in states)
        parts = [f"{states.count(state)} {state.value}" for state in ImageState if state in states]
        more = f" ({hidden} not shown)" if hidden > 0 else ""
        counts = ", ".join(part + more if part.endswith(ImageState.BUILDING.value) else part for part in parts)
        return f"{ended} of {len(states)}: {counts}"


def _steps(image: _Image) -> list[Any]:
    from rich.spinner import Spinner
    from rich.text import Text

    lines: list[Any] = []
    if image.detail and not image.running and not image.state.is_final:
        lines.append(Spinner("dots", text=Text(image.detail, overflow="ellipsis")))
    for step, title in image.running.items():
        text = Text(f"{title}{_amount(image.moved.get(step))}", overflow="ellipsis")
        lines.append(Spinner("dots", text=text))
        lines += [
            Text(f"   {line}", style="dim", overflow="ellipsis", no_wrap=True) for line in image.logs.get(step, ())
        ]
    return lines


def _amount(moved: tuple[int, int | None] | None) -> str:
    if moved is None:
        return ""
    done, total = moved
    return f"  {done / 1e6:.1f} MB" + (f" of {total / 1e6:.1f} MB" if total else "")


def _column(image: str) -> str:
    """Return the image's name as wide as its column: a long one is cut before its tag."""
    name, colon, tag = short_name(image).partition(":")
    return f"{_cut(name, _NAME_COLUMNS - len(colon + tag)) + colon + tag:<{_NAME_COLUMNS}}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"
