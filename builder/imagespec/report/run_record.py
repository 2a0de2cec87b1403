"""A run as plain data: the JSON report of ``warm``, and what the page of ``imagespec report`` is made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from imagespec.endings import Ending
from imagespec.ensure import BuildRequest
from imagespec.report.recorder import ImageRecord
from imagespec.settings import Settings

__all__ = ["last_run", "run_record"]

VERSION = 1


def last_run(settings: Settings) -> Path:
    """Return where the last run of this machine is kept."""
    return settings.cache_dir / "runs" / "last.json"


def run_record(
    records: Iterable[Mapping[str, Any]],
    endings: Iterable[Ending],
    recorded: Mapping[str, ImageRecord],
    *,
    total_s: float,
    jobs: int,
    sizes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the run: ``images`` are the records by target, ``timeline`` what happened to every name, parents too.

    ``sizes`` are those of what was built (``push_sizes``), None when nothing was, or when they are not known.
    """
    endings = tuple(endings)
    served = {ending.request.fingerprint.text: ending.request for ending in reversed(endings)}
    requests: dict[str, BuildRequest] = {}
    for ending in endings:
        for request in _lineage(ending.request, served):
            requests.setdefault(request.name, request)
    digests = {ending.request.name: str(ending.result.reference) for ending in endings if ending.result}
    timeline = [
        {
            "image": name,
            "reference": digests.get(name, ""),
            "parent": served.get(parent.fingerprint.text, parent).name if (parent := request.parent) else "",
            "plan": request.fingerprint.text,
            **_what_happened(recorded.get(name, ImageRecord())),
        }
        for name, request in requests.items()
    ]
    return {
        "version": VERSION,
        "seconds": round(total_s, 3),
        "jobs": jobs,
        "sizes": sizes,
        "images": [dict(record) for record in records],
        "timeline": timeline,
    }


def _lineage(request: BuildRequest, served: Mapping[str, BuildRequest]) -> Iterator[BuildRequest]:
    """Yield what the request is based on, then itself; an equal plan that was asked for stands for a parent."""
    if request.parent is not None:
        yield from _lineage(served.get(request.parent.fingerprint.text, request.parent), served)
    yield request


def _what_happened(image: ImageRecord) -> dict[str, Any]:
    return {
        "states": [
            {"at_s": round(at, 3), "state": state.value, "detail": detail} for at, state, detail in image.states
        ],
        "steps": [
            {
                "title": step.title,
                "from_s": round(step.started_s, 3),
                "to_s": round(step.started_s if step.ended_s is None else step.ended_s, 3),
                "cached": step.is_cached,
                "error": bool(step.error),
            }
            for step in image.steps.values()
        ],
        "moved_bytes": sum(image.moved.values()),
    }
