"""Many images at once: all are looked up together, each absent plan is built once, parents first, several at a time."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Protocol

from imagespec.builders import Cancellation
from imagespec.endings import Ending
from imagespec.ensure import (
    BuildRequest,
    BuildResult,
    Clock,
    Outcome,
    build_absent,
    reason_to_build,
    result_of,
    stood_in_for,
)
from imagespec.errors import Cancelled, EngineError, ImageSpecError
from imagespec.events import Emit, Event, ImageChanged, ImageState, InImage
from imagespec.fingerprint import environment_reference
from imagespec.flyte_tags.stand_ins import look_up_stand_ins
from imagespec.graph import Graph, Node, graph_of
from imagespec.names import Reference
from imagespec.oci import Descriptor
from imagespec.registry import Resolver
from imagespec.registry.copies import copy_image
from imagespec.registry.many import LookUp, resolve_many
from imagespec.snapshot import Files

__all__ = ["Locks", "NoLocks", "ensure_all", "look_up_all"]

_WORTH_TELLING_S = 0.1
_SIGNAL_DELAY_S = 0.2


class Locks(Protocol):
    """Keeps two builds of one name apart."""

    def hold(
        self, target: Reference, cancellation: Cancellation, waiting: Callable[[str], None]
    ) -> AbstractContextManager[None]:
        """Return a block in which nobody else builds ``target``; ``waiting`` hears who does, if somebody does."""
        ...


class NoLocks:
    """For callers who know that nobody else builds."""

    @contextlib.contextmanager
    def hold(self, target: Reference, cancellation: Cancellation, waiting: Callable[[str], None]) -> Iterator[None]:
        """Return a block that anybody may enter."""
        yield


def ensure_all(
    requests: Sequence[BuildRequest],
    files: Files,
    *,
    emit: Emit,
    clock: Clock,
    jobs: int = 1,
    locks: Locks | None = None,
    cancellation: Cancellation | None = None,
) -> tuple[Ending, ...]:
    """Return what became of every request, in their order; no error of one image is raised, each is in its Ending.

    Images are looked up all together, then what is absent is built, ``jobs`` at a time, what others are based on
    first; a failure stops only what depends on it. Ctrl-C and ``cancellation`` stop the builds under way: their
    endings, and those of what was not begun, have Cancelled as their error.
    """
    run = _Run(graph_of(requests), files, emit, clock, locks or NoLocks(), cancellation or Cancellation())
    try:
        run.look_up()
        run.build(jobs)
    except KeyboardInterrupt:
        run.cancellation.cancel()
        run.wait()
        run.raise_bug()
    except BaseException:
        run.cancellation.cancel()
        # Whoever ends the program so (flytekit does, at Ctrl-C) must not leave clients that build and push.
        run.wait()
        raise
    run.stop_the_rest()
    return tuple(run.ending_of(request) for request in requests)


def look_up_all(requests: Iterable[BuildRequest]) -> Iterator[LookUp]:
    """Yield the answer for each distinct reference of the requests, all of them asked together."""
    groups: dict[int, tuple[Resolver, list[Reference]]] = {}
    for request in requests:
        groups.setdefault(id(request.images), (request.images, []))[1].append(request.reference)
    for images, references in groups.values():
        yield from resolve_many(images, references)


class _Run:
    """One call of ``ensure_all``. One thread at a time changes its state; others only build."""

    def __init__(
        self, graph: Graph, files: Files, emit: Emit, clock: Clock, locks: Locks, cancellation: Cancellation
    ) -> None:
        self.cancellation = cancellation
        self._graph = graph
        self._files = files
        self._emit = emit
        self._clock = clock
        self._locks = locks
        self._started = clock()
        self._found: dict[Reference, Descriptor] = {}
        self._looked_up: dict[Reference, float] = {}
        self._endings: dict[Reference, Ending] = {}
        self._stood_in: set[Reference] = set()
        self._running: set[str] = set()
        self._kept: dict[str, Reference | None] = {}
        self._environments: dict[Reference, str] = {}
        self._done: queue.SimpleQueue[tuple[Node, list[Ending] | BaseException]] = queue.SimpleQueue()
        self._has_begun = False
        self._has_ended = threading.Event()
        self._bug: BaseException | None = None

    def ending_of(self, request: BuildRequest) -> Ending:
        """Return what became of the request's name."""
        return self._endings[request.reference]

    def look_up(self) -> None:
        """Ask for everything that is wanted, then for the parents of what has to be built, each time all together."""
        wave = [node for node in self._graph.nodes.values() if node.is_wanted]
        for request in (request for node in wave for request in node.requests):
            self._emit(ImageChanged(image=request.name, state=ImageState.WAITING))
        asked: set[str] = set()
        while wave:
            asked.update(node.key for node in wave)
            self._ask([request for node in wave for request in node.requests])
            parents = {node.parent for node in wave if node.parent and self._must_build(node)}
            wave = [self._graph.nodes[key] for key in parents - asked]
        self._ask_for_stand_ins()

    def _ask_for_stand_ins(self) -> None:
        """Ask for what is absent under its own name under the other one, where the requests say so, all together."""
        missing = [one for node in self._graph.nodes.values() if node.is_wanted for one in self._missing(node)]
        stand_ins = [one.stand_in for one in missing if one.stand_in is not None and not one.is_forced]
        found = look_up_stand_ins(stand_ins, self._emit) if stand_ins else {}
        # Children first: what one of them is to be built on must be of our own making.
        for node in reversed(list(self._graph.nodes.values())) if found else ():
            if any(self._is_needed(child) for child in self._graph.children(node.key)):
                continue
            for request in self._missing(node):
                if request.reference in found:
                    self._take_stand_in(request, found[request.reference])

    def _take_stand_in(self, request: BuildRequest, answer: LookUp) -> None:
        result = None
        if answer.descriptor is not None:
            other = answer.reference.with_digest(answer.descriptor.digest)
            result = stood_in_for(request, other, (self._lookup_time(request),))
            self._stood_in.add(request.reference)
        self._end(Ending(request=request, result=result, error=answer.error))

    def _is_needed(self, node: Node) -> bool:
        """Return whether the node has to be built: it is wanted, or something is that is based on it."""
        if not self._must_build(node):
            return False
        return node.is_wanted or any(self._is_needed(child) for child in self._graph.children(node.key))

    def _ask(self, requests: list[BuildRequest]) -> None:
        by_reference = {request.reference: request for request in requests}
        for answer in look_up_all(requests):
            request = by_reference[answer.reference]
            self._looked_up[answer.reference] = self._clock() - self._started
            if answer.error is not None:
                self._end(Ending(request=request, error=answer.error))
            elif answer.descriptor is not None:
                self._found[answer.reference] = answer.descriptor
                if not request.is_forced:
                    result = result_of(
                        request, answer.descriptor, Outcome.REUSED, "it exists", (self._lookup_time(request),)
                    )
                    self._end(Ending(request=request, result=result))

    def _lookup_time(self, request: BuildRequest) -> tuple[str, float]:
        return ("look up", self._looked_up[request.reference])

    def _missing(self, node: Node) -> list[BuildRequest]:
        return [request for request in node.requests if request.reference not in self._endings]

    def _origin(self, node: Node) -> Reference | None:
        """Return where the node's image stands already, or None; what another builder made is no origin."""
        own = (request.reference for request in node.requests if request.reference not in self._stood_in)
        ended = (self._endings.get(reference) for reference in own)
        return next((one.result.reference for one in ended if one and one.result), None)

    def _must_build(self, node: Node) -> bool:
        return bool(self._missing(node)) and (node.is_forced or self._origin(node) is None)

    def build(self, jobs: int) -> None:
        """Build and tag what is missing, ``jobs`` at a time."""
        # Ctrl-C strikes between any two instructions of the main thread: a build noted as running but not begun, or
        # done but not noted, would be waited for in vain. So what keeps count has a thread of its own.
        threading.Thread(target=self._keep_count, args=(jobs,), daemon=True).start()
        self._wait_for_the_end()
        self.raise_bug()

    def wait(self) -> None:
        """Wait until what is under way has stopped."""
        # A thread that had not begun when the run was cancelled finds that, and begins nothing.
        if self._has_begun:
            self._wait_for_the_end()

    def _wait_for_the_end(self) -> None:
        # With a time limit: signals were seen that did not wake a main thread that waited without one.
        while not self._has_ended.wait(_SIGNAL_DELAY_S):
            pass

    def raise_bug(self) -> None:
        """Raise the error of ours that ended the building, if one did."""
        if self._bug is not None:
            raise self._bug

    def _keep_count(self, jobs: int) -> None:
        self._has_begun = True
        try:
            self._build_all(jobs)
        except BaseException as error:  # a bug of ours must reach the caller, not end a thread in silence
            self._bug = error
        finally:
            self._has_ended.set()

    def _build_all(self, jobs: int) -> None:
        waiting = self._to_make()
        while waiting or self._running:
            for key, node in list(waiting.items()):
                if self.cancellation.cancelled or len(self._running) >= jobs:
                    break
                if node.parent in waiting or node.parent in self._running or self._is_made_beside(node):
                    continue
                del waiting[key]
                self._begin(node)
            if self._running:
                self._take()
            elif self.cancellation.cancelled:
                return

    def _is_made_beside(self, node: Node) -> bool:
        """Return whether another image with the same environment is being built: then it is there for this one too."""
        if node.key not in self._kept:
            self._kept[node.key] = environment_reference(node.first.plan, node.first.reference)
        kept = self._kept[node.key]
        return kept is not None and self._environments.setdefault(kept, node.key) in self._running

    def _to_make(self) -> dict[str, Node]:
        """Return what has to be made: what is wanted and missing, and what that is based on, parents first."""
        needed: set[str] = set()
        for node in self._graph.nodes.values():
            if node.is_wanted and self._missing(node) and self._is_buildable(node):
                needed.add(node.key)
                for ancestor in self._graph.ancestors(node.key) if self._must_build(node) else ():
                    if not self._must_build(ancestor) or not self._is_buildable(ancestor):
                        break
                    needed.add(ancestor.key)
        return {key: node for key, node in self._graph.nodes.items() if key in needed}

    def _is_buildable(self, node: Node) -> bool:
        """Return whether the builder can carry out the plan; if it cannot, that is the node's end."""
        if not self._must_build(node):
            return True
        try:
            node.first.builder.check(node.first.plan)
        except ImageSpecError as error:
            for request in self._missing(node):
                self._end(Ending(request=request, error=error))
            return False
        return True

    def _begin(self, node: Node) -> None:
        """Start a thread for the node, unless what it is based on is not there."""
        missing, origin = self._missing(node), None if node.is_forced else self._origin(node)
        base = None
        if node.parent and origin is None:
            parent = self._graph.nodes[node.parent]
            base = self._origin(parent)
            if base is None:
                failed = self._endings[parent.first.reference]
                for request in missing:
                    self._end(Ending(request=request, error=failed.error, blocked_by=failed.blocked_by or parent.first))
                return
        self._running.add(node.key)
        arguments = (node, missing, origin, base, self._clock())
        threading.Thread(target=self._work, args=arguments, daemon=True).start()

    def _take(self) -> None:
        node, made = self._done.get()
        self._running.discard(node.key)
        if isinstance(made, BaseException):
            raise made
        for ending in made:
            self._end(ending)

    def stop_the_rest(self) -> None:
        """End what was not begun."""
        for node in self._graph.nodes.values():
            for request in self._missing(node) if node.is_wanted else ():
                self._end(Ending(request=request, error=Cancelled(f"build {request.name}: stopped before it began")))

    def _end(self, ending: Ending) -> None:
        self._endings[ending.request.reference] = ending
        self._emit(ImageChanged(image=ending.request.name, state=ending.state, detail=ending.detail))

    def _work(
        self, node: Node, missing: list[BuildRequest], origin: Reference | None, base: Reference | None, queued: float
    ) -> None:
        """Make the node, in a thread of its own, and hand its endings back."""
        try:
            self._done.put((node, list(self._made(missing, origin, base, queued))))
        except BaseException as error:  # a bug of ours must reach the caller, not end a thread in silence
            self._done.put((node, error))

    def _made(
        self, missing: list[BuildRequest], origin: Reference | None, base: Reference | None, queued: float
    ) -> Iterator[Ending]:
        source, rest = missing[0], missing
        if origin is None:
            ending = _guarded(source, partial(self._built, source, base, queued))
            yield ending
            if ending.result is None:
                yield from (Ending(request=request, error=ending.error) for request in missing[1:])
                return
            origin, rest = ending.result.reference, missing[1:]
        for request in rest:
            yield _guarded(request, partial(self._tagged, source, origin, request))

    def _built(self, request: BuildRequest, base: Reference | None, queued: float) -> BuildResult:
        def tell(detail: str) -> None:
            self._emit(ImageChanged(image=request.name, state=ImageState.BUILDING, detail=detail))

        spent = [self._lookup_time(request)]
        with self._locks.hold(
            request.reference, self.cancellation, lambda owner: tell(f"waiting for {owner}, which builds it")
        ):
            tell("")
            waited = self._clock() - queued
            spent += [("wait", waited)] if waited >= _WORTH_TELLING_S else []
            other = None if request.is_forced else request.images.resolve(request.reference)
            if other is not None:
                return result_of(request, other, Outcome.REUSED, "another build made it meanwhile", tuple(spent))
            return build_absent(
                request,
                self._files,
                base=base,
                reason=reason_to_build(request, exists=request.reference in self._found),
                spent=tuple(spent),
                emit=lambda event: self._emit(_in_image(request.name, event)),
                clock=self._clock,
            )

    def _tagged(self, source: BuildRequest, origin: Reference, request: BuildRequest) -> BuildResult:
        if source.registry is None or request.registry is None:
            raise EngineError(f"tag {request.name}: a local image cannot be copied to another name")
        self._emit(ImageChanged(image=request.name, state=ImageState.BUILDING, detail=f"copying {origin}"))
        began = self._clock()
        copied = copy_image(source.registry, origin, request.registry, request.reference)
        spent = (self._lookup_time(request), ("copy", self._clock() - began))
        return result_of(request, copied, Outcome.TAGGED, f"the same plan as {origin.repository}", spent)


def _guarded(request: BuildRequest, make: Callable[[], BuildResult]) -> Ending:
    try:
        return Ending(request=request, result=make())
    except ImageSpecError as error:
        return Ending(request=request, error=error)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        problem = EngineError(
            f"build {request.name}: {place}{(error.strerror or str(error)).lower()}",
            hint="free space in the cache folder, or set IMAGESPEC_CACHE to another one",
        )
        problem.__cause__ = error
        return Ending(request=request, error=problem)


def _in_image(image: str, event: Event) -> Event:
    return event if isinstance(event, (ImageChanged, InImage)) else InImage(image=image, event=event)
