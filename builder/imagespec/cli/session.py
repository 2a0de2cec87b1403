"""What commands do before and around their work: assemble, load targets, stop cleanly, talk to stderr."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

import click

from imagespec import targets
from imagespec.builders import Cancellation
from imagespec.compose import Composition, Target
from imagespec.events import Emit, discard
from imagespec.settings import Settings

__all__ = ["composed", "loaded", "say", "stoppable"]


def say(line: str) -> None:
    """Write one line to stderr."""
    click.echo(line, err=True)


def composed(
    settings: Settings, emit: Emit = discard, no_stat_cache: bool = False, cancellation: Cancellation | None = None
) -> Composition:
    """Return the assembler of this run."""
    return Composition(settings, emit=emit, use_stat_cache=not no_stat_cache, cancellation=cancellation)


def loaded(names: tuple[str, ...], registry: str = "") -> Iterator[Target]:
    """Yield the specs that the command line names, with ``registry`` in place of their own where it is given."""
    for name in names:
        for found in targets.load(name, Path.cwd()):
            yield replace(found, declaration=found.declaration.replaced(registry=registry)) if registry else found


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
