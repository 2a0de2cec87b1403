"""Events to what people read: plain lines for logs, a live display for terminals."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TextIO

from imagespec.errors import BuildFailed, ImageSpecError
from imagespec.events import BytesMoved, Emit, Event, StepFinished, StepLog, StepStarted, Warned

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["error_lines", "reporting"]

_LOG_LINES_SHOWN: Final = 4


def error_lines(error: ImageSpecError) -> Iterator[str]:
    """Yield what to tell a person about an error: what a failed step printed last, the message, the way out."""
    if isinstance(error, BuildFailed):
        yield from (f"  | {line}" for line in error.log_tail)
    yield f"error: {error}"
    if error.hint:
        yield f"hint: {error.hint}"


@contextmanager
def reporting(stream: TextIO, *, live: bool, no_color: bool) -> Iterator[Emit]:
    """Yield the listener for this stream: a live display, or one plain line per step and per line of output."""
    if not live:
        yield PlainReport(stream)
        return
    from rich.console import Console

    with LiveReport(Console(file=stream, no_color=no_color, highlight=False)) as report:
        yield report


class PlainReport:
    """One line per event, for logs and pipes; safe to call from several threads."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Write the event's line, if it has one."""
        line = _plain(event)
        if line:
            with self._lock:
                print(line, file=self._stream, flush=True)


def _plain(event: Event) -> str:
    match event:
        case StepStarted(title=title):
            return f"-> {title}"
        case StepLog(text=text):
            return f"   {_printable(text)}" if text.strip() else ""
        case StepFinished():
            return _finished(event)
        case Warned(message=message, hint=hint):
            return f"warning: {message}" + (f" ({hint})" if hint else "")
        case _:
            return ""


def _finished(event: StepFinished) -> str:
    if event.error:
        return f"!! {event.title}"
    return f"ok {event.title}, {'cached' if event.cached else f'{event.duration_s:.1f} s'}"


def _printable(text: str) -> str:
    """Return a line that a build printed, without the control characters that could redraw a terminal."""
    return "".join(character for character in text if character.isprintable() or character == "\t")


class LiveReport:
    """Finished steps scroll by; those under way stay at the bottom with their last lines of output."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._console = console
        self._lock = threading.Lock()
        self._running: dict[str, str] = {}
        self._logs: dict[str, list[str]] = {}
        self._moved: dict[str, tuple[int, int | None]] = {}
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
            match event:
                case StepStarted(step=step, title=title):
                    self._running[step] = title
                case StepLog(step=step, text=text) if text.strip():
                    self._logs[step] = [*self._logs.get(step, []), _printable(text)][-_LOG_LINES_SHOWN:]
                case BytesMoved(step=step, done_bytes=done, total_bytes=total):
                    self._moved[step] = (done, total)
                case StepFinished(step=step):
                    self._running.pop(step, None)
                    self._logs.pop(step, None)
                    self._moved.pop(step, None)
                case _:
                    pass
        if isinstance(event, (StepFinished, Warned)):
            self._console.print(_plain(event), markup=False, style="red" if _is_bad(event) else "")

    def _render(self) -> Any:
        from rich.console import Group
        from rich.spinner import Spinner
        from rich.text import Text

        with self._lock:
            lines: list[Any] = []
            for step, title in self._running.items():
                lines.append(
                    Spinner("dots", text=Text(f"{title}{_amount(self._moved.get(step))}", overflow="ellipsis"))
                )
                lines += [
                    Text(f"   {line}", style="dim", overflow="ellipsis", no_wrap=True)
                    for line in self._logs.get(step, ())
                ]
        return Group(*lines)


def _amount(moved: tuple[int, int | None] | None) -> str:
    if moved is None:
        return ""
    done, total = moved
    return f"  {done / 1e6:.1f} MB" + (f" of {total / 1e6:.1f} MB" if total else "")


def _is_bad(event: Event) -> bool:
    return isinstance(event, StepFinished) and bool(event.error)
