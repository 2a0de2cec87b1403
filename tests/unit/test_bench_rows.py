"""The bench's own arithmetic: rows, ratios pair by pair, where a process spends its time, the line through sizes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

from bench import fit, profiled
from bench.__main__ import measured
from bench.rows import Run, Runner, attempts, failure, in_turn, limit, only_step, patience_s, row, steps_seen


def runs(*seconds: float, peak: int = 1000, **printed: float) -> list[Run]:
    return [Run(wall_s=one, peak_bytes=peak + index, printed=printed) for index, one in enumerate(seconds)]


def test_a_ratio_is_the_median_of_pairs_and_not_a_pair_of_medians() -> None:
    made = row("p", "n", runs(1, 2, 4), runs(10, 10, 80), "peer", goal=10)
    assert (made["ratio"], made["ratio_spread"], made["met"]) == (10, [5, 20], True)
    assert made["ours"]["median_s"] == 2
    assert made["peer"]["who"] == "peer"
    assert made["ours"]["peak_bytes"] == 1002


def test_runs_of_which_one_side_has_more_stand_beside_the_median_of_the_other() -> None:
    more_of_ours = row("p", "n", runs(1, 2, 4), runs(10, 30), "peer")
    assert (more_of_ours["ratio"], more_of_ours["ratio_spread"]) == (10, [5, 20])
    more_of_the_peers = row("p", "n", runs(1, 3), runs(2, 4, 20), "peer")
    assert (more_of_the_peers["ratio"], more_of_the_peers["ratio_spread"]) == (2, [1, 10])


def test_a_goal_that_is_missed_is_marked_and_none_is_not() -> None:
    assert row("p", "n", runs(1), runs(9.9), "peer", goal=10)["met"] is False
    assert row("p", "n", runs(1), runs(9.9), "peer")["met"] is None


def test_against_a_limit_the_ratio_is_turned_around() -> None:
    made = row("p", "n", runs(6), runs(2), "limit", goal=2, at_most=True)
    assert (made["ratio"], made["met"], made["at_most"]) == (3, False, True)


def test_a_figure_that_was_printed_is_taken_instead_of_the_whole_process() -> None:
    made = row(
        "p", "n", runs(5, tag=0.5), runs(5, tag=2), "peer", what="tag", limit=limit("hash", runs(9, tag=0.1), "tag")
    )
    assert made["ratio"] == 4
    assert made["limit"] == {"what": "hash", "median_s": 0.1}


def test_runs_are_taken_in_turn_after_one_that_does_not_count() -> None:
    order: list[str] = []
    commands = [
        Runner(who=who, command=["true"], before=lambda who=who: order.append(who))  # type: ignore[misc]
        for who in ("a", "b")
    ]
    found = in_turn(commands, 2)
    assert "".join(order) == "ababab"
    assert [len(one) for one in found] == [2, 2]


def test_on_a_busy_machine_there_are_fewer_rounds_but_one_at_least() -> None:
    now = iter(range(0, 1000, 25))
    runs = in_turn([Runner(who="a", command=["true"])], 9, clock=lambda: next(now))
    assert len(runs[0]) == 2  # the clock shows 0 at the start, then 25, and 50 when the 40 s of patience are over
    token = patience_s.set(0.0)
    try:
        assert len(in_turn([Runner(who="a", command=["true"])], 9)[0]) == 1
    finally:
        patience_s.reset(token)


def test_a_run_that_fails_says_what_it_said() -> None:
    with pytest.raises(RuntimeError, match="peer: exit status 3: told"):
        Runner(who="peer", command=[sys.executable, "-c", "print('told'); raise SystemExit(3)"]).run()
    assert Runner(who="peer", command=["sh", "-c", "exit 3"], statuses=(3,)).run().wall_s > 0


def test_a_run_that_fails_is_made_once_more_and_not_twice(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    fails_once = Runner(who="peer", command=["sh", "-c", f"test -e {mark} || {{ touch {mark}; exit 1; }}"])
    assert len(in_turn([fails_once], 1)[0]) == 1
    with pytest.raises(RuntimeError, match="exit status 1"):
        in_turn([Runner(who="peer", command=["false"])], 1)


def test_our_own_commands_are_sampled_once() -> None:
    text = "import sys, time; print('bench_x=2.5'); time.sleep(0.2); assert sys.argv == ['-c', 'one']"
    ours, peer = in_turn(
        [
            Runner(who="imagespec", command=[sys.executable, "-c", text, "one"]),
            Runner(who="peer", command=[sys.executable, "-c", "pass"]),
        ],
        1,
    )
    made = row("p", "n", ours, peer, "peer", what="x") if "x" in peer[0].printed else row("p", "n", ours, peer, "peer")
    places = dict(made["profile"])
    assert places["the script"] > 0.3
    assert sum(places.values()) == pytest.approx(1, abs=0.05)
    assert peer[0].places == ()


def test_a_place_is_the_package_being_imported_else_our_innermost_function() -> None:
    def inside(name: str, call: Any) -> Any:
        return eval(compile("call()", "file.py", "eval"), {"__name__": name, "call": call})

    def look() -> str:
        return profiled.place_of(sys._getframe(1))

    assert inside("imagespec.sources.walk", look) == "sources.walk: <module>"
    assert inside("imagespec.sources.walk", lambda: inside("hashlib", look)).startswith("sources.walk: ")
    assert inside("hashlib", look) == "hashlib: <module>"
    assert profiled.place_of(None) == "the script"


def test_a_step_that_fails_loses_no_other_rows() -> None:
    def good() -> Iterator[dict[str, Any]]:
        yield {"name": "first"}
        raise OSError("gone")

    def other() -> list[dict[str, Any]]:
        return [{"name": "second"}]

    found = list(attempts("p", [good, other]))
    good_command, other_command = ({"command": f"make bench ONLY=p STEP={name}"} for name in ("good", "other"))
    assert found == [
        {"name": "first", **good_command},
        {"part": "p", "name": "good", "error": "OSError: gone", **good_command},
        {"name": "second", **other_command},
    ]


def test_one_step_alone_is_done_and_all_are_told_of() -> None:
    def one() -> list[dict[str, Any]]:
        return [{"name": "first"}]

    def other() -> list[dict[str, Any]]:
        raise AssertionError("not asked for")

    def chosen() -> list[str]:
        only_step.set("one")
        steps_seen.set(seen := [])
        assert [row["name"] for row in attempts("p", [one, other])] == ["first"]
        return seen

    assert copy_context().run(chosen) == ["one", "other"]


def test_a_command_that_hangs_is_ended_with_all_that_it_started_and_not_tried_again(tmp_path: Path) -> None:
    script = f"echo begun >>{tmp_path}/count; sleep 300 & echo $! >{tmp_path}/child; wait"
    hanging = Runner(who="slow", command=["sh", "-c", script], hangs_s=3)
    with pytest.raises(TimeoutError, match=r"slow: ended after 3 s"):
        in_turn([hanging], 1)
    assert (tmp_path / "count").read_text() == "begun\n"
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 10
    while _is_there(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _is_there(child)


def _is_there(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
        # One that has ended may wait to be taken note of; only Linux tells that here.
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return False
    except FileNotFoundError:
        return not Path("/proc/self").exists()
    return state != "Z"


def test_a_part_that_cannot_start_loses_no_other_part() -> None:
    found = list(measured("p", ("no_such_part", "neither_this"), quick=True))
    assert [(one["part"], one["name"]) for one in found] == [("p", "no_such_part"), ("p", "neither_this")]
    assert found[0]["error"].startswith("ModuleNotFoundError: ")


def test_what_failed_keeps_the_end_of_what_was_said() -> None:
    told = failure("p", "n", RuntimeError("peer: exit status 1: " + "x" * 5000 + " the reason"))["error"]
    assert told.startswith("RuntimeError: peer: exit status 1: ")
    assert told.endswith(" the reason")
    assert len(told) < 500


def test_a_line_through_sizes_gives_what_is_fixed_and_what_each_one_costs() -> None:
    line = fit.fit([(10, 1.1), (100, 2.0), (1000, 11.0)])
    assert line.fixed_s == pytest.approx(1.0)
    assert line.each_s == pytest.approx(0.01)
    assert line.fitted == pytest.approx(1.0)


def test_small_sizes_count_as_much_as_large_ones() -> None:
    # One slow run at the largest size: a line through plain squares would say that nothing is fixed (0.00 s).
    assert fit.fit([(1, 1.01), (10, 1.1), (100, 20.0)]).fixed_s > 0.5


def test_a_slope_needs_two_sizes() -> None:
    with pytest.raises(ValueError, match="two sizes"):
        fit.fit([(10, 1.0), (10, 2.0)])


@pytest.mark.parametrize("power", [0, 1, 2])
def test_the_exponent_tells_how_costs_grow(power: int) -> None:
    assert fit.exponent([(size, 3.0 * size**power) for size in (10, 100, 1000)]) == pytest.approx(power)
