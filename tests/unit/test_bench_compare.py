"""The regression guard: which rows fell by more than the spread, and what it says and returns."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench.compare import compare

PROGRAM = Path(__file__).resolve().parents[2] / "bench" / "compare"


def one(name: str, ratio: float, low: float, high: float, **more: Any) -> dict[str, Any]:
    return {"part": "p", "name": name, "peer": {"who": "x"}, "ratio": ratio, "ratio_spread": [low, high], **more}


def report(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"rows": list(rows)}


@pytest.mark.parametrize(
    ("before", "after", "fell"),
    [
        (one("a", 10, 9.5, 10.5), one("a", 8.9, 8.8, 9.0), True),
        (one("a", 10, 9.5, 10.5), one("a", 9.1, 9.0, 9.2), False),
        (one("a", 10, 10, 10), one("a", 8.9, 6, 9.0), False),  # the second one is as unsteady
        (one("a", 10, 10, 10), one("a", 9.6, 9.6, 9.6), False),  # 4 %: one run each has no spread of its own
        (one("a", 10, 10, 10), one("a", 9.4, 9.4, 9.4), True),
        (one("a", 10, 9, 11), one("a", 40, 39, 41), False),
        (one("a", 2.0, 1.9, 2.1, at_most=True), one("a", 3.0, 2.9, 3.1, at_most=True), True),
        (one("a", 2.0, 1.9, 2.1, at_most=True), one("a", 1.0, 0.9, 1.1, at_most=True), False),
    ],
)
def test_a_row_fell_when_its_ratio_is_worse_by_more_than_the_spread(
    before: dict[str, Any], after: dict[str, Any], fell: bool
) -> None:
    (change,) = compare(report(before), report(after)).changes
    assert change.fell is fell


def test_rows_are_the_same_when_part_name_and_peer_are() -> None:
    other = {**one("a", 5, 5, 5), "peer": {"who": "y"}}
    found = compare(report(one("a", 1, 1, 1), one("b", 1, 1, 1)), report(other, one("b", 1, 1, 1)))
    assert [change.name for change in found.changes] == ["p: b (x)"]
    assert found.gone == ("p: a (x)",)
    assert found.new == ("p: a (y)",)


def run(folder: Path, before: object, after: object) -> subprocess.CompletedProcess[str]:
    for name, value in (("A.json", before), ("B.json", after)):
        (folder / name).write_text(json.dumps(value))
    return subprocess.run([PROGRAM, "A.json", "B.json"], cwd=folder, capture_output=True, text=True, check=False)


def test_the_program_names_what_fell_and_ends_with_1(tmp_path: Path) -> None:
    done = run(tmp_path, report(one("a", 10, 9, 11), one("b", 2, 2, 2)), report(one("a", 5, 5, 5), one("b", 2, 2, 2)))
    assert done.returncode == 1
    assert done.stdout == "fell: p: a (x): 10 -> 5 (spread 2)\n"
    assert done.stderr == "compare: 2 rows compared, 1 fell, 0 gone, 0 new\n"


def test_the_program_ends_with_0_when_nothing_fell_and_names_rows_that_are_gone(tmp_path: Path) -> None:
    done = run(tmp_path, report(one("a", 10, 9, 11), one("b", 2, 2, 2)), report(one("a", 12, 9, 13)))
    assert (done.returncode, done.stdout) == (0, "gone: p: b (x)\n")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (report(one("a", 1, 1, 1)), report(one("b", 1, 1, 1)), "no row in common"),
        ({"rows": [{}]}, report(), "not two reports"),
        ([], report(), "not two reports"),
    ],
)
def test_nothing_to_compare_is_not_taken_for_no_regression(
    tmp_path: Path, before: object, after: object, said: str
) -> None:
    done = run(tmp_path, before, after)
    assert done.returncode == 2
    assert said in done.stderr
