"""docs/laws.md names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_law_is_there_and_every_test_that_is_named() -> None:
    page = (ROOT / "docs" / "laws.md").read_text(encoding="utf-8")
    there = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", file.read_text(encoding="utf-8"))
    }
    assert sorted(set(re.findall(r"`(test_\w+)`", page)) - there) == []
    assert [int(one) for one in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)] == list(range(1, 46))
    assert all("`test_" in line for line in page.splitlines() if re.match(r"\| \d", line))
