"""Many references looked up at once: answers as they come, and one error for a host that does not answer."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator

from imagespec.errors import ImageSpecError, RegistryUnreachable
from imagespec.names import Reference
from imagespec.oci import Descriptor, Platform
from imagespec.registry import Resolver
from imagespec.values import dataclass

__all__ = ["LookUp", "resolve_many"]

# A registry that is near is asked fastest by a few, of which one more begins when so many references wait for each; one
# that has not answered by then is far, and asked by all.
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

    def __init__(self) -> None:
        self.waiting: queue.SimpleQueue[Reference | None] = queue.SimpleQueue()
        self.down: RegistryUnreachable | None = None
        self.answered = False
        self.workers = 0
        self.is_over = False

    def end(self) -> None:
        """Let every worker end once nothing is waiting, or at once when all is over."""
        for _ in range(self.workers):
            self.waiting.put(None)


def resolve_many(
    registry: Resolver,
    references: Iterable[Reference],
    *,
    platforms: tuple[Platform, ...] = (),
    concurrency: int = 64,
) -> Iterator[LookUp]:
    """Yield one LookUp for each distinct reference, in the order of the answers.

    Asking begins with the first reference, while ``references`` goes on to work out others; what it raises is raised.
    At most ``concurrency`` look-ups of one registry run at once, each registry with its own, so that a dead one holds
    up nobody else; once it is known to be dead, the rest of its references are answered with the same error. Closing
    the iterator (or Ctrl-C) starts no further look-up.
    """
    answers: queue.SimpleQueue[LookUp | BaseException] = queue.SimpleQueue()
    hosts: dict[str, _Host] = {}
    seen: set[Reference] = set()
    begun = 0.0

    def start(host: _Host, workers: int) -> None:
        for _ in range(workers - host.workers):
            host.workers += 1
            threading.Thread(target=_work, args=(registry, host, platforms, answers), daemon=True).start()

    try:
        for reference in references:
            if reference in seen:
                continue
            begun = begun or time.monotonic()
            seen.add(reference)
            host = hosts.setdefault(reference.repository.registry, _Host())
            host.waiting.put(reference)
            start(host, min(concurrency, _FEW, -(-host.waiting.qsize() // _EACH)))
        first = _next(answers, max(0.0, begun + _NEAR_S - time.monotonic())) if seen else None
        for host in hosts.values():
            start(host, 0 if host.answered else min(concurrency, host.workers + host.waiting.qsize()))
            host.end()
        for number in range(len(seen)):
            answer = first if number == 0 and first is not None else answers.get()
            if isinstance(answer, BaseException):
                raise answer
            yield answer
    finally:
        for host in hosts.values():
            host.is_over = True
            host.end()


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
        reference = host.waiting.get()
        if reference is None or host.is_over:
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
