"""One HTML page about a run: the graph, what ran when and what waited, layers by size and what images share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any, Final

from imagespec.report.diagram import DiagramNode, svg
from imagespec.report.plain import short_name

__all__ = ["page"]

_ROW: Final = 22
_LABEL: Final = 260
_CHART: Final = 900


def page(run: Mapping[str, Any], layers: Mapping[str, Sequence[tuple[str, int]]], template: str) -> str:
    """Return the page; ``layers`` are (digest, size in bytes) by image, ``template`` has a ``{{ }}`` for each part.

    Nothing is loaded from anywhere: the page works offline.
    """
    timeline = run["timeline"]
    parts = {
        "headline": escape(_headline(run)),
        "graph": svg(_nodes(timeline), is_alone=False),
        "timeline": _timeline(timeline, float(run["seconds"])),
        "layers": _layers(layers),
        # "</" would end the script element.
        "data": json.dumps({"timeline": timeline, "layers": layers}).replace("</", "<\\/"),
    }
    for name, text in parts.items():
        template = template.replace("{{ " + name + " }}", text)
    return template


def _state(image: Mapping[str, Any]) -> str:
    return str(image["states"][-1]["state"]) if image["states"] else "not needed"


def _headline(run: Mapping[str, Any]) -> str:
    states = [_state(image) for image in run["timeline"]]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    moved = sum(image["moved_bytes"] for image in run["timeline"])
    count = f"{len(states)} image{'s' if len(states) != 1 else ''}"
    return f"{count}: {counts} · {run['seconds']:.1f} s, {run['jobs']} at a time · {_size(moved)} moved"


def _nodes(timeline: Sequence[Mapping[str, Any]]) -> list[DiagramNode]:
    return [
        DiagramNode(
            key=image["image"],
            title=short_name(image["image"]).partition(":")[0],
            subtitle=image["plan"][:11],
            state=_state(image),
            parent=image["parent"],
        )
        for image in timeline
    ]


def _timeline(timeline: Sequence[Mapping[str, Any]], total_s: float) -> str:
    total_s = max(total_s, 0.001)
    rows = [_row(image, index, total_s) for index, image in enumerate(timeline)]
    height = _ROW * len(timeline) + 24
    ticks = "".join(_tick(part, total_s, height) for part in range(5))
    width = _LABEL + _CHART + 50
    head = f'<svg class="timeline" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    return f"{head}{ticks}{''.join(rows)}</svg>"


def _tick(part: int, total_s: float, height: int) -> str:
    x = _LABEL + _CHART * part // 4
    text = f'<text x="{x}" y="{height - 6}">{total_s * part / 4:.1f} s</text>'
    return f'<line x1="{x}" x2="{x}" y1="0" y2="{height - 20}"/>{text}'


def _row(image: Mapping[str, Any], index: int, total_s: float) -> str:
    y = index * _ROW
    bars = []
    states = image["states"]
    for current, following in pairwise(states):
        kind = "waiting" if current["state"] == "waiting" or current["detail"].startswith("waiting") else "building"
        bars.append(_bar(kind, current["at_s"], following["at_s"], y, total_s, current["detail"] or kind))
    for step in image["steps"]:
        kind = "step cached" if step["cached"] else "step error" if step["error"] else "step"
        bars.append(_bar(kind, step["from_s"], step["to_s"], y, total_s, step["title"]))
    name = escape(image["image"], quote=True)
    state = _state(image)
    return (
        f'<g class="row" data-image="{name}" tabindex="0"><rect class="hit" x="0" y="{y}" width="{_LABEL + _CHART}" '
        f'height="{_ROW}"/><text x="4" y="{y + 15}">{escape(short_name(image["image"]))}</text>'
        f'<text class="state {state}" x="{_LABEL - 8}" y="{y + 15}">{escape(state)}</text>{"".join(bars)}</g>'
    )


def _bar(kind: str, from_s: float, to_s: float, y: int, total_s: float, title: str) -> str:
    x = _LABEL + _CHART * from_s / total_s
    width = max(1.0, _CHART * (to_s - from_s) / total_s)
    top, height = (y + 7, _ROW - 12) if kind.startswith("step") else (y + 4, _ROW - 6)
    tip = escape(f"{title}: {to_s - from_s:.2f} s")
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{top}" width="{width:.1f}" height="{height}"><title>{tip}</title></rect>'
    )


def _layers(layers: Mapping[str, Sequence[tuple[str, int]]]) -> str:
    users: dict[str, list[str]] = {}
    sizes: dict[str, int] = {}
    for image, listed in layers.items():
        for digest, size in listed:
            sizes[digest] = size
            if image not in users.setdefault(digest, []):
                users[digest].append(image)
    if not sizes:
        return "<p>The registry was not asked for layers, or did not answer.</p>"
    largest = max(sizes.values()) or 1
    ordered = sorted(sizes, key=lambda digest: (-sizes[digest], digest))
    rows = "".join(_layer(digest, sizes[digest], users[digest], largest) for digest in ordered)
    together = sum(sizes.values())
    apart = sum(sizes[digest] * len(images) for digest, images in users.items())
    return (
        f"<p>{len(sizes)} layers, {_size(together)} in the registry; {_size(apart)} without sharing.</p>"
        f'<table><thead><tr><th>layer</th><th class="number">size</th><th></th><th>in</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _layer(digest: str, size: int, images: list[str], largest: int) -> str:
    names = ", ".join(short_name(image).partition(":")[0] for image in images[:6])
    more = f" and {len(images) - 6} more" if len(images) > 6 else ""
    data = escape(" ".join(images), quote=True)
    return (
        f'<tr data-images="{data}"><td><code>{escape(digest[7:19])}</code></td><td class="number">{_size(size)}</td>'
        f'<td><div class="bar" style="width:{max(1, 160 * size // largest)}px"></div></td>'
        f"<td>{len(images)}: {escape(names + more)}</td></tr>"
    )


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 100_000 else f"{size_bytes / 1e3:.1f} kB"
