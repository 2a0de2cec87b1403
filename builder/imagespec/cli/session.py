"""What commands do before and around their work: assemble, stop cleanly."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from imagespec.builders import Cancellation
from imagespec.compose import Composition
from imagespec.events import Emit, discard
from imagespec.settings import Settings

__all__ = ["composed", "stoppable"]


def composed(
    settings: Settings, emit: Emit = discard, no_stat_cache: bool = False, cancellation: Cancellation | None = None
) -> Composition:
    """Return the assembler of this run."""
    return Composition(settings, emit=emit, use_stat_cache=not no_stat_cache, cancellation=cancellation)


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
