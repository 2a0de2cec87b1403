"""A report as one page that needs nothing else: ratios, distances from the limit with profiles, growth, all rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

from bench.table import bytes_text, farthest, figure_text, goal_text, is_limit_row, seconds_text, times_text

__all__ = ["page"]

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 430, 250, 56, 34


def page(report: Mapping[str, Any], template: str) -> str:
    """Return ``template`` with a part of the report for each ``{{ name }}``."""
    rows = report["rows"]
    parts = {
        "headline": escape(_headline(report)),
        "tiles": _tiles(rows, report.get("failures", [])),
        "ratios": _ratios([row for row in rows if not is_limit_row(row)]),
        "farthest": _farthest(farthest(rows)),
        "growth": "".join(_growth(row) for row in rows if row.get("points")),
        "table": _table(rows),
        "failures": _failures(report.get("failures", [])),
    }
    for name, text in parts.items():
        template = template.replace("{{ " + name + " }}", text)
    return template


def _headline(report: Mapping[str, Any]) -> str:
    machine = report["machine"]
    memory = bytes_text(machine["memory_bytes"])
    processor = machine.get("processor") or machine["system"]
    kind = "quick" if report.get("quick") else "full"
    return (
        f"{report.get('date', '')[:16].replace('T', ' ')} · {kind} run of {report.get('commit', '')} · "
        f"{machine['processors']} processors {processor}, {memory} · Python {machine['python']}"
    )


def _tiles(rows: Sequence[Mapping[str, Any]], failures: Sequence[Mapping[str, Any]]) -> str:
    goals = [row for row in rows if row["met"] is not None]
    missed = sum(not row["met"] for row in goals)
    ratios = sorted(row["ratio"] for row in rows if not is_limit_row(row))
    middle = f"{times_text(ratios[len(ratios) // 2])} &times;" if ratios else "none"
    tiles = [
        (str(len(rows)), "rows", ""),
        (f"{len(goals) - missed} of {len(goals)}", "goals met", "met"),
        (str(missed), "goals missed", "missed" if missed else ""),
        (middle, "median ratio to a peer", ""),
    ]
    if failures:
        tiles.append((str(len(failures)), "not measured", "missed"))
    return "".join(f'<div class="tile {kind}"><b>{number}</b><span>{what}</span></div>' for number, what, kind in tiles)


def _ratios(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "<p>Nothing was compared with a peer.</p>"
    axis = _Axis([value for row in rows for value in (row["ratio"], *_spread(row), row["goal"] or 1.0)])
    parts = []
    for part, members in groupby(rows, key=lambda row: row["part"]):
        bars = "".join(_ratio(row, axis) for row in members)
        parts.append(f'<section data-part="{part}"><h3>{part}</h3>{axis.ruler()}{bars}</section>')
    return "".join(parts)


def _ratio(row: Mapping[str, Any], axis: _Axis) -> str:
    low, high = _spread(row)
    state = _state(row)
    goal = (
        f'<i class="goal" style="left:{axis.at(row["goal"])}%" title="goal {row["goal"]:g}"></i>' if row["goal"] else ""
    )
    tip = (
        f"{seconds_text(row['ours']['median_s'])} against {seconds_text(row['peer']['median_s'])}; "
        f"pairs from {low:g} to {high:g}" + (f"; goal {goal_text(row)}" if row["goal"] else "")
    )
    return (
        f'<div class="ratio {state}" title="{escape(tip)}"><span class="label">{escape(row["name"])} '
        f"<small>{escape(row['peer']['who'])}</small></span>"
        f'<span class="track">{axis.lines()}<i class="bar" style="{axis.bar(row["ratio"])}"></i>'
        f'<i class="range" style="left:{axis.at(low)}%;width:{axis.at(high) - axis.at(low):.2f}%"></i>{goal}</span>'
        f'<span class="number">{times_text(row["ratio"])} &times;{_mark(row)}</span></div>'
    )


class _Axis:
    """A logarithmic axis from the smallest to the largest value, in per cent of the width."""

    def __init__(self, values: Iterable[float]) -> None:
        known = [value for value in values if value > 0]
        self._low = math.floor(math.log10(min(known, default=1.0)))
        self._high = max(math.ceil(math.log10(max(known, default=10.0))), self._low + 1)

    def at(self, value: float) -> float:
        inside = math.log10(max(value, 10**self._low))
        return round(100 * (inside - self._low) / (self._high - self._low), 2)

    def bar(self, value: float) -> str:
        """Return a bar from 1, the peer's own speed, to ``value``."""
        start, end = sorted((self.at(1.0), self.at(value)))
        return f"left:{start}%;width:{max(end - start, 0.2):.2f}%"

    def lines(self) -> str:
        return "".join(
            f'<i class="{"one" if power == 0 else "line"}" style="left:{self.at(10.0**power)}%"></i>'
            for power in range(self._low, self._high + 1)
        )

    def ruler(self) -> str:
        ticks = "".join(
            f'<i style="left:{self.at(10.0**power)}%">{10.0**power:g} &times;</i>'
            for power in range(self._low, self._high + 1)
        )
        return f'<div class="ratio ruler"><span></span><span class="track">{ticks}</span><span></span></div>'


def _farthest(rows: Sequence[tuple[float, str, Mapping[str, Any]]]) -> str:
    if not rows:
        return "<p>No row has a limit measured beside it.</p>"
    return "".join(_far(*one) for one in rows)


def _far(times: float, limit: str, row: Mapping[str, Any]) -> str:
    places = row.get("profile", [])
    segments = "".join(
        f'<i class="p{index}" style="width:{100 * share:.1f}%" title="{escape(where)}: {share:.0%}"></i>'
        for index, (where, share) in enumerate(places)
    )
    legend = "".join(
        f'<li><i class="p{index}"></i>{escape(where)} {share:.0%}</li>' for index, (where, share) in enumerate(places)
    )
    remains = f"<p>{escape(row['remains'])}</p>" if row.get("remains") else ""
    profile = f'<div class="profile">{segments}</div><ul>{legend}</ul>' if places else ""
    name = escape(f"{row['part']}: {row['name']}")
    return (
        f'<article class="far {_state(row)}"><header><b>{times_text(times)} &times;</b> {name}'
        f"{_mark(row)}<small>{seconds_text(row['ours']['median_s'])}; the limit: {escape(limit)}</small></header>"
        f"{profile}{remains}</article>"
    )


def _growth(row: Mapping[str, Any]) -> str:
    points = row["points"]
    series = [key for key in points[0] if key != "size"]
    sizes = [point["size"] for point in points]
    times = [point[key] for point in points for key in series if point.get(key)]
    plane = _Plane(min(sizes), max(sizes), min(times), max(times))
    drawn = "".join(
        plane.line(index, key, [(point["size"], point[key]) for point in points if point.get(key)])
        for index, key in enumerate(series)
    )
    slopes = "".join(
        f'<li><i class="s{index}"></i>{escape(key)}: {escape(row["slopes"][key])}</li>'
        for index, key in enumerate(series)
    )
    name = escape(row["name"])
    return (
        f"<figure><figcaption>{name}</figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{name}">{plane.grid(sizes)}{drawn}</svg>'
        f"<ul>{slopes}</ul></figure>"
    )


class _Plane:
    """Two logarithmic axes: sizes to the right, seconds up."""

    def __init__(self, left: float, right: float, low: float, high: float) -> None:
        self._x = (math.log10(left), math.log10(right))
        self._y = (math.floor(math.log10(low)), max(math.ceil(math.log10(high)), math.floor(math.log10(low)) + 1))

    def x(self, size: float) -> float:
        first, last = self._x
        return round(_LEFT + (math.log10(size) - first) / (last - first) * (_WIDTH - _LEFT - 16), 1)

    def y(self, seconds: float) -> float:
        first, last = self._y
        return round(_HEIGHT - _BOTTOM - (math.log10(seconds) - first) / (last - first) * (_HEIGHT - _BOTTOM - 12), 1)

    def line(self, index: int, name: str, points: Sequence[tuple[float, float]]) -> str:
        path = " ".join(f"{self.x(size)},{self.y(seconds)}" for size, seconds in points)
        dots = "".join(
            f'<circle cx="{self.x(size)}" cy="{self.y(seconds)}" r="4">'
            f"<title>{escape(name)}, {size:g}: {seconds_text(seconds)}</title></circle>"
            for size, seconds in points
        )
        return f'<g class="s{index}"><polyline points="{path}"/>{dots}</g>'

    def grid(self, sizes: Sequence[float]) -> str:
        powers = range(self._y[0], self._y[1] + 1)
        rows = "".join(
            f'<line x1="{_LEFT}" x2="{_WIDTH - 8}" y1="{self.y(10.0**power)}" y2="{self.y(10.0**power)}"/>'
            f'<text class="end" x="{_LEFT - 6}" y="{self.y(10.0**power) + 4}">{seconds_text(10.0**power)}</text>'
            for power in powers
        )
        columns = "".join(
            f'<text class="middle" x="{self.x(size)}" y="{_HEIGHT - 12}">{size:,g}</text>' for size in sizes
        )
        return f'<g class="grid">{rows}{columns}</g>'


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(_table_row(row) for row in rows)


def _table_row(row: Mapping[str, Any]) -> str:
    low, high = _spread(row)
    commands = "\n\n".join(
        [row.get("command", ""), *(f"# {who}\n{row[side].get('command', '')}" for side, who in _sides(row))]
    )
    cells = [
        f"<td>{escape(row['part'])}</td><td>{escape(row['name'])}<details><summary>command</summary>"
        f"<pre>{escape(commands)}</pre></details></td>",
        _timed(row["ours"]),
        f"<td>{escape(row['peer']['who'])}</td>{_timed(row['peer'])}",
        f'<td class="number"><b>{figure_text(row, row["ratio"], ".4g")}</b>'
        f"<small>{figure_text(row, low, '.3g')} to {figure_text(row, high, '.3g')}</small>{_processor(row)}</td>",
        f'<td class="number">{goal_text(row)}</td><td class="{_state(row)}">{_mark(row)}</td>',
        _both(row["ours"]["peak_bytes"], row["peer"]["peak_bytes"], bytes_text),
        _both(row.get("bytes_pushed"), row.get("peer_bytes_pushed"), bytes_text),
        _both(row.get("requests"), row.get("peer_requests"), lambda count: f"{count:g}"),
    ]
    return f'<tr class="{_state(row)}">{"".join(cells)}</tr>'


def _processor(row: Mapping[str, Any]) -> str:
    return f"<small>CPU {row['cpu_ratio']:.3g}</small>" if "cpu_ratio" in row else ""


def _sides(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [("ours", "imagespec"), ("peer", row["peer"]["who"])]


def _timed(side: Mapping[str, Any]) -> str:
    low, high = seconds_text(side["min_s"]), seconds_text(side["max_s"])
    return f'<td class="number">{seconds_text(side["median_s"])}<small>{low} to {high}</small></td>'


def _both(ours: float | None, peer: float | None, text: Any) -> str:
    first = "" if ours is None else text(ours)
    second = "" if peer is None else f"<small>{text(peer)}</small>"
    return f'<td class="number">{first}{second}</td>'


def _failures(failures: Sequence[Mapping[str, Any]]) -> str:
    if not failures:
        return ""
    items = "".join(
        f"<li>{escape(one['part'])}, {escape(one['name'])}: <code>{escape(one['error'])}</code></li>"
        for one in failures
    )
    return f"<h2>Not measured</h2><ul>{items}</ul>"


def _spread(row: Mapping[str, Any]) -> tuple[float, float]:
    low, high = row.get("ratio_spread", (row["ratio"], row["ratio"]))
    return low, high


def _state(row: Mapping[str, Any]) -> str:
    return {None: "free", True: "met", False: "missed"}[row["met"]]


def _mark(row: Mapping[str, Any]) -> str:
    words = {None: "", True: "✓ met", False: "✗ missed"}
    return f" <em>{words[row['met']]}</em>" if row["met"] is not None else ""
