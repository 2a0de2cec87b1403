"""``imagespec plan`` of several images: a table, or a drawing of which is based on which."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from imagespec.compose import Composition
from imagespec.dockerfile import title_of
from imagespec.errors import ImageSpecError
from imagespec.identity import Identity, Target
from imagespec.plan import CopyFiles
from imagespec.registry.many import LookUp, resolve_many
from imagespec.report.diagram import DiagramNode, mermaid, svg
from imagespec.report.plain import short_name

__all__ = ["drawing", "overview", "table"]

_COLUMNS: Final = ("image", "state", "builder", "sources", "reason")
_NAME_SHOWN: Final = 40


def overview(
    composition: Composition, targets: Sequence[Target], builder: str, *, offline: bool
) -> list[dict[str, Any]]:
    """Return a row for each image and for what it is based on, all looked up together; raise SpecError."""
    rows: dict[str, dict[str, Any]] = {}
    resolvers: dict[int, Any] = {}
    asked: dict[int, list[Identity]] = {}
    for target in targets:
        identity = composition.identify(target)
        request = composition.request(target, builder=builder)
        for one in _lineage(identity):
            row = rows.setdefault(one.name, _row(one, request.builder.name))
            row["origin"] = target.origin if one is identity else row.get("origin", "")
        resolvers[id(request.images)] = request.images
        asked.setdefault(id(request.images), []).extend(_lineage(identity))
        try:
            request.builder.check(identity.plan)
        except ImageSpecError as error:
            rows[identity.name]["problem"] = str(error)
    for key, identities in asked.items() if not offline else ():
        names = {one.reference: one.name for one in identities}
        for answer in resolve_many(resolvers[key], names):
            rows[names[answer.reference]].update(_answer(answer))
    return list(rows.values())


def _lineage(identity: Identity) -> Iterator[Identity]:
    if identity.parent is not None:
        yield from _lineage(identity.parent)
    yield identity


def _row(identity: Identity, builder: str) -> dict[str, Any]:
    copied = [step for step in identity.plan.steps if isinstance(step, CopyFiles)]
    return {
        "image": identity.name,
        "tag": identity.reference.tag,
        "parent": identity.parent.name if identity.parent is not None else "",
        "state": "unasked",
        "reason": "nobody was asked whether it exists",
        "builder": builder,
        "source_bytes": sum(entry.size_bytes for step in copied for entry in step.entries),
        "steps": [title_of(step) for step in identity.plan.steps],
    }


def _answer(answer: LookUp) -> dict[str, str]:
    if answer.error is not None:
        return {"state": "unknown", "reason": str(answer.error)}
    if answer.descriptor is None:
        return {"state": "absent", "reason": "it does not exist: would be built"}
    return {"state": "present", "reason": "it exists: nothing would be built"}


def table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table; ``sources`` is what would be pushed of copied files at the least."""
    cells = [
        (
            _shown(row["image"]),
            row["state"],
            row["builder"],
            "-" if not row["source_bytes"] or row["state"] == "present" else f"{row['source_bytes'] / 1e6:.2f} MB",
            row.get("problem") or row["reason"],
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in (_COLUMNS, *cells)) for column in range(len(_COLUMNS))]
    for line in (_COLUMNS, *cells):
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _shown(image: str) -> str:
    return short_name(image)[:_NAME_SHOWN]


def drawing(rows: Sequence[dict[str, Any]], form: str) -> str:
    """Return the graph in ``form``: ``mermaid`` or ``svg``."""
    nodes = [
        DiagramNode(
            key=row["image"],
            title=_shown(row["image"]).partition(":")[0],
            subtitle=row["tag"][:11],
            state=row["state"],
            parent=row["parent"],
        )
        for row in rows
    ]
    return svg(nodes) if form == "svg" else mermaid(nodes)
