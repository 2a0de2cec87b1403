"""One line per event, for logs and pipes."""

from __future__ import annotations

import re
import threading
from typing import TextIO

from imagespec.events import Event, ImageChanged, ImageState, InImage, StepFinished, StepLog, StepStarted, Warned

__all__ = ["PlainReport", "line_of", "printable", "short_name", "size_text"]

_TAG_SHOWN = 11
# Control sequences (ECMA-48, 5.4): colours, and what moves the cursor.
_STYLE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


class PlainReport:
    """One line per event; safe to call from several threads. Lines name their image when there are several."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._images: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Write the event's line, if it has one."""
        with self._lock:
            if isinstance(event, ImageChanged):
                self._images.add(event.image)
            line = self._line(event)
            if line:
                print(line, file=self._stream, flush=True)

    def _line(self, event: Event) -> str:
        several = len(self._images) > 1
        if isinstance(event, ImageChanged):
            return _change(event) if several or not event.state.is_final else ""
        if not isinstance(event, InImage):
            return line_of(event)
        line = line_of(event.event)
        return f"[{short_name(event.image)}] {line}" if several and line else line


def _change(event: ImageChanged) -> str:
    if not event.state.is_final:
        return f"{event.image}: {event.detail}" if event.detail else ""
    # What failed is told in full at the end, once for all that failed alike.
    is_told_later = event.state in (ImageState.FAILED, ImageState.STOPPED)
    return f"{event.state.value}: {event.image}" + (f": {event.detail}" if event.detail and not is_told_later else "")


def line_of(event: Event) -> str:
    """Return the line for an event inside one image's build, "" when it has none."""
    match event:
        case StepStarted(title=title):
            return f"-> {printable(title)}"
        case StepLog(text=text):
            return f"   {printable(text)}" if text.strip() else ""
        case StepFinished(title=title, error=error) if error:
            return f"!! {printable(title)}"
        case StepFinished(title=title, cached=cached, duration_s=duration_s):
            return f"ok {printable(title)}, {'cached' if cached else f'{duration_s:.1f} s'}"
        case Warned(message=message, hint=hint):
            return printable(f"warning: {message}" + (f" ({hint})" if hint else ""))
        case _:
            return ""


def printable(text: str) -> str:
    """Return a line that a build printed, without the control characters that could redraw a terminal."""
    text = _STYLE.sub("", text)
    return "".join(character for character in text if character.isprintable() or character == "\t")


def short_name(image: str) -> str:
    """Return the end of an image's name, enough to tell it from its neighbours: ``etl:x1-8pr957ha``."""
    name, colon, tag = image.rpartition("/")[2].partition(":")
    return f"{name}{colon}{tag[:_TAG_SHOWN]}"


def size_text(size_bytes: int) -> str:
    """Return a size as people read it: ``32 B``, ``4.1 kB``, ``48.6 MB``."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    return f"{size_bytes / 1e3:.1f} kB" if size_bytes < 100_000 else f"{size_bytes / 1e6:.1f} MB"
