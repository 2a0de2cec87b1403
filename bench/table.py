"""Rows as tables in Markdown: ``bench.table FILE.json [PAGE.md] [--short]`` prints one, or puts it into a page.

In the page it goes between the lines ``<!-- bench -->`` and ``<!-- /bench -->``, with the rows that are farthest from
their limit. The short one, for the README, has two rows of each part and the columns that a newcomer asks for.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = [
    "between_marks",
    "bytes_text",
    "distance",
    "farthest",
    "farthest_text",
    "figure_text",
    "goal_text",
    "is_limit_row",
    "markdown",
    "seconds_text",
    "short",
    "times_text",
]

_SHORT = 2
_FARTHEST = 10
BEGIN, END = "<!-- bench -->", "<!-- /bench -->"


def markdown(report: Mapping[str, Any]) -> str:
    """Return the table of a report, with what could not be measured below it."""
    head = ["what", "ours", "peer", "ratio (from to)", "goal", "met", "peak memory", "pushed", "requests"]
    lines = [_line(head), _line(["---"] * len(head))]
    lines += [_line(_cells(row)) for row in report["rows"]]
    failures = [f"- {one['part']}, {one['name']}: not measured: {one['error']}" for one in report.get("failures", [])]
    return "\n".join([*lines, *([""] if failures else []), *failures]) + "\n"


def short(report: Mapping[str, Any]) -> str:
    """Return the rows beside a peer that have a goal, or else the first ones, at most two of each part, met or not."""
    peers = [row for row in report["rows"] if not is_limit_row(row)]
    chosen = []
    for part in dict.fromkeys(row["part"] for row in peers):
        own = [row for row in peers if row["part"] == part]
        chosen += sorted(own, key=lambda row: row["goal"] is None)[:_SHORT]
    lines = [_line(["what", "imagespec", "instead", "times faster"]), _line(["---", "---", "---", "---"])]
    for row in chosen:
        peer = f"{seconds_text(row['peer']['median_s'])} ({row['peer']['who']})"
        lines.append(_line([row["name"], seconds_text(row["ours"]["median_s"]), peer, times_text(row["ratio"])]))
    return "\n".join(lines) + "\n"


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


def times_text(ratio: float) -> str:
    """Return a ratio for people, three digits or all before the point: ``0.89``, ``12.3``, ``1,188``."""
    return f"{ratio:,.0f}" if ratio >= 1000 else f"{ratio:.3g}"


def goal_text(row: Mapping[str, Any]) -> str:
    """Return the goal with its direction, or nothing."""
    return "" if row["goal"] is None else f"{'≤' if row.get('at_most') else '≥'} {figure_text(row, row['goal'])}"


def figure_text(row: Mapping[str, Any], figure: float, digits: str = "g") -> str:
    """Return what stands in the place of the ratio: a ratio, or bytes in rows whose ``unit`` says so."""
    return bytes_text(figure) if row.get("unit") == "bytes" else f"{figure:{digits}}"


def is_limit_row(row: Mapping[str, Any]) -> bool:
    """Return whether the row compares with a limit: its ratio is ours/limit, and small is good."""
    return bool(row.get("at_most"))


def distance(row: Mapping[str, Any]) -> tuple[float, str] | None:
    """Return how many times longer than its limit a row takes, and what the limit is; None where none was measured."""
    if "limit" in row:
        return row["ours"]["median_s"] / row["limit"]["median_s"], row["limit"]["what"]
    is_own = str(row["peer"]["who"]).startswith("imagespec")
    if is_limit_row(row) and row.get("unit") != "bytes" and not is_own:
        return row["ratio"], row["peer"]["who"]
    return None


def farthest(rows: Sequence[Mapping[str, Any]]) -> list[tuple[float, str, Mapping[str, Any]]]:
    """Return the rows farthest from their limit, (distance, limit, row), the farthest first."""
    # A row for each peer has the same figure of ours: one of them will do.
    distinct = {(row["part"], row["name"]): row for row in rows if distance(row) is not None}
    found = [(*where, row) for row in distinct.values() if (where := distance(row)) is not None]
    return sorted(found, key=lambda one: -one[0])[:_FARTHEST]


def farthest_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return those rows in Markdown, each with where its time goes."""
    lines = ["### Farthest from the limit", ""]
    for times, limit, row in farthest(rows):
        places = ", ".join(f"{where} {share:.0%}" for where, share in row.get("profile", ()))
        remains = f" ({row['remains']})" if row.get("remains") else ""
        lines.append(
            f"- **{times_text(times)} times** {row['part']}: {row['name']}; the limit: {limit}. {places}{remains}"
        )
    return "\n".join([*lines, ""])


def _cells(row: Mapping[str, Any]) -> list[str]:
    low, high = row.get("ratio_spread", [row["ratio"]] * 2)
    met = {None: "", True: "yes", False: "**no**"}[row["met"]]
    pushed = [row.get("bytes_pushed"), row.get("peer_bytes_pushed")]
    requests = [row.get("requests"), row.get("peer_requests")]
    return [
        f"{row['part']}: {row['name']}",
        seconds_text(row["ours"]["median_s"]),
        f"{seconds_text(row['peer']['median_s'])} ({row['peer']['who']})",
        f"{figure_text(row, row['ratio'])} ({figure_text(row, low)} {figure_text(row, high)})",
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


def _main() -> None:
    parser = argparse.ArgumentParser(prog="bench.table", description="A report's rows as a table in Markdown.")
    parser.add_argument("report", type=Path)
    parser.add_argument("page", type=Path, nargs="?")
    parser.add_argument("--short", action="store_true", help="a few rows of each part, for the README")
    options = parser.parse_args()
    report = json.loads(options.report.read_text())
    table = short(report) if options.short else f"{markdown(report)}\n{farthest_text(report['rows'])}"
    if options.page is None:
        print(table, end="")
    else:
        options.page.write_text(between_marks(options.page.read_text(), table))


if __name__ == "__main__":
    _main()
