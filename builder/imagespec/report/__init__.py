"""Events to what people and tools read: plain lines for logs, a live display for terminals, JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from imagespec.errors import BuildFailed, ImageSpecError, ImportFailed
from imagespec.events import Emit
from imagespec.report.live import LiveReport
from imagespec.report.plain import PlainReport, printable

__all__ = ["LiveReport", "PlainReport", "error_lines", "reporting"]


def error_lines(error: ImageSpecError) -> Iterator[str]:
    """Yield what to tell a person about an error: the last output or the user's traceback, the message, the way out."""
    if isinstance(error, BuildFailed):
        yield from (f"  | {printable(line)}" for line in error.log_tail)
    if isinstance(error, ImportFailed):
        yield from (f"  | {line}" for line in error.traceback)
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
