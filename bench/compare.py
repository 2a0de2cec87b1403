"""Regression guard: names the rows of the second report whose ratio is worse than the first's by more than the spread.

``bench/compare A.json B.json``, or ``make bench-compare A=A.json B=B.json``.

A ratio's spread is the distance from the smallest to the largest of its pairs of runs, the wider one of the two reports
counts, and never less than 5 % of the ratio. Ends with 1 when a row fell, with 2 when there is nothing to compare.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.table import is_limit_row

__all__ = ["Change", "Comparison", "compare"]

_LEAST = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A row that both reports have: its two ratios, and how far they may differ by chance."""

    name: str
    before: float
    after: float
    spread: float
    small_is_good: bool

    @property
    def fell(self) -> bool:
        worse = self.after - self.before if self.small_is_good else self.before - self.after
        return worse > self.spread

    def __str__(self) -> str:
        return f"{self.name}: {self.before:g} -> {self.after:g} (spread {self.spread:.3g})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What two reports have in common, and the names that only the first or only the second one has."""

    changes: tuple[Change, ...]
    gone: tuple[str, ...]
    new: tuple[str, ...]


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> Comparison:
    """Return what became of each row of ``before``; rows are the same when part, name and peer are."""
    first, second = _by_name(before["rows"]), _by_name(after["rows"])
    return Comparison(
        changes=tuple(_change(name, first[name], second[name]) for name in first if name in second),
        gone=tuple(name for name in first if name not in second),
        new=tuple(name for name in second if name not in first),
    )


def _by_name(rows: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {f"{row['part']}: {row['name']} ({row['peer']['who']})": row for row in rows}


def _change(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Change:
    widths = [abs(high - low) for low, high in (one.get("ratio_spread", (0.0, 0.0)) for one in (before, after))]
    return Change(
        name=name,
        before=before["ratio"],
        after=after["ratio"],
        spread=max(*widths, _LEAST * abs(before["ratio"])),
        small_is_good=is_limit_row(before),
    )


def main() -> int:
    """Print what fell, and return the exit status."""
    parser = argparse.ArgumentParser(prog="bench/compare", description=__doc__.partition("\n\n")[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    options = parser.parse_args()
    try:
        reports = [json.loads(path.read_text()) for path in (options.before, options.after)]
        found = compare(*reports)
    except (OSError, ValueError, LookupError, TypeError) as error:
        print(f"compare: not two reports of the bench: {error}", file=sys.stderr)
        return 2
    if not found.changes:
        print("compare: the reports have no row in common", file=sys.stderr)
        return 2
    fallen = [change for change in found.changes if change.fell]
    for change in fallen:
        print(f"fell: {change}")
    for name in found.gone:
        print(f"gone: {name}")
    notes = f", {len(found.gone)} gone, {len(found.new)} new"
    print(f"compare: {len(found.changes)} rows compared, {len(fallen)} fell{notes}", file=sys.stderr)
    return 1 if fallen else 0


if __name__ == "__main__":
    sys.exit(main())
