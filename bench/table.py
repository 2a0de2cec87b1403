"""Rows as a table in Markdown: ``python -m bench.table FILE.json [README.md]`` prints it, or puts it into a page.

In the page it goes between the lines ``<!-- bench -->`` and ``<!-- /bench -->``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["between_marks", "bytes_text", "goal_text", "is_limit_row", "markdown", "seconds_text"]

BEGIN, END = "<!-- bench -->", "<!-- /bench -->"


def markdown(report: Mapping[str, Any]) -> str:
    """Return the table of a report, with what could not be measured below it."""
    head = ["what", "ours", "peer", "ratio (from to)", "goal", "met", "peak memory", "pushed", "requests"]
    lines = [_line(head), _line(["---"] * len(head))]
    lines += [_line(_cells(row)) for row in report["rows"]]
    failures = [f"- {one['part']}, {one['name']}: not measured: {one['error']}" for one in report.get("failures", [])]
    return "\n".join([*lines, *([""] if failures else []), *failures]) + "\n"


def between_marks(text: str, table: str) -> str:
    """Return ``text`` with ``table`` between its marks; raise ValueError when it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table}{END}{after}"


def seconds_text(seconds: float) -> str:
    """Return seconds for people, three digits: ``12.3 s``, ``4.56 ms``, ``789 µs``."""
    for unit, factor in (("s", 1), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{_digits(seconds * factor)} {unit}"
    return f"{_digits(seconds * 1e6)} µs"


def bytes_text(count: float) -> str:
    """Return bytes for people, in decimal units: ``1.2 GB``, ``34 MB``, ``5.6 kB``."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{_digits(count / factor, 2)} {unit}"
    return f"{count:g} B"


def goal_text(row: Mapping[str, Any]) -> str:
    """Return the goal with its direction, or nothing."""
    return "" if row["goal"] is None else f"{'≤' if row.get('at_most') else '≥'} {row['goal']:g}"


def is_limit_row(row: Mapping[str, Any]) -> bool:
    """Return whether the row compares with a limit: its ratio is ours/limit, and small is good."""
    return bool(row.get("at_most"))


def _cells(row: Mapping[str, Any]) -> list[str]:
    low, high = row.get("ratio_spread", [row["ratio"]] * 2)
    met = {None: "", True: "yes", False: "**no**"}[row["met"]]
    pushed = [row.get("bytes_pushed"), row.get("peer_bytes_pushed")]
    requests = [row.get("requests"), row.get("peer_requests")]
    return [
        f"{row['part']}: {row['name']}",
        seconds_text(row["ours"]["median_s"]),
        f"{seconds_text(row['peer']['median_s'])} ({row['peer']['who']})",
        f"{row['ratio']:g} ({low:g} {high:g})",
        goal_text(row),
        met,
        bytes_text(row["ours"]["peak_bytes"]),
        _pair([None if one is None else bytes_text(one) for one in pushed]),
        _pair([None if one is None else f"{one:g}" for one in requests]),
    ]


def _pair(texts: list[str | None]) -> str:
    ours, peer = texts
    if ours is None:
        return ""
    return ours if peer is None else f"{ours} against {peer}"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _digits(number: float, digits: int = 3) -> str:
    return f"{number:.0f}" if number >= 10 ** (digits - 1) else f"{number:.{digits}g}"


def _main(file: str, into: str = "") -> None:
    table = markdown(json.loads(Path(file).read_text()))
    if not into:
        print(table, end="")
        return
    place = Path(into)
    place.write_text(between_marks(place.read_text(), table))


if __name__ == "__main__":
    _main(*sys.argv[1:])
