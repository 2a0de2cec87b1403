"""Many requests: equal plans once, parents first, several at a time, failures that stop only what depends on them."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from imagespec.batch import ensure_all
from imagespec.builders import BuildOptions, Cancellation
from imagespec.endings import Ending
from imagespec.ensure import BuildRequest
from imagespec.errors import BuildFailed, Cancelled, RegistryUnreachable, Unsupported
from imagespec.events import Event, ImageChanged, ImageState
from imagespec.fingerprint import fingerprint_of, tag_of
from imagespec.graph import graph_of
from imagespec.names import Reference, Repository
from imagespec.plan import BuildPlan, Parent
from imagespec.planner import make_plan
from imagespec.snapshot import Snapshot
from imagespec.spec import Declaration
from imagespec.target_lock import TargetLocks
from imagespec.workspace import Workspace
from tests.fakes.builder import FakeBuilder
from tests.fakes.registry import FakeRegistry

NOTHING = Snapshot(trees=(), requirements=None, base_digest=None)


class World:
    """A registry, a builder, and requests for specs of both."""

    def __init__(self, before: Callable[[Reference], None] | None = None) -> None:
        self.registry = FakeRegistry()
        self.builder = FakeBuilder(self.registry, before)
        self.events: list[Event] = []

    def request(self, name: str, parent: BuildRequest | None = None, **fields: Any) -> BuildRequest:
        base = Declaration(name="parent") if parent is not None else None
        declaration = Declaration(name=name, base_image=base, **fields)
        as_parent = Parent(plan=parent.plan, fingerprint=parent.fingerprint.digest) if parent is not None else None
        plan: BuildPlan = make_plan(declaration, NOTHING, as_parent)
        fingerprint = fingerprint_of(plan)
        return BuildRequest(
            plan=plan,
            fingerprint=fingerprint,
            reference=Reference(Repository.parse(f"r.test/{name}"), tag_of(fingerprint, None)),
            images=self.registry,
            builder=self.builder,
            options=BuildOptions(),
            parent=parent,
            registry=self.registry,
        )

    def ensure(self, *requests: BuildRequest, **options: Any) -> tuple[Ending, ...]:
        files = Workspace(cwd="/")
        return ensure_all(requests, files, **{"emit": self.events.append, "clock": lambda: 0.0, **options})

    @property
    def built(self) -> list[str]:
        return [target.repository.path for target, _ in self.builder.built]

    def asked(self) -> list[str]:
        return [what for method, what in self.registry.calls if method == "resolve"]


def states(endings: tuple[Ending, ...]) -> list[str]:
    return [ending.state.value for ending in endings]


def test_equal_plans_are_one_node_whatever_they_are_called() -> None:
    world = World()
    a, b, other = world.request("a"), world.request("b"), world.request("c", env={"X": "1"})
    graph = graph_of([a, b, other, a])
    assert [[one.name for one in node.requests] for node in graph.nodes.values()] == [[a.name, b.name], [other.name]]


def test_a_parent_comes_first_and_is_wanted_only_if_somebody_asks_for_it() -> None:
    world = World()
    parent = world.request("p")
    child = world.request("c", parent)
    alone, both = graph_of([child]), graph_of([child, parent])
    assert [(node.first.name, node.is_wanted) for node in alone.nodes.values()] == [
        (parent.name, False),
        (child.name, True),
    ]
    assert all(node.is_wanted for node in both.nodes.values())
    assert [node.first for node in both.ancestors(list(both.nodes)[1])] == [parent]


def test_an_equal_plan_is_built_once_and_tagged_for_each_name() -> None:
    world = World()
    a, b = world.request("a"), world.request("b")
    endings = world.ensure(a, b, a)
    assert states(endings) == ["built", "tagged", "built"]
    assert world.built == ["a"]
    digests = {str(world.registry.resolve(one.reference).digest) for one in (a, b)}  # type: ignore[union-attr]
    assert len(digests) == 1
    assert {ending.result.reference.digest for ending in endings if ending.result} == {
        world.registry.resolve(a.reference).digest  # type: ignore[union-attr]
    }


def test_what_exists_under_one_name_is_not_built_for_another() -> None:
    world = World()
    a, b = world.request("a"), world.request("b")
    world.ensure(a)
    assert states(world.ensure(b, a)) == ["tagged", "reused"]
    assert world.built == ["a"]


def test_when_all_exist_each_reference_is_asked_once_and_no_parent() -> None:
    world = World()
    parent = world.request("p")
    children = [world.request("c", parent, env={"I": str(i)}) for i in range(5)]
    world.ensure(*children)
    world.registry.calls.clear()
    assert set(states(world.ensure(*children, *children))) == {"reused"}
    assert sorted(world.asked()) == sorted(str(child.reference) for child in children)


def test_children_are_built_on_their_parents_digest_after_it() -> None:
    world = World()
    parent = world.request("p")
    children = [world.request("c", parent, env={"I": str(i)}) for i in range(4)]
    world.ensure(*children, jobs=3)
    assert world.built[0] == "p"
    found = world.registry.resolve(parent.reference)
    assert found is not None
    assert {base for target, base in world.builder.built[1:]} == {parent.reference.with_digest(found.digest)}


def test_builds_run_side_by_side_but_no_more_than_jobs() -> None:
    both = threading.Barrier(2, timeout=10)
    world = World(before=lambda target: void(both.wait()))
    requests = [world.request("x", env={"I": str(i)}) for i in range(4)]
    assert set(states(world.ensure(*requests, jobs=2))) == {"built"}
    assert world.builder.most_at_once == 2


def void(value: object) -> None:
    """Take a value that nobody needs."""


def test_a_failure_stops_only_what_depends_on_it() -> None:
    def before(target: Reference) -> None:
        if target.repository.path == "bad":
            raise BuildFailed("build: it broke")

    world = World(before)
    bad, good = world.request("bad"), world.request("good", env={"A": "1"})
    child = world.request("child", bad)
    grandchild = world.request("grandchild", child, env={"B": "1"})
    endings = world.ensure(grandchild, good, child, bad, jobs=2)
    assert states(endings) == ["blocked", "built", "blocked", "failed"]
    assert endings[0].blocked_by == bad
    assert endings[0].error is endings[3].error


def test_a_parent_that_nobody_asked_for_blocks_with_its_own_error() -> None:
    def before(target: Reference) -> None:
        raise BuildFailed("build: it broke")

    world = World(before)
    parent = world.request("p")
    (ending,) = world.ensure(world.request("c", parent))
    assert (ending.state, str(ending.error)) == (ImageState.BLOCKED, "build: it broke")


def test_what_cannot_be_looked_up_fails_and_is_not_built() -> None:
    world = World()
    world.registry.error = RegistryUnreachable("look up: no answer")
    endings = world.ensure(world.request("a"), world.request("b", env={"A": "1"}))
    assert states(endings) == ["failed", "failed"]
    assert world.built == []


def test_a_plan_that_the_builder_refuses_fails_before_its_parent_is_built() -> None:
    class Refusing(FakeBuilder):
        def check(self, plan: BuildPlan) -> None:
            if dict(plan.config.env).get("NO"):
                raise Unsupported("env: no", builder="fake", field="env")

    world = World()
    world.builder = Refusing(world.registry)
    parent = world.request("p")
    (ending,) = world.ensure(world.request("c", parent, env={"NO": "1"}))
    assert isinstance(ending.error, Unsupported)
    assert world.built == []


def test_ctrl_c_ends_what_runs_and_what_was_not_begun_as_stopped() -> None:
    cancellation = Cancellation()

    def before(target: Reference) -> None:
        cancellation.cancel()
        raise Cancelled("build: stopped")

    world = World(before)
    requests = [world.request("x", env={"I": str(i)}) for i in range(5)]
    endings = world.ensure(*requests, jobs=2, cancellation=cancellation)
    assert set(states(endings)) == {"stopped"}
    assert world.built == []


@contextmanager
def interrupts(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Let ``handler`` hear of Ctrl-C, and end what waits in vain."""

    def too_late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    previous = {signal.SIGINT: handler, signal.SIGALRM: too_late}
    previous = {number: signal.signal(number, one) for number, one in previous.items()}
    signal.alarm(20)
    try:
        yield
    finally:
        signal.alarm(0)
        for number, one in previous.items():
            signal.signal(number, one)


@pytest.mark.parametrize("moment", range(2, 8))
def test_ctrl_c_between_any_two_instructions_is_not_waited_for_in_vain(moment: int) -> None:
    world, asked = World(), itertools.count(1)

    def clock() -> float:
        if next(asked) == moment:
            os.kill(os.getpid(), signal.SIGINT)
        return 0.0

    requests = [world.request("x", env={"I": str(i)}) for i in range(3)]
    with interrupts(signal.default_int_handler):
        endings = world.ensure(*requests, clock=clock)
    assert all(ending.result or isinstance(ending.error, Cancelled) for ending in endings)


@pytest.mark.parametrize("error", [Cancelled("build: stopped"), ZeroDivisionError()], ids=["stopped", "a bug"])
def test_a_program_that_exits_at_ctrl_c_waits_until_its_builds_have_stopped(error: Exception) -> None:
    cancellation, stopped = Cancellation(), threading.Event()

    def before(target: Reference) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        while not cancellation.cancelled:
            time.sleep(0.001)
        time.sleep(0.05)
        stopped.set()
        raise error

    world = World(before)
    with interrupts(lambda *_: sys.exit(1)), pytest.raises(SystemExit):
        world.ensure(world.request("x"), cancellation=cancellation)
    assert stopped.is_set()


def test_a_bug_in_a_builder_is_raised_not_swallowed() -> None:
    def before(target: Reference) -> None:
        raise ZeroDivisionError

    world = World(before)
    with pytest.raises(ZeroDivisionError):
        world.ensure(world.request("x"))


def test_a_full_disk_is_an_error_of_the_image_with_a_way_out() -> None:
    def before(target: Reference) -> None:
        raise OSError(28, "No space left on device", "/cache/work")

    world = World(before)
    (ending,) = world.ensure(world.request("x"))
    assert ending.error is not None
    assert "/cache/work: no space left on device" in str(ending.error)
    assert ending.error.exit_code == 4


def test_a_race_that_is_lost_ends_with_the_winners_image() -> None:
    """As on a registry with immutable tags: the push is refused, since the tag is there."""

    def before(target: Reference) -> None:
        if len(world.builder.built) == 0:
            other.build(request.plan, None, target, options=BuildOptions(), emit=lambda e: None)  # type: ignore[arg-type]
        raise BuildFailed("build: tag is immutable")

    world = World(before)
    other = FakeBuilder(world.registry)
    request = world.request("x")
    (ending,) = world.ensure(request)
    assert (ending.state, ending.detail) == (ImageState.REUSED, "another build made it meanwhile")


def test_the_lock_is_held_while_building_and_the_registry_is_asked_again_inside() -> None:
    held: list[str] = []

    class Locks:
        @contextmanager
        def hold(self, target: Reference, cancellation: Cancellation, waiting: Callable[[str], None]) -> Iterator[None]:
            waiting("process 1")
            FakeBuilder(world.registry).build(request.plan, None, target, options=BuildOptions(), emit=held_event)  # type: ignore[arg-type]
            held.append(str(target))
            yield

    def held_event(event: Event) -> None:
        return

    world = World()
    request = world.request("x")
    (ending,) = world.ensure(request, locks=Locks())
    assert held == [str(request.reference)]
    assert ending.state is ImageState.REUSED
    assert world.built == []
    told = [event.detail for event in world.events if isinstance(event, ImageChanged)]
    assert "waiting for process 1, which builds it" in told


def test_two_threads_that_want_one_target_take_turns(tmp_path: Path) -> None:
    locks, inside, order = TargetLocks(tmp_path), threading.Event(), []
    target = Reference.parse("r.test/x:1")

    def second() -> None:
        inside.wait(10)
        with locks.hold(target, Cancellation(), lambda owner: order.append(f"waits for {owner.split()[0]}")):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with locks.hold(target, Cancellation(), order.append):
        inside.set()
        while not order:
            thread.join(0.01)
        order.append("first")
    thread.join(10)
    assert order == ["waits for process", "first", "second"]


def test_waiting_for_a_lock_can_be_cancelled_and_other_targets_do_not_wait(tmp_path: Path) -> None:
    locks, cancellation = TargetLocks(tmp_path), Cancellation()
    target, other = Reference.parse("r.test/x:1"), Reference.parse("r.test/y:1")
    with locks.hold(target, Cancellation(), pytest.fail), locks.hold(other, Cancellation(), pytest.fail):
        cancellation.cancel()
        with pytest.raises(Cancelled), locks.hold(target, cancellation, lambda owner: None):
            pytest.fail("it was held twice")
