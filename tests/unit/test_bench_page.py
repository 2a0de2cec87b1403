"""The report: its table in Markdown, and its page."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bench.page import page
from bench.rows import Run, row
from bench.table import (
    between_marks,
    bytes_text,
    distance,
    farthest,
    farthest_text,
    markdown,
    seconds_text,
    short,
    times_text,
)

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = (ROOT / "bench" / "report.template.html").read_text()


def made(name: str, ours_s: float, peer_s: float, **more: Any) -> dict[str, Any]:
    ours = [
        Run(
            wall_s=ours_s, peak_bytes=40_000_000, printed={}, command="python -c '1 < 2'", places=more.pop("places", ())
        )
    ]
    peer = [Run(wall_s=peer_s, peak_bytes=90_000_000, printed={})]
    return row("build", name, ours, peer, more.pop("who", "docker buildx"), **more)


def report(*rows: dict[str, Any], failures: tuple[dict[str, str], ...] = ()) -> dict[str, Any]:
    machine = {"system": "Linux", "processors": 2, "python": "3.11.2", "memory_bytes": 8_000_000_000}
    return {"machine": machine, "date": "2026-01-02T03:04:05", "commit": "abc", "rows": rows, "failures": failures}


def test_the_table_shows_goals_that_were_missed() -> None:
    text = markdown(report(made("an edit", 0.1, 0.2, goal=4, bytes_pushed=1500, requests=4, peer_requests=11)))
    assert text.splitlines()[2] == (
        "| build: an edit | 100 ms | 200 ms (docker buildx) | 2 (2 2) | ≥ 4 | **no** | 40 MB | 1.5 kB | 4 against 11 |"
    )


def test_the_table_tells_what_was_not_measured() -> None:
    text = markdown(report(failures=({"part": "many", "name": "cold", "error": "OSError: gone"},)))
    assert text.endswith("\n\n- many, cold: not measured: OSError: gone\n")


def test_the_short_table_has_two_rows_of_a_part_those_with_goals_first() -> None:
    limit_row = made("limit", 1, 1, at_most=True, goal=2)
    text = short(report(made("one", 1, 2), made("two", 1, 3), limit_row, made("three", 0.1, 0.4, goal=9)))
    assert text.splitlines()[2:] == [
        "| three | 100 ms | 400 ms (docker buildx) | 4 |",
        "| one | 1 s | 2 s (docker buildx) | 2 |",
    ]


def test_the_table_goes_between_the_marks_of_a_page() -> None:
    text = "before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n"
    assert between_marks(text, "new\n") == "before\n<!-- bench -->\nnew\n<!-- /bench -->\nafter\n"
    assert between_marks(between_marks(text, "a\n"), "b\n") == between_marks(text, "b\n")
    with pytest.raises(ValueError, match="no <!-- bench -->"):
        between_marks("nothing", "new")


@pytest.mark.parametrize("page", ["README.md", "docs/performance.md"])
def test_the_pages_have_a_place_for_their_table(page: str) -> None:
    text = (ROOT / page).read_text()
    assert "\nnew\n" in between_marks(text, "new\n")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(123.4, "123 s"), (12.34, "12.3 s"), (0.4567, "457 ms"), (0.00123, "1.23 ms"), (0.000_001_5, "1.5 µs")],
)
def test_seconds_for_people(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_bytes_for_people() -> None:
    assert [bytes_text(one) for one in (12, 1200, 34_000_000, 1.25e9)] == ["12 B", "1.2 kB", "34 MB", "1.2 GB"]


def test_the_distance_is_from_the_limit_measured_beside_or_of_a_row_that_is_one() -> None:
    beside = made("a", 0.5, 1.0, limit={"what": "hash", "median_s": 0.1})
    against = made("b", 0.6, 0.2, at_most=True, who="bare Python")
    memory = {**made("c", 1, 1, at_most=True), "ratio": 449, "unit": "bytes"}
    assert distance(beside) == (5.0, "hash")
    assert distance(against) == (3.0, "bare Python")
    assert distance(memory) is None
    assert distance(made("d", 1, 2)) is None
    assert distance(made("e", 2, 1, at_most=True, who="imagespec, all there")) is None
    rows = [
        against,
        memory,
        beside,
        {**beside, "peer": {**beside["peer"], "who": "another"}},
        *(made(f"r{n}", 1, 1, at_most=True) for n in range(20)),
    ]
    assert [one[2]["name"] for one in farthest(rows)[:2]] == ["a", "b"]
    assert len(farthest(rows)) == 10
    text = farthest_text([{**beside, "profile": [["hashing", 0.75]], "remains": "all of it"}])
    assert text.splitlines()[-1] == "- **5 times** build: a; the limit: hash. hashing 75% (all of it)"


def test_a_figure_in_bytes_says_so() -> None:
    memory = {**made("c", 1, 1, at_most=True, goal=150_000_000), "ratio": 47_000_000, "unit": "bytes"}
    line = markdown({"rows": [{**memory, "ratio_spread": [46_000_000, 47_000_000]}]}).splitlines()[-1]
    assert "| 47 MB (46 MB 47 MB) | ≤ 150 MB |" in line


class _Balance(HTMLParser):
    """Holds every element against its end, and collects what is loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "input", "line", "circle", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "circle", "polyline"):
            assert self.open.pop() == tag


GROWTH = {
    "points": [{"size": 100, "ours": 0.1, "peer": 1.0}, {"size": 1000, "ours": 0.2, "peer": 10.0}],
    "slopes": {"ours": "0.1 ms each", "peer": "10 ms each"},
}


def test_the_page_is_whole_escaped_and_loads_nothing() -> None:
    rows = (
        made(
            "a < b",
            0.1,
            0.2,
            goal=4,
            places=(("import <x>", 0.6), ("walk: scan", 0.3)),
            limit={"what": "&", "median_s": 0.01},
        ),
        made("growing", 0.2, 10, **GROWTH),
        made("the limit", 3, 1, at_most=True, goal=2, who="the machine", remains="start-up"),
    )
    text = page(report(*rows, failures=({"part": "many", "name": "cold", "error": "a <b>"},)), TEMPLATE)
    reader = _Balance()
    reader.feed(text)
    assert reader.open == []
    assert reader.loaded == []
    assert "{{ " not in text
    assert "a &lt; b" in text
    assert "a < b" not in text
    assert "import &lt;x&gt;: 60%" in text
    assert "python -c &#x27;1 &lt; 2&#x27;" in text
    assert "0 of 2" in text
    assert "a &lt;b&gt;" in text
    assert text.count("<polyline") == 2
    assert "10 ms each" in text
    assert "prefers-color-scheme: dark" in text


def test_bars_start_at_the_peers_own_speed() -> None:
    text = page(report(made("slower", 2, 1), made("faster", 1, 100)), TEMPLATE)
    bars = re.findall(r'class="bar" style="left:([\d.]+)%;width:([\d.]+)%"', text)
    (slow_left, slow_width), (fast_left, fast_width) = [(float(a), float(b)) for a, b in bars]
    assert slow_left + slow_width == pytest.approx(fast_left, abs=0.1)
    assert fast_left + fast_width == pytest.approx(100, abs=0.1)


def test_a_page_of_nothing_is_a_page() -> None:
    text = page(report(), TEMPLATE)
    assert "Nothing was compared" in text
    assert "0 of 0" in text


@pytest.mark.parametrize(
    ("ratio", "text"), [(0.0, "0"), (0.891, "0.891"), (12.345, "12.3"), (999.4, "999"), (1187.94, "1,188")]
)
def test_a_ratio_for_people(ratio: float, text: str) -> None:
    assert times_text(ratio) == text
