"""The graph of images as a drawing: which image is based on which, as Mermaid text or as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape  # xml.sax.saxutils, made for this, loads a client for HTTP
from typing import Final

from imagespec.values import dataclass

__all__ = ["DiagramNode", "mermaid", "svg"]

_WIDTH: Final = 180
_HEIGHT: Final = 40
_GAP_X: Final = 32
_GAP_Y: Final = 12
_MARGIN: Final = 10
_CHARACTERS: Final = 23


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagramNode:
    """One image: ``key`` is unique, ``parent`` the key of what it is based on ("" for none); the rest is shown."""

    key: str
    title: str
    state: str
    parent: str = ""
    subtitle: str = ""


def mermaid(nodes: Sequence[DiagramNode]) -> str:
    """Return the graph in Mermaid's flowchart language."""
    number = {node.key: f"n{index}" for index, node in enumerate(nodes)}
    lines = ["flowchart LR"]
    for node in nodes:
        label = " / ".join(part for part in (node.title, node.subtitle, node.state) if part)
        # Mermaid's quoted text knows HTML entities only.
        text = escape(label, quote=False).replace('"', "#quot;")
        lines.append(f'    {number[node.key]}["{text}"]:::{_class(node.state)}')
    lines += [f"    {number[node.parent]} --> {number[node.key]}" for node in nodes if node.parent in number]
    lines += [
        "    classDef done fill:#dcfce7,stroke:#16a34a,color:#000",
        "    classDef wanted fill:#dbeafe,stroke:#2563eb,color:#000",
        "    classDef bad fill:#fee2e2,stroke:#dc2626,color:#000",
    ]
    return "\n".join(lines)


def svg(nodes: Sequence[DiagramNode], *, is_alone: bool = True) -> str:
    """Return the graph as an SVG drawing; ``is_alone`` when it is a file of its own, with its own colours."""
    placed = _placed(nodes)
    columns = max((column for column, _ in placed.values()), default=0) + 1
    rows = max((row for _, row in placed.values()), default=0) + 1
    width = 2 * _MARGIN + columns * _WIDTH + (columns - 1) * _GAP_X
    height = 2 * _MARGIN + rows * _HEIGHT + (rows - 1) * _GAP_Y
    parts = [_edge(placed[node.parent], placed[node.key]) for node in nodes if node.parent in placed]
    parts += [_box(node, placed[node.key]) for node in nodes]
    style = f"<style>{_STYLE}</style>" if is_alone else ""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'{head} class="graph" role="img" aria-label="graph of images">{style}{"".join(parts)}</svg>'


_STYLE: Final = (
    "rect{fill:#fff;stroke:#64748b}.done rect{fill:#dcfce7;stroke:#16a34a}.wanted rect{fill:#dbeafe;stroke:#2563eb}"
    ".bad rect{fill:#fee2e2;stroke:#dc2626}text{font:12px sans-serif;fill:#111}.small{font-size:10px;fill:#475569}"
    "path{fill:none;stroke:#94a3b8}"
)


def _class(state: str) -> str:
    if state in ("failed", "blocked", "stopped", "unknown", "problem"):
        return "bad"
    return "done" if state in ("present", "reused", "built", "tagged") else "wanted"


def _placed(nodes: Sequence[DiagramNode]) -> dict[str, tuple[int, int]]:
    """Return column and row of each node: a parent is left of its children, at the height of the first."""
    known = {node.key for node in nodes}
    children: dict[str, list[DiagramNode]] = {}
    for node in nodes:
        children.setdefault(node.parent if node.parent in known else "", []).append(node)
    placed: dict[str, tuple[int, int]] = {}
    next_row = 0

    def place(node: DiagramNode, column: int) -> None:
        nonlocal next_row
        placed[node.key] = (column, next_row)
        below = children.get(node.key, [])
        for child in below:
            place(child, column + 1)
        if not below:
            next_row += 1

    for root in children.get("", []):
        place(root, 0)
    return placed


def _corner(place: tuple[int, int]) -> tuple[int, int]:
    column, row = place
    return _MARGIN + column * (_WIDTH + _GAP_X), _MARGIN + row * (_HEIGHT + _GAP_Y)


def _edge(parent: tuple[int, int], child: tuple[int, int]) -> str:
    (x0, y0), (x1, y1) = _corner(parent), _corner(child)
    x0, y0, y1, middle = x0 + _WIDTH, y0 + _HEIGHT // 2, y1 + _HEIGHT // 2, x0 + _WIDTH + _GAP_X // 2
    return f'<path d="M{x0} {y0}C{middle} {y0} {middle} {y1} {x1} {y1}"/>'


def _box(node: DiagramNode, place: tuple[int, int]) -> str:
    x, y = _corner(place)
    small = escape(_cut(" · ".join(part for part in (node.state, node.subtitle) if part)))
    return (
        f'<g class="node {_class(node.state)}" data-image="{escape(node.key)}" tabindex="0">'
        f"<title>{escape(node.key)}</title>"
        f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6"/>'
        f'<text x="{x + 10}" y="{y + 17}">{escape(_cut(node.title))}</text>'
        f'<text class="small" x="{x + 10}" y="{y + 32}">{small}</text></g>'
    )


def _cut(text: str) -> str:
    return text if len(text) <= _CHARACTERS else f"{text[: _CHARACTERS - 1]}…"
