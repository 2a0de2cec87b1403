"""What people read: plain lines without anything that could redraw a terminal, and errors with their way out."""

from __future__ import annotations

import io

import pytest

from imagespec.errors import BuildFailed, Cancelled, SpecError
from imagespec.events import BytesMoved, Event, StepFinished, StepLog, StepStarted, Warned
from imagespec.report import PlainReport, error_lines, reporting


def plain(*events: Event) -> list[str]:
    stream = io.StringIO()
    report = PlainReport(stream)
    for event in events:
        report(event)
    return stream.getvalue().splitlines()


@pytest.mark.parametrize(
    ("event", "lines"),
    [
        (StepStarted(step="a", title="build it"), ["-> build it"]),
        (StepLog(step="a", text="  said\t"), ["     said\t"]),
        (StepLog(step="a", text="  "), []),
        (StepLog(step="a", text="\x1b[31mred\x1b[0m\x1b[2J\x07 bell\x9b1m"), ["   red bell1m"]),
        (StepFinished(step="a", title="it", duration_s=1.25), ["ok it, 1.2 s"]),
        (StepFinished(step="a", title="it", duration_s=1.25, cached=True), ["ok it, cached"]),
        (StepFinished(step="a", title="it", duration_s=1.25, error="exit"), ["!! it"]),
        (StepStarted(step="a", title="command: \x1b]0;evil\x07"), ["-> command: ]0;evil"]),
        (Warned(message="mind this", hint="do that"), ["warning: mind this (do that)"]),
        (Warned(message="mind\nthis"), ["warning: mindthis"]),
        (BytesMoved(step="a", title="x", done_bytes=1), []),
    ],
)
def test_an_event_is_one_line_or_none(event: Event, lines: list[str]) -> None:
    assert plain(event) == lines


def test_an_error_is_told_with_the_way_out() -> None:
    assert list(error_lines(SpecError("a: b", hint="c"))) == ["error: a: b", "hint: c"]
    assert list(error_lines(SpecError("a: b"))) == ["error: a: b"]
    assert list(error_lines(Cancelled("build: stopped"))) == ["error: build: stopped", "hint: start it again to go on"]
    failed = BuildFailed("build: step: exit code 1", log_tail=("one", "\x1b[31mtwo\x1b[0m"), hint="mend it")
    assert list(error_lines(failed)) == ["  | one", "  | two", "error: build: step: exit code 1", "hint: mend it"]


def test_the_live_display_shows_what_runs_and_leaves_what_ended() -> None:
    stream = io.StringIO()
    with reporting(stream, live=True, no_color=True) as emit:
        emit(StepStarted(step="a", title="[bold]not markup[/bold]"))
        emit(StepLog(step="a", text="said"))
        emit(BytesMoved(step="a", title="x", done_bytes=1, total_bytes=2))
        emit(StepFinished(step="a", title="[bold]not markup[/bold]", duration_s=1.0))
        emit(Warned(message="mind this"))
    assert "ok [bold]not markup[/bold], 1.0 s" in stream.getvalue()
    assert "warning: mind this" in stream.getvalue()
