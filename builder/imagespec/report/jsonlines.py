"""Events as JSON, one object a line, for tools that follow a run."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, TextIO

from imagespec.events import Event, InImage
from imagespec.values import fields

__all__ = ["JsonLinesReport", "event_record"]

_CAPITAL: Final = re.compile(r"(?<!^)(?=[A-Z])")


class JsonLinesReport:
    """Writes each event with its type and the seconds since the start; safe to call from several threads."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._clock = clock
        self._started = clock()
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Write the event's line."""
        self.write(event_record(event))

    def write(self, record: dict[str, Any]) -> None:
        """Write one object of any other type, with the time added."""
        with self._lock:
            line = {"at_s": round(self._clock() - self._started, 4), **record}
            print(json.dumps(line), file=self._stream, flush=True)


def event_record(event: Event) -> dict[str, Any]:
    """Return the event as plain data: its ``type`` in snake case, its image where it has one, and its fields."""
    if isinstance(event, InImage):
        return {**event_record(event.event), "image": event.image}
    given = {one.name: getattr(event, one.name) for one in fields(event)}
    plain = {name: value.value if isinstance(value, Enum) else value for name, value in given.items()}
    return {"type": _CAPITAL.sub("_", type(event).__name__).lower(), **plain}
