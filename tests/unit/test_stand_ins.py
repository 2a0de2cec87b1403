"""What is absent under its own tag is taken under flytekit's, where that is asked for and can be told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imagespec.ensure import BuildRequest, BuildResult, Outcome, ensure, name_there
from imagespec.errors import InputMissing, NoFlyteTag, RegistryUnreachable
from imagespec.events import Warned
from imagespec.flyte_tags.stand_in import StandIn
from imagespec.names import Reference
from imagespec.workspace import Workspace
from tests.fakes.images import write_image
from tests.fakes.registry import FakeRegistry
from tests.unit.test_batch import World, states


def with_stand_in(request: BuildRequest, tag: str = "", error: Exception | None = None) -> BuildRequest:
    def find() -> Reference:
        if error is not None:
            raise error
        return request.reference.with_tag(tag or f"flyte-{request.reference.repository.path}")

    stand_in = StandIn(own=request.reference, images=request.images, platforms=request.plan.platforms, find=find)
    return replace(request, stand_in=stand_in)


def made_by_flytekit(world: World, request: BuildRequest) -> Reference:
    assert request.stand_in is not None
    other = request.stand_in.find()
    manifest = write_image(world.registry, other.repository)
    world.registry.write_manifest(other, manifest)
    return other.with_digest(manifest.descriptor.digest)


def test_it_is_used_only_where_the_own_tag_is_absent() -> None:
    world = World()
    request = with_stand_in(world.request("a"))
    assert states(world.ensure(request)) == ["built"]
    made_by_flytekit(world, request)
    (again,) = world.ensure(request)
    assert again.result is not None
    assert (again.result.reference.tag, again.detail) == (request.reference.tag, "it exists")


def test_it_serves_in_the_images_place_and_nothing_is_built_or_written() -> None:
    world = World()
    request = with_stand_in(world.request("a"))
    other = made_by_flytekit(world, request)
    (ending,) = world.ensure(request)
    assert ending.result is not None
    assert (ending.result.outcome, ending.result.reference) == (Outcome.REUSED, other)
    assert "flytekit's own tag" in ending.detail
    assert world.built == []
    assert world.registry.resolve(request.reference) is None
    assert name_there(request, ending.result) == f"{other.repository}:{other.tag}"
    assert ensure(request, Workspace(cwd="/"), emit=world.events.append, clock=lambda: 0.0).reference == other


def test_nothing_is_asked_twice_without_the_setting_nor_when_all_is_there() -> None:
    world = World()
    request = world.request("a")
    made_by_flytekit(world, with_stand_in(request))
    assert states(world.ensure(request)) == ["built"]
    world.registry.calls.clear()
    world.ensure(with_stand_in(request))
    assert world.asked() == [str(request.reference)]


def test_forced_means_built() -> None:
    world = World()
    request = with_stand_in(replace(world.request("a"), is_forced=True))
    made_by_flytekit(world, request)
    assert states(world.ensure(request)) == ["built"]


def test_what_cannot_be_told_is_said_and_built() -> None:
    world = World()
    request = with_stand_in(world.request("a"), error=NoFlyteTag("env: has several keys", path="env"))
    assert states(world.ensure(request)) == ["built"]
    said = [event.message for event in world.events if isinstance(event, Warned)]
    assert said == [f"{request.reference}: not looked for under flytekit's own tag: env: has several keys"]


def test_an_input_that_is_lost_is_the_images_own_error() -> None:
    world = World()
    lost = with_stand_in(world.request("a"), error=InputMissing("copy[0]: 'x' is not there", path="x"))
    fine = with_stand_in(world.request("b", env={"A": "1"}))
    other = made_by_flytekit(world, fine)
    first, second = world.ensure(lost, fine)
    assert isinstance(first.error, InputMissing)
    assert second.result is not None
    assert second.result.reference == other


def test_a_registry_that_cannot_tell_is_an_error_and_nothing_is_guessed() -> None:
    world, silent = World(), FakeRegistry()
    silent.error = RegistryUnreachable("look up: no answer")
    request = with_stand_in(world.request("a"))
    assert request.stand_in is not None
    (ending,) = world.ensure(replace(request, stand_in=replace(request.stand_in, images=silent)))
    assert ending.error is silent.error
    assert world.built == []


@pytest.mark.parametrize("wanted", [True, False])
def test_a_child_is_never_built_on_what_flytekit_made(wanted: bool) -> None:
    world = World()
    parent = world.request("p")
    asked = with_stand_in(parent)
    made_by_flytekit(world, asked)
    child = world.request("c", parent)
    endings = world.ensure(child, asked) if wanted else world.ensure(child)
    assert set(states(endings)) == {"built"}
    found = world.registry.resolve(parent.reference)
    assert found is not None
    assert world.builder.built[-1] == (child.reference, parent.reference.with_digest(found.digest))


def test_a_child_that_exists_under_flytekits_tag_needs_no_parent() -> None:
    world = World()
    parent = world.request("p")
    child = with_stand_in(world.request("c", parent))
    other = made_by_flytekit(world, child)
    asked = with_stand_in(parent)
    first, second = world.ensure(child, asked)
    assert first.result is not None
    assert first.result.reference == other
    assert states((second,)) == ["built"], "nobody has made the parent"
    assert world.built == ["p"]


def test_the_same_plan_under_another_name_is_not_tagged_after_what_flytekit_made() -> None:
    world = World()
    a, b = with_stand_in(world.request("a")), world.request("b")
    made_by_flytekit(world, a)
    assert states(world.ensure(a, b)) == ["reused", "built"]
    assert world.built == ["b"]


def test_an_image_for_another_platform_does_not_serve() -> None:
    world = World()
    request = with_stand_in(world.request("a", platform="linux/arm64"))
    made_by_flytekit(world, request)
    assert states(world.ensure(request)) == ["built"]


def test_the_name_of_a_local_image_is_short() -> None:
    world = World()
    request = replace(world.request("a"), reference=Reference.parse("team/a:x1"), is_local=True, registry=None)
    result = BuildResult(
        reference=Reference.parse("team/a:theirs"),
        fingerprint=request.fingerprint,
        outcome=Outcome.REUSED,
        reason="",
        builder="",
        timings=(),
    )
    assert name_there(request, result) == "team/a:theirs"
    assert name_there(request, replace(result, reference=request.reference)) == "team/a:x1"
