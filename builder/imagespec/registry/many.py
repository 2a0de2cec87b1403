"""Many references looked up at once: answers as they come, and one error for a host that does not answer."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator

from imagespec.errors import ImageSpecError, RegistryUnreachable
from imagespec.names import Reference
from imagespec.oci import Descriptor, Platform
from imagespec.registry import Resolver
from imagespec.values import dataclass

__all__ = ["LookUp", "resolve_many"]

# A registry that is near is asked fastest by a few, each of which asks several times over its one connection; one that
# has not answered by then is far, and asked by all.
_FEW = 12
_EACH = 4
_NEAR_S = 0.015


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUp:
    """The answer for one reference: a descriptor, None for absent, or an ``error`` when that cannot be told.

    References on a host that does not answer share one error object, so that a report shows it once.
    """

    reference: Reference
    descriptor: Descriptor | None = None
    error: ImageSpecError | None = None


class _Host:
    """The references of one registry that are still to be looked up, and what is known of it."""

    def __init__(self, references: Iterable[Reference]) -> None:
        self.waiting = deque(references)
        self.down: RegistryUnreachable | None = None
        self.answered = False
        self.workers = 0


def resolve_many(
    registry: Resolver,
    references: Iterable[Reference],
    *,
    platforms: tuple[Platform, ...] = (),
    concurrency: int = 64,
) -> Iterator[LookUp]:
    """Yield one LookUp for each distinct reference, in the order of the answers.

    At most ``concurrency`` look-ups of one registry run at once, each registry with its own, so that a dead one holds
    up nobody else; once it is known to be dead, the rest of its references are answered with the same error. Closing
    the iterator (or Ctrl-C) starts no further look-up.
    """
    by_host: dict[str, list[Reference]] = {}
    for reference in dict.fromkeys(references):
        by_host.setdefault(reference.repository.registry, []).append(reference)
    answers: queue.SimpleQueue[LookUp | BaseException] = queue.SimpleQueue()
    hosts = [_Host(listed) for listed in by_host.values()]
    total = sum(len(host.waiting) for host in hosts)

    def start(host: _Host, workers: int) -> None:
        for _ in range(min(workers - host.workers, len(host.waiting))):
            host.workers += 1
            threading.Thread(target=_work, args=(registry, host, platforms, answers), daemon=True).start()

    for host in hosts:
        start(host, min(concurrency, _FEW, -(-len(host.waiting) // _EACH)))
    try:
        for number in range(total):
            answer = _next(answers, _NEAR_S if number == 0 else None)
            if number == 0:
                for host in hosts:
                    start(host, 0 if host.answered else concurrency)
            answer = answers.get() if answer is None else answer
            if isinstance(answer, BaseException):
                raise answer
            yield answer
    finally:
        for host in hosts:
            host.waiting.clear()


def _next(answers: queue.SimpleQueue[LookUp | BaseException], timeout_s: float | None) -> LookUp | BaseException | None:
    """Return the next answer, None when there is none in time."""
    try:
        return answers.get(timeout=timeout_s)
    except queue.Empty:
        return None


def _work(
    registry: Resolver,
    host: _Host,
    platforms: tuple[Platform, ...],
    answers: queue.SimpleQueue[LookUp | BaseException],
) -> None:
    while True:
        try:
            reference = host.waiting.popleft()
        except IndexError:
            return
        try:
            answer = _look_up(registry, host, reference, platforms)
            host.answered = True
            answers.put(answer)
        except BaseException as error:  # a bug of ours must reach the caller, not end a thread in silence
            answers.put(error)
            return


def _look_up(registry: Resolver, host: _Host, reference: Reference, platforms: tuple[Platform, ...]) -> LookUp:
    if host.down is not None:
        return LookUp(reference=reference, error=host.down)
    try:
        return LookUp(reference=reference, descriptor=registry.resolve(reference, platforms))
    except RegistryUnreachable as error:
        if error.status is not None:
            return LookUp(reference=reference, error=error)
        host.down = host.down or error
        return LookUp(reference=reference, error=host.down)
    except ImageSpecError as error:
        return LookUp(reference=reference, error=error)
