"""A few threads for work that waits for disks and networks; lighter to load than ``concurrent.futures``."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

__all__ = ["Workers", "results"]

_Result = TypeVar("_Result")


def results(tasks: Sequence[Callable[[], _Result]], at_once: int | None = None) -> list[_Result]:
    """Run tasks at once (at most ``at_once``, all when None) and return what they return, in their order.

    Raise what the first that failed raised.
    """
    found: dict[int, _Result] = {}

    def keep(number: int, task: Callable[[], _Result]) -> None:
        found[number] = task()

    with Workers(at_once or len(tasks)) as workers:
        for number, task in enumerate(tasks):
            workers.submit(partial(keep, number, task))
        workers.wait()
    return [found[number] for number in range(len(tasks))]


class Workers:
    """Runs tasks in at most ``count`` threads, in the order given; a context manager that ends with all of them done.

    After a task that raised no other one begins; ``wait`` raises what it raised.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._changed = threading.Condition()
        self._tasks: deque[Callable[[], None]] = deque()
        self._running = 0
        self._error: BaseException | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with self._changed:
            if kind is not None:
                self._tasks.clear()
            self._changed.wait_for(lambda: self._running <= 0)

    def submit(self, task: Callable[[], None]) -> None:
        """Run ``task`` as soon as a thread is free."""
        with self._changed:
            self._tasks.append(task)
            if self._running < self._count:
                # In this order: Ctrl-C between the two must not leave a thread to wait for that never began.
                threading.Thread(target=self._work, daemon=True).start()
                self._running += 1

    def wait(self) -> None:
        """Return when every task is done; raise what the first one that failed raised."""
        with self._changed:
            self._changed.wait_for(lambda: self._running <= 0)
            if self._error is not None:
                raise self._error

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._tasks or self._error is not None:
                    self._tasks.clear()
                    self._running -= 1
                    self._changed.notify_all()
                    return
                task = self._tasks.popleft()
            try:
                task()
            except BaseException as error:  # handed to who waits
                with self._changed:
                    self._error = self._error or error
