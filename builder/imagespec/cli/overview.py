"""``imagespec plan`` of several images: a table, or a drawing of which is based on which."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from imagespec.batch import look_up_all
from imagespec.cli.summary import listed
from imagespec.compose import Composition
from imagespec.dockerfile import title_of
from imagespec.ensure import BuildRequest
from imagespec.errors import ImageSpecError
from imagespec.fingerprint import environment_reference
from imagespec.flyte_tags.stand_ins import look_up_stand_ins
from imagespec.identity import Target
from imagespec.names import Reference
from imagespec.plan import CopyFiles
from imagespec.registry.many import LookUp
from imagespec.report import PlainReport
from imagespec.report.diagram import DiagramNode, mermaid, svg
from imagespec.report.plain import size_text
from imagespec.values import replace

__all__ = ["drawing", "notes", "overview", "table"]

_COLUMNS: Final = ("image", "tag", "state", "reason", "builder", "size to push")
_NAME_SHOWN: Final = 32
_REASON_SHOWN: Final = 48
_TAG_SHOWN: Final = 11


def overview(
    composition: Composition, targets: Sequence[Target], builder: str, *, offline: bool
) -> list[dict[str, Any]]:
    """Return a row for each image and for what it is based on, all looked up together; raise SpecError."""
    rows: dict[str, dict[str, Any]] = {}
    requests: dict[str, BuildRequest] = {}
    for target, request in composition.requests(targets, builder=builder):
        if isinstance(request, ImageSpecError):
            raise request
        for one in _lineage(request):
            requests.setdefault(one.name, one)
            row = rows.setdefault(one.name, _row(one, composition.builder_name(one)))
            row["origin"] = target.origin if one is request else row.get("origin", "")
        try:
            request.builder.check(request.plan)
        except ImageSpecError as error:
            rows[request.name]["problem"] = str(error)
    if not offline:
        for answer, request in _answers(list(requests.values())):
            rows[request.name].update(_answer(answer, request))
        _with_stand_ins(rows, requests)
        _with_sizes(rows, requests)
    return list(rows.values())


def _lineage(request: BuildRequest) -> Iterator[BuildRequest]:
    if request.parent is not None:
        yield from _lineage(request.parent)
    yield request


def _row(request: BuildRequest, builder: str) -> dict[str, Any]:
    copied = [step for step in request.plan.steps if isinstance(step, CopyFiles)]
    return {
        "image": request.name,
        "tag": request.reference.tag,
        "parent": request.parent.name if request.parent is not None else "",
        "state": "unasked",
        "reason": "nobody was asked whether it exists",
        "builder": builder,
        "source_bytes": sum(entry.size_bytes for step in copied for entry in step.entries),
        "push_bytes": None,
        "steps": [title_of(step) for step in request.plan.steps],
    }


def _answers(requests: Sequence[BuildRequest]) -> Iterator[tuple[LookUp, BuildRequest]]:
    by_reference = {request.reference: request for request in requests}
    for answer in look_up_all(requests):
        yield answer, by_reference[answer.reference]


def _answer(answer: LookUp, request: BuildRequest) -> dict[str, str]:
    if answer.error is not None:
        return {"state": "unknown", "reason": str(answer.error)}
    if answer.descriptor is None:
        return {"state": "absent", "reason": request.why() or "it does not exist"}
    return {"state": "present", "reason": "it exists"}


def _with_stand_ins(rows: Mapping[str, dict[str, Any]], requests: Mapping[str, BuildRequest]) -> None:
    """Note what stands under flytekit's own tag, where the settings ask for that; not what others are built on."""
    absent = [one for name, one in requests.items() if rows[name]["state"] == "absent"]
    stand_ins = [one.stand_in for one in absent if one.stand_in is not None]
    found = look_up_stand_ins(stand_ins, PlainReport(sys.stderr)) if stand_ins else {}
    for request in reversed(absent) if found else ():
        answer = found.get(request.reference)
        is_built_on = any(
            rows[one.name]["state"] == "absent" for one in absent if one.parent and one.parent.name == request.name
        )
        if answer is None or is_built_on:
            continue
        rows[request.name].update(_answer(answer, request))
        if answer.error is None:
            rows[request.name]["reason"] = f"it exists as flytekit's {answer.reference}"


def _with_sizes(rows: Mapping[str, dict[str, Any]], requests: Mapping[str, BuildRequest]) -> None:
    """Note how much would be pushed at the most where that is known: only files are added to what is there."""
    environments: dict[Reference, BuildRequest] = {}
    for name, request in requests.items():
        row = rows[name]
        if row["state"] == "present":
            row["push_bytes"] = 0
        elif row["state"] == "absent":
            environment = environment_reference(request.plan, request.reference)
            if _adds_files_only(request) and _is_there(rows, request.parent):
                row["push_bytes"] = row["source_bytes"]
            elif environment is not None and request.registry is not None:
                environments[environment] = replace(request, reference=environment)
    there = {answer.reference for answer, _ in _answers(list(environments.values())) if answer.descriptor is not None}
    for name, request in requests.items():
        if environment_reference(request.plan, request.reference) in there and rows[name]["state"] == "absent":
            rows[name]["push_bytes"] = rows[name]["source_bytes"]


def _adds_files_only(request: BuildRequest) -> bool:
    return request.parent is not None and all(isinstance(step, CopyFiles) for step in request.plan.steps)


def _is_there(rows: Mapping[str, dict[str, Any]], parent: BuildRequest | None) -> bool:
    return parent is not None and rows[parent.name]["state"] == "present"


def table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table; sizes are upper bounds, "?" where packages or commands decide them."""
    cells = [
        (
            _cut(_path(row["image"]), _NAME_SHOWN),
            str(row["tag"])[:_TAG_SHOWN],
            row["state"],
            _cut(row.get("problem") or row["reason"], _REASON_SHOWN),
            row["builder"],
            _size(row),
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in (_COLUMNS, *cells)) for column in range(len(_COLUMNS))]
    for line in (_COLUMNS, *cells):
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def notes(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield what the table has no room for, each once: why images are refused, or cannot be looked up; the counts."""
    told: dict[str, list[str]] = {}
    for row in rows:
        text = row.get("problem") or (row["reason"] if row["state"] == "unknown" else "")
        if text:
            told.setdefault(text, []).append(_path(row["image"]))
    for text, names in told.items():
        yield f"{listed(names)}: {text}"
    states = [row["state"] for row in rows]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    yield f"{len(rows)} images: {counts}"


def _size(row: Mapping[str, Any]) -> str:
    if row["push_bytes"] is not None:
        return size_text(row["push_bytes"])
    return f"? + {size_text(row['source_bytes'])} of files" if row["source_bytes"] else "?"


def _path(image: str) -> str:
    return image.rpartition("/")[2].partition(":")[0]


def _cut(text: str, width: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else f"{text[: width - 1]}…"


def drawing(rows: Sequence[dict[str, Any]], form: str) -> str:
    """Return the graph in ``form``: ``mermaid`` or ``svg``."""
    nodes = [
        DiagramNode(
            key=row["image"],
            title=_path(row["image"]),
            subtitle=row["tag"][:_TAG_SHOWN],
            state=row["state"],
            parent=row["parent"],
        )
        for row in rows
    ]
    return svg(nodes) if form == "svg" else mermaid(nodes)
