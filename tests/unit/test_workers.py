"""Tasks at once: their results in their order, and the first failure raised when none runs any more."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest

from imagespec.workers import results


def test_results_come_in_the_order_of_the_tasks_which_run_at_once() -> None:
    both = threading.Barrier(2, timeout=30)

    def first() -> str:
        both.wait()
        return "first"

    def second() -> str:
        both.wait()
        return "second"

    assert results([first, second]) == ["first", "second"]


def test_no_task_is_no_result() -> None:
    assert results([]) == []


def test_a_failure_is_raised_after_the_other_task_has_ended() -> None:
    begun, failing, ended = threading.Event(), threading.Event(), threading.Event()

    def fails() -> None:
        assert begun.wait(30)
        failing.set()
        raise ValueError("no such package")

    def goes_on() -> None:
        begun.set()
        assert failing.wait(30)
        ended.set()

    with pytest.raises(ValueError, match="no such package"):
        results([fails, goes_on])
    assert ended.is_set()


def test_no_more_run_at_once_than_allowed() -> None:
    running, most, lock = [0], [0], threading.Lock()

    def counted(number: int) -> int:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.005)
        with lock:
            running[0] -= 1
        return number

    assert results([partial(counted, number) for number in range(20)], 3) == list(range(20))
    assert most[0] <= 3
