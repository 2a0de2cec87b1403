"""What commands do before and around their work: assemble, load targets, stop cleanly, talk to stderr."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from imagespec import targets
from imagespec.builders import Cancellation
from imagespec.compose import Composition
from imagespec.events import Emit, discard
from imagespec.identity import Target
from imagespec.report import error_lines
from imagespec.settings import Settings
from imagespec.targets import Findings
from imagespec.values import replace

__all__ = ["composed", "found", "loaded", "raise_problems", "say", "stoppable"]


def say(line: str) -> None:
    """Write one line to stderr."""
    click.echo(line, err=True)


def composed(
    settings: Settings, emit: Emit = discard, no_stat_cache: bool = False, cancellation: Cancellation | None = None
) -> Composition:
    """Return the assembler of this run."""
    return Composition(settings, emit=emit, use_stat_cache=not no_stat_cache, cancellation=cancellation)


def found(names: tuple[str, ...], settings: Settings, registry: str = "") -> Findings:
    """Return what the command line names, with ``registry`` in place of the specs' own where it is given."""
    findings = targets.find(names, Path.cwd(), settings.import_limit_s, settings.exclude)
    if not registry:
        return findings
    moved = (replace(one, declaration=one.declaration.replaced(registry=registry)) for one in findings.targets)
    return replace(findings, targets=tuple(moved))


def loaded(names: tuple[str, ...], registry: str = "") -> Iterator[Target]:
    """Yield the specs that the command line names; after them, raise the first problem of those that have none."""
    findings = found(names, Settings.load(), registry)
    yield from findings.targets
    raise_problems(findings)


def raise_problems(findings: Findings) -> None:
    """Raise the first problem of what was named, after having said the others; return when there is none."""
    for problem in findings.problems[1:]:
        for line in error_lines(problem):
            say(line)
    if findings.problems:
        raise findings.problems[0]


@contextmanager
def stoppable(cancellation: Cancellation) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop a build under way before they end the program."""

    def stop(number: int, frame: FrameType | None) -> None:
        cancellation.cancel()
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
