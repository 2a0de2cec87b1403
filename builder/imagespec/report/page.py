"""One HTML page about a run: the graph, what ran when and what waited, layers by size and what images share."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any, Final

from imagespec.report.diagram import DiagramNode, svg
from imagespec.report.plain import short_name, size_text

__all__ = ["page"]

_ROW: Final = 22
_LABEL: Final = 300
_CHART: Final = 900
_AXIS: Final = 20
_NAME_SHOWN: Final = 22


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
    count = f"{len(states)} image{'s' if len(states) != 1 else ''}"
    return f"{count}: {counts} · {run['seconds']:.1f} s, {run['jobs']} at a time{_pushed(run.get('sizes'))}"


def _pushed(sizes: Mapping[str, Any] | None) -> str:
    if not sizes:
        return ""
    most = "" if sizes["is_exact"] else "at most "
    return f" · {most}{size_text(sizes['pushed_bytes'])} of {size_text(sizes['total_bytes'])} pushed"


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
    ended = {image["image"]: image["states"][-1]["at_s"] for image in timeline if image["states"]}
    rows = [_row(image, _AXIS + index * _ROW, total_s, ended) for index, image in enumerate(timeline)]
    height = _ROW * len(timeline) + 2 * _AXIS
    ticks = "".join(_tick(part, total_s, height) for part in range(5))
    width = _LABEL + _CHART + 50
    head = f'<svg class="timeline" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    return f"{head}{ticks}{''.join(rows)}</svg>"


def _tick(part: int, total_s: float, height: int) -> str:
    x = _LABEL + _CHART * part // 4
    text = f"{total_s * part / 4:.1f} s"
    labels = "".join(f'<text x="{x}" y="{y}">{text}</text>' for y in (13, height - 6))
    return f'<line x1="{x}" x2="{x}" y1="{_AXIS}" y2="{height - _AXIS}"/>{labels}'


def _row(image: Mapping[str, Any], y: int, total_s: float, ended: Mapping[str, float]) -> str:
    bars = [_bar(*stretch, y, total_s) for stretch in _stretches(image, ended)]
    for step in image["steps"]:
        kind = "step cached" if step["cached"] else "step error" if step["error"] else "step"
        bars.append(_bar(kind, step["from_s"], step["to_s"], step["title"], y, total_s))
    name = escape(image["image"], quote=True)
    state = _state(image)
    return (
        f'<g class="row" data-image="{name}" tabindex="0"><rect class="hit" x="0" y="{y}" width="{_LABEL + _CHART}" '
        f'height="{_ROW}"/><text x="4" y="{y + 15}">{escape(_label(image["image"]))}</text>'
        f'<text class="state {state}" x="{_LABEL - 8}" y="{y + 15}">{escape(state)}</text>{"".join(bars)}</g>'
    )


def _stretches(image: Mapping[str, Any], ended: Mapping[str, float]) -> Iterator[tuple[str, float, float, str]]:
    """Yield (kind, from, to, title) of each stretch between two states; a wait is split where its parent was ready."""
    for current, following in pairwise(image["states"]):
        begin, end, detail = current["at_s"], following["at_s"], current["detail"]
        if current["state"] != "waiting":
            kind = "blocked" if detail.startswith("waiting") else "building"
            yield kind, begin, end, detail or "being built"
            continue
        ready = min(max(begin, ended.get(image["parent"], begin)), end)
        if ready > begin:
            yield "parent", begin, ready, f"waits for {_label(image['parent'])}"
        if end > ready:
            yield "waiting", ready, end, "waits for the look-up, or for its turn"


def _label(image: str) -> str:
    name, colon, tag = short_name(image).partition(":")
    return (name if len(name) <= _NAME_SHOWN else f"{name[: _NAME_SHOWN - 1]}…") + colon + tag


def _bar(kind: str, from_s: float, to_s: float, title: str, y: int, total_s: float) -> str:
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
    count = f"{len(sizes)} layer{'s' if len(sizes) != 1 else ''}"
    together = sum(sizes.values())
    apart = sum(sizes[digest] * len(images) for digest, images in users.items())
    return (
        f"<p>{count}, {size_text(together)} in the registry; {size_text(apart)} without sharing.</p>"
        f'<table><thead><tr><th>layer</th><th class="number">size</th><th></th><th>in</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _layer(digest: str, size: int, images: list[str], largest: int) -> str:
    names = ", ".join(short_name(image).partition(":")[0] for image in images[:6])
    more = f" and {len(images) - 6} more" if len(images) > 6 else ""
    data = escape(" ".join(images), quote=True)
    width = max(1, 160 * size // largest)
    return (
        f'<tr data-images="{data}"><td><code>{escape(digest[7:19])}</code></td>'
        f'<td class="number">{size_text(size)}</td><td><div class="bar" style="width:{width}px"></div></td>'
        f"<td>{len(images)}: {escape(names + more)}</td></tr>"
    )
