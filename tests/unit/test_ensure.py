"""The workflow: what is looked up, what is built, in which order, and what is told."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

import pytest

from imagespec.builders import BuildOptions
from imagespec.ensure import BuildRequest, BuildResult, Outcome, ensure
from imagespec.errors import BuildFailed, Cancelled, EngineUnavailable, RegistryUnreachable, Unsupported
from imagespec.events import Event, StepStarted, discard
from imagespec.fingerprint import fingerprint_of
from imagespec.names import Digest, Reference
from imagespec.plan import BuildPlan
from imagespec.planner import make_plan
from imagespec.snapshot import Snapshot
from imagespec.spec import Declaration
from tests.fakes.builder import FakeBuilder
from tests.fakes.images import write_image
from tests.fakes.registry import FakeRegistry

PLAN = make_plan(Declaration(), Snapshot())
NAME = Reference.parse("registry.example/team/app:x1")


class NoFiles:
    def open(self, digest: Digest) -> BinaryIO:
        raise AssertionError("nothing is copied")


class RefusingBuilder(FakeBuilder):
    """Carries out no plan."""

    def check(self, plan: BuildPlan) -> None:
        raise Unsupported("conda_packages: not by this one", builder="fake", field="conda_packages")


class AbsentEngine(FakeBuilder):
    """Finds, when it looks, that it cannot work."""

    def prepare(self, plan: BuildPlan, options: BuildOptions) -> None:
        raise EngineUnavailable("engine: none answers")


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry()


@pytest.fixture
def builder(registry: FakeRegistry) -> FakeBuilder:
    return FakeBuilder(registry)


@pytest.fixture
def request_(registry: FakeRegistry, builder: FakeBuilder) -> BuildRequest:
    return BuildRequest(
        plan=PLAN,
        fingerprint=fingerprint_of(PLAN),
        reference=NAME,
        images=registry,
        registry=registry,
        builder=builder,
        options=BuildOptions(),
    )


def clock() -> Iterator[float]:
    return itertools.count(100.0)


def run(request: BuildRequest, events: list[Event] | None = None) -> BuildResult:
    ticks = clock()
    emit = discard if events is None else events.append
    return ensure(request, NoFiles(), emit=emit, clock=lambda: next(ticks))


def put(registry: FakeRegistry, reference: Reference = NAME) -> Digest:
    manifest = write_image(registry, reference.repository)
    registry.write_manifest(reference, manifest)
    registry.calls.clear()
    return manifest.descriptor.digest


def test_what_is_there_costs_one_question(request_: BuildRequest, registry: FakeRegistry, builder: FakeBuilder) -> None:
    digest = put(registry)
    result = run(request_)
    assert (result.outcome, result.reason) == (Outcome.REUSED, "it exists")
    assert result.reference == NAME.with_digest(digest)
    assert registry.calls == [("resolve", str(NAME))]
    assert builder.built == []
    assert [name for name, _ in result.timings] == ["look up"]


def test_what_is_absent_is_built_once(request_: BuildRequest, registry: FakeRegistry, builder: FakeBuilder) -> None:
    events: list[Event] = []
    result = run(request_, events)
    assert (result.outcome, result.reason, result.builder) == (Outcome.BUILT, "it did not exist", "fake")
    found = registry.resolve(NAME)
    assert found is not None
    assert result.reference == NAME.with_digest(found.digest)
    assert [name for name, _ in result.timings] == ["look up", "prepare", "build"]
    assert all(seconds > 0 for _, seconds in result.timings)
    assert events[0] == StepStarted(step="1", title="make it")
    assert run(request_).outcome is Outcome.REUSED
    assert len(builder.built) == 1


def test_the_reason_says_what_changed(request_: BuildRequest) -> None:
    assert run(replace(request_, why=lambda: "packages changed")).reason == "it did not exist; packages changed"


def test_why_is_not_asked_when_nothing_is_built(request_: BuildRequest, registry: FakeRegistry) -> None:
    def why() -> str:
        raise AssertionError("asked")

    put(registry)
    assert run(replace(request_, why=why)).outcome is Outcome.REUSED


def test_force_builds_what_is_there(request_: BuildRequest, registry: FakeRegistry, builder: FakeBuilder) -> None:
    put(registry)
    result = run(replace(request_, is_forced=True))
    assert (result.outcome, result.reason) == (Outcome.BUILT, "forced")
    assert len(builder.built) == 1


def test_unknown_is_an_error_and_nothing_is_built(
    request_: BuildRequest, registry: FakeRegistry, builder: FakeBuilder
) -> None:
    registry.error = RegistryUnreachable("look up: no answer")
    with pytest.raises(RegistryUnreachable):
        run(request_)
    assert builder.built == []


def test_a_parent_is_had_first_and_the_child_is_bound_to_its_digest(
    request_: BuildRequest, registry: FakeRegistry, builder: FakeBuilder
) -> None:
    base = replace(request_, reference=Reference.parse("registry.example/team/base:x1"))
    result = run(replace(request_, parent=base, is_forced=True))
    (first, _), (second, bound) = builder.built
    assert (first, second) == (base.reference, NAME)
    assert bound is not None
    assert bound.digest is not None
    assert bound.tag == "x1"
    assert result.outcome is Outcome.BUILT
    builder.built.clear()
    run(replace(request_, parent=base, is_forced=True))
    assert [target for target, _ in builder.built] == [NAME], "a forced child does not force its parent"


def test_a_parent_in_the_local_engine_is_known_by_its_tag_alone(request_: BuildRequest, builder: FakeBuilder) -> None:
    local = replace(request_, is_local=True, options=BuildOptions(load=True), registry=None)
    base = replace(local, reference=Reference.parse("base:x1"))
    run(replace(local, parent=base))
    assert builder.built[1] == (NAME, base.reference)


def test_a_local_image_is_named_as_its_engine_names_it(request_: BuildRequest) -> None:
    local = replace(request_, is_local=True, options=BuildOptions(load=True), registry=None)
    assert replace(local, reference=Reference.parse("app:x1")).name == "app:x1"
    assert replace(local, reference=Reference.parse("my.org/app:x1")).name == "my.org/app:x1"
    assert replace(request_, reference=Reference.parse("app:x1")).name == "docker.io/library/app:x1"


def test_a_parent_is_not_asked_for_when_the_child_is_there(request_: BuildRequest, registry: FakeRegistry) -> None:
    base = replace(request_, reference=Reference.parse("registry.example/team/base:x1"))
    put(registry)
    assert run(replace(request_, parent=base)).outcome is Outcome.REUSED
    assert registry.calls == [("resolve", str(NAME))]


def test_a_plan_that_cannot_be_carried_out_builds_no_parent(request_: BuildRequest, registry: FakeRegistry) -> None:
    parents = FakeBuilder(registry)
    base = replace(request_, builder=parents, reference=Reference.parse("registry.example/team/base:x1"))
    with pytest.raises(Unsupported):
        run(replace(request_, parent=base, builder=RefusingBuilder(registry)))
    assert parents.built == []


def test_without_an_engine_nothing_is_written(request_: BuildRequest, registry: FakeRegistry) -> None:
    with pytest.raises(EngineUnavailable):
        run(replace(request_, builder=AbsentEngine(registry)))
    assert {method for method, _ in registry.calls} == {"resolve"}


def test_what_was_stopped_before_it_began_is_not_built(request_: BuildRequest, builder: FakeBuilder) -> None:
    request_.options.cancellation.cancel()
    with pytest.raises(Cancelled):
        run(request_)
    assert builder.built == []


def fail(target: Reference) -> None:
    raise BuildFailed("build: a step failed")


def test_a_failed_build_is_an_error(request_: BuildRequest, registry: FakeRegistry) -> None:
    with pytest.raises(BuildFailed):
        run(replace(request_, builder=FakeBuilder(registry, before=fail)))


def test_a_failed_build_of_what_somebody_else_made_meanwhile_is_none(
    request_: BuildRequest, registry: FakeRegistry
) -> None:
    def beaten(target: Reference) -> None:
        put(registry, target)
        fail(target)

    builder = FakeBuilder(registry, before=beaten)
    result = run(replace(request_, builder=builder))
    assert (result.outcome, result.reason) == (Outcome.REUSED, "another build made it meanwhile")
    with pytest.raises(BuildFailed):
        run(replace(request_, builder=builder, is_forced=True))
