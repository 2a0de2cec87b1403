"""BuildKit's progress, as ``docker buildx build --progress rawjson`` prints it, to events.

Source: BuildKit ``client/graph.go`` (SolveStatus: vertexes, statuses, logs), one JSON object after another, each of
which may span lines; after a failure plain text follows.
"""

from __future__ import annotations

import base64
import json
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from imagespec.events import BytesMoved, Event, StepFinished, StepLog, StepStarted
from imagespec.values import dataclass

__all__ = ["FailedStep", "ProgressDecoder"]

LOG_TAIL_LINES: Final = 30
_NANOSECONDS: Final = re.compile(r"(\.\d{6})\d*")
# Vertices that only say what BuildKit is doing with its own files; COPY --link shows twice.
_EXIT_CODE: Final = re.compile(r"did not complete successfully: exit code: (\d+)")
_STEP: Final = re.compile(r"(?:\(# |\[)step-(\d+)")
_USER: Final = re.compile(r"\(# (user [a-z0-9_-]+)")
_MOUNT: Final = re.compile(r"\s+--mount=\S+")
_STAGE: Final = re.compile(r"^\[[^\]]*\] ")
_INTERNAL: Final = re.compile(
    r"internal\]|copy /context|\] load (from client|metadata|\.dockerignore)"
    r"|\] (LINK COPY|WORKDIR|COPY --from=imagespec-uv)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedStep:
    """The step that failed: its title, BuildKit's error, its exit code if it ran, and the last lines it printed."""

    title: str
    error: str
    exit_code: int | None
    log_tail: tuple[str, ...]


class ProgressDecoder:
    """Turns the lines of a build into events, and remembers which step failed and what it said last."""

    def __init__(self, titles: Sequence[str] = ()) -> None:
        """``titles`` replace BuildKit's names for the vertices that are marked ``step-i``."""
        self._step_titles = titles
        self._pending = ""
        self._titles: dict[str, str] = {}
        self._started: set[str] = set()
        self._finished: set[str] = set()
        self._tails: dict[str, deque[str]] = {}
        self._partial: dict[str, bytes] = {}
        self._errors: dict[str, str] = {}
        self._plain: list[str] = []

    @property
    def plain_text(self) -> str:
        """What was printed beside the JSON: the client's own error message."""
        return "\n".join(self._plain)

    @property
    def failed_step(self) -> FailedStep | None:
        """The first step that failed by itself, not because another one did."""
        for vertex, error in self._errors.items():
            if "context canceled" in error:
                continue
            unfinished = _shown(self._partial[vertex]) if vertex in self._partial else ""
            tail = (*self._tails.get(vertex, ()), *([unfinished] if unfinished else ()))[-LOG_TAIL_LINES:]
            exit_code = _EXIT_CODE.search(error)
            return FailedStep(
                title=self._titles.get(vertex, ""),
                error=error,
                exit_code=int(exit_code[1]) if exit_code else None,
                log_tail=tail,
            )
        return None

    def feed(self, line: str) -> Iterator[Event]:
        """Yield the events that this line completes."""
        if not self._pending and not line.lstrip().startswith("{"):
            if line.strip():
                self._plain.append(line.rstrip("\n"))
            return
        self._pending += line
        try:
            status = json.loads(self._pending)
        except ValueError:
            if len(self._pending) > 8_000_000:
                self._plain.append(self._pending[:1000])
                self._pending = ""
            return
        self._pending = ""
        yield from self._events(status)

    def _events(self, status: Mapping[str, Any]) -> Iterator[Event]:
        for vertex in status.get("vertexes") or ():
            yield from self._vertex(vertex)
        for transfer in status.get("statuses") or ():
            yield from self._transfer(transfer)
        for log in status.get("logs") or ():
            yield from self._log(log)

    def _vertex(self, vertex: Mapping[str, Any]) -> Iterator[Event]:
        step, title = str(vertex.get("digest")), self._title(str(vertex.get("name", "")))
        self._titles[step] = title
        error = str(vertex.get("error") or "")
        if error:
            self._errors.setdefault(step, error)
        if _INTERNAL.search(str(vertex.get("name", ""))) and not error:
            return
        if vertex.get("started") and step not in self._started:
            self._started.add(step)
            yield StepStarted(step=step, title=title)
        if vertex.get("completed") and step not in self._finished:
            self._finished.add(step)
            if step in self._partial:
                yield self._line(step, self._partial.pop(step))
            duration_s = _seconds(vertex.get("started"), vertex.get("completed"))
            yield StepFinished(
                step=step, title=title, duration_s=duration_s, cached=bool(vertex.get("cached")), error=error
            )

    def _title(self, name: str) -> str:
        marked = _STEP.search(name)
        if marked and int(marked[1]) < len(self._step_titles):
            return self._step_titles[int(marked[1])]
        user = _USER.search(name)
        if user:
            return user[1]
        plain = _MOUNT.sub("", name.split("\n")[0])
        return plain if _INTERNAL.search(plain) else _STAGE.sub("", plain)

    def _transfer(self, transfer: Mapping[str, Any]) -> Iterator[Event]:
        step, title = str(transfer.get("vertex")), str(transfer.get("id", ""))
        current, total = transfer.get("current"), transfer.get("total")
        if isinstance(current, int) and isinstance(total, int) and total > 0:
            yield BytesMoved(step=step, title=title, done_bytes=current, total_bytes=total)

    def _log(self, log: Mapping[str, Any]) -> Iterator[Event]:
        step = str(log.get("vertex"))
        # Bytes, since a character may be cut in two as well as a line.
        *lines, rest = (self._partial.pop(step, b"") + base64.b64decode(log.get("data") or "")).split(b"\n")
        if rest:
            self._partial[step] = rest
        for line in lines:
            yield self._line(step, line)

    def _line(self, step: str, line: bytes) -> StepLog:
        text = _shown(line)
        self._tails.setdefault(step, deque(maxlen=LOG_TAIL_LINES)).append(text)
        return StepLog(step=step, text=text)


def _shown(line: bytes) -> str:
    """Return what a terminal would show of a line: a carriage return redraws it."""
    return line.decode(errors="replace").rstrip("\r").rsplit("\r", 1)[-1]


def _seconds(started: object, completed: object) -> float:
    if not isinstance(started, str) or not isinstance(completed, str):
        return 0.0
    return max(0.0, (_time(completed) - _time(started)).total_seconds())


def _time(text: str) -> datetime:
    return datetime.fromisoformat(_NANOSECONDS.sub(r"\1", _padded(text)).replace("Z", "+00:00"))


def _padded(text: str) -> str:
    """Return an RFC 3339 time with six or more fractional digits, which Python 3.10 wants."""
    match = re.match(r"(.*:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)$", text)
    if match is None:
        return text
    return f"{match[1]}.{(match[2] or '').ljust(6, '0')}{match[3]}"
