"""What a run leaves behind: a summary for people on stderr, a record for each image, an exit code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from imagespec.cli.naming import say
from imagespec.endings import Ending
from imagespec.ensure import BuildResult, Outcome, name_there
from imagespec.events import ImageState
from imagespec.report import error_lines

__all__ = ["exit_code", "headline", "listed", "record", "result_line", "tell"]

_NAMES_SHOWN: Final = 5


def exit_code(endings: Sequence[Ending]) -> int:
    """Return 0 when every image is there, else the highest exit code of what failed."""
    return max((ending.error.exit_code for ending in endings if ending.error is not None), default=0)


def tell(endings: Sequence[Ending], total_s: float) -> None:
    """Say on stderr what became of each image, failures in full and once for all that failed alike."""
    distinct = list({ending.request.reference: ending for ending in endings}.values())
    if len(distinct) == 1 and distinct[0].result is not None:
        say(_one(distinct[0].result))
        if distinct[0].request.usage:
            say(f"no engine answers, so it is kept as an OCI layout; to use it: {distinct[0].request.usage}")
    told: dict[str, list[str]] = {}
    for ending in distinct:
        if ending.error is not None:
            culprit = ending.blocked_by or ending.request
            told.setdefault("\n".join(error_lines(ending.error)), []).append(culprit.label)
    for text, names in told.items():
        if len(distinct) > 1:
            say(f"failed: {listed(list(dict.fromkeys(names)))}")
        say(text)
    blocked: dict[str, list[str]] = {}
    for ending in distinct:
        if ending.blocked_by is not None:
            blocked.setdefault(ending.blocked_by.label, []).append(ending.request.label)
    for parent, names in blocked.items():
        say(f"blocked: {listed(names)}: based on {parent}")
    if len(distinct) > 1:
        say(f"{headline(distinct)}; {total_s:.2f} s{_phases(distinct)}")


def headline(endings: Sequence[Ending]) -> str:
    """Return how many images ended in which state: ``60 images: 58 reused, 2 built``."""
    states = [ending.state for ending in {ending.request.reference: ending for ending in endings}.values()]
    counts = ", ".join(f"{states.count(state)} {state.value}" for state in ImageState if state in states)
    return f"{len(states)} image{'s' if len(states) != 1 else ''}: {counts}"


def listed(names: Sequence[str]) -> str:
    """Return the names, the first few of many."""
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more


def _phases(endings: list[Ending]) -> str:
    """Return the seconds that all images spent in each phase, added up: several pass at once."""
    spent: dict[str, float] = {}
    for ending in endings:
        for phase, seconds in ending.result.timings if ending.result else ():
            spent[phase] = max(spent.get(phase, 0.0), seconds) if phase == "look up" else spent.get(phase, 0) + seconds
    text = ", ".join(f"{phase} {seconds:.2f} s" for phase, seconds in spent.items())
    return f" ({text}, of all images together)" if text else ""


def _one(result: BuildResult) -> str:
    total_s = sum(seconds for _, seconds in result.timings)
    phases = ", ".join(f"{phase} {seconds:.2f} s" for phase, seconds in result.timings)
    return f"{result.outcome.value}: {result.reason}; {total_s:.2f} s ({phases})"


def result_line(origin: str, ending: Ending, form: str) -> str:
    """Return what stdout says of an image: its reference, or "" when there is none; as JSON always a record."""
    if form == "json":
        return json.dumps(record(origin, ending))
    if ending.result is None:
        return ""
    # The digest of a local image is no part of a name that engines know it by.
    if ending.request.registry is None:
        return name_there(ending.request, ending.result)
    return str(ending.result.reference)


def record(origin: str, ending: Ending) -> dict[str, Any]:
    """Return the record of one image for tools."""
    result, request = ending.result, ending.request
    value: dict[str, Any] = {
        "origin": origin,
        "image": str(result.reference) if result else request.name,
        "tag": result.reference.tag if result else request.reference.tag,
        "digest": str(result.reference.digest) if result else None,
        "outcome": ending.state.value,
        "reason": ending.detail,
        "builder": request.builder.name if result is None or result.outcome is Outcome.BUILT else None,
        "seconds": {phase: round(seconds, 4) for phase, seconds in (result.timings if result else ())},
    }
    if ending.error is not None:
        value["error"] = {"type": type(ending.error).__name__, "message": str(ending.error), "hint": ending.error.hint}
    return value
