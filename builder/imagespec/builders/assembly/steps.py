"""What every part of a build does around its work: tell of it, and stop when it shall."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from imagespec.builders import BuildOptions
from imagespec.errors import Cancelled
from imagespec.events import Emit, StepFinished, StepStarted

__all__ = ["go_on", "step"]


@contextmanager
def step(emit: Emit, name: str, title: str) -> Iterator[None]:
    """Tell that a step begins, and that it has ended, however it does."""
    emit(StepStarted(step=name, title=title))
    started, error = time.monotonic(), "stopped"
    try:
        yield
        error = ""
    finally:
        emit(StepFinished(step=name, title=title, duration_s=time.monotonic() - started, error=error))


def go_on(options: BuildOptions) -> None:
    """Raise Cancelled when the build shall stop."""
    if options.cancellation.cancelled:
        raise Cancelled("build: stopped before anything was pushed under its name")
