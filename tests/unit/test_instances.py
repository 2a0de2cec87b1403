"""Builds spread over instances; what a dead one drops another one builds."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest

from imagespec.builders import BuildOptions
from imagespec.builders.cache_export import CacheExportingBuilder
from imagespec.builders.instances import InstancePool, SpreadBuilder, docker_context, instance_answers
from imagespec.errors import BuildFailed, EngineUnavailable
from imagespec.events import Event, Warned
from imagespec.names import Reference
from tests.fakes.builder import FakeBuilder
from tests.fakes.registry import FakeRegistry

TARGET = Reference.parse("r.test/x:1")


class OnInstances(FakeBuilder):
    """Fails on the instances that it is told; remembers where it built."""

    def __init__(self, failing: set[str]) -> None:
        super().__init__(FakeRegistry())
        self.failing = failing
        self.used: list[str] = []

    def build(self, plan: Any, files: Any, target: Reference, *, options: BuildOptions, emit: Any) -> Any:
        self.used.append(options.builder_instance)
        if options.builder_instance in self.failing:
            raise BuildFailed("build: the connection was lost")
        return super().build(plan, files, target, options=options, emit=emit)


def build(builder: SpreadBuilder, heard: list[Event] | None = None) -> None:
    said = [] if heard is None else heard
    plan: Any = None
    builder.build(plan, plan, TARGET, options=BuildOptions(), emit=said.append)


def test_a_build_goes_to_the_instance_with_the_fewest() -> None:
    pool = InstancePool(["one", "two"], lambda name: True)
    with pool.one() as first, pool.one() as second:
        assert {first, second} == {"one", "two"}
        with pool.one() as third:
            assert third == "one"


def test_what_a_dead_instance_drops_another_one_builds() -> None:
    inner = OnInstances({"one"})
    pool = InstancePool(["one", "two"], lambda name: name != "one")
    builder, heard = SpreadBuilder(inner, pool), list[Event]()
    build(builder, heard)
    build(builder)
    assert inner.used == ["one", "two", "two"]
    assert pool.lost == (("one", 1),)
    assert any(isinstance(event, Warned) and "one does not answer" in event.message for event in heard)


def test_a_step_that_fails_on_a_living_instance_is_not_tried_elsewhere() -> None:
    inner = OnInstances({"one", "two"})
    with pytest.raises(BuildFailed):
        build(SpreadBuilder(inner, InstancePool(["one", "two"], lambda name: True)))
    assert inner.used == ["one"]


def test_without_any_living_instance_the_error_names_them() -> None:
    inner = OnInstances({"one", "two"})
    with pytest.raises(EngineUnavailable, match="one, two"):
        build(SpreadBuilder(inner, InstancePool(["one", "two"], lambda name: False)))


def test_after_a_cancellation_nothing_is_tried_elsewhere() -> None:
    inner = OnInstances({"one"})
    options = BuildOptions()
    options.cancellation.cancel()
    plan: Any = None
    with pytest.raises(BuildFailed):
        SpreadBuilder(inner, InstancePool(["one", "two"], lambda name: False)).build(
            plan, plan, TARGET, options=options, emit=lambda event: None
        )
    assert inner.used == ["one"]


def test_a_context_is_told_from_a_builder(tmp_path: Path) -> None:
    meta = tmp_path / "contexts" / "meta" / hashlib.sha256(b"far").hexdigest()
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text("{}")
    assert docker_context(tmp_path, "far") == "far"
    assert docker_context(tmp_path, "near") is None
    assert docker_context(tmp_path, "") is None
    (tmp_path / "buildx" / "instances").mkdir(parents=True)
    (tmp_path / "buildx" / "instances" / "far").write_text("{}")
    assert docker_context(tmp_path, "far") is None


@pytest.mark.parametrize(
    ("said", "answers"),
    [
        ("Name: x\nStatus:           running\n", True),
        ("Name: x\nDriver:\nError:  Cannot connect\n", False),
        ("Status: inactive\n", False),
    ],
)
def test_an_instance_answers_when_a_node_of_it_runs(tmp_path: Path, said: str, answers: bool) -> None:
    (tmp_path / "said").write_text(said)
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\ncat {tmp_path}/said\n")
    docker.chmod(0o755)
    assert instance_answers(str(docker), "x") is answers
    assert instance_answers(str(tmp_path / "nothing"), "x") is False


def test_the_pool_counts_rightly_under_many_threads() -> None:
    pool, most = InstancePool(["one", "two", "three"], lambda name: True), []
    lock, held = threading.Lock(), {"one": 0, "two": 0, "three": 0}
    together = threading.Barrier(6, timeout=10)

    def work() -> None:
        with pool.one() as name:
            with lock:
                held[name] += 1
            together.wait()
            with lock:
                most.append(max(held.values()))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert most == [2] * 6


class Refusing(FakeBuilder):
    """An engine that refuses to export a cache, or a build that fails for another reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(FakeRegistry())
        self.reason = reason
        self.asked: list[str] = []

    def build(self, plan: Any, files: Any, target: Reference, *, options: BuildOptions, emit: Any) -> Any:
        self.asked.append(options.cache_to)
        if options.cache_to:
            raise BuildFailed(self.reason)
        return super().build(plan, files, target, options=options, emit=emit)


@pytest.mark.parametrize(
    ("reason", "asked"),
    [
        ("build: Cache export is not supported for the docker driver.", ["ref=r.test/cache", ""]),
        ("build: make: exit code 1", ["ref=r.test/cache"]),
    ],
)
def test_an_engine_that_cannot_export_builds_without(reason: str, asked: list[str]) -> None:
    inner, heard = Refusing(reason), list[Event]()
    plan: Any = None
    options = BuildOptions(cache_to="ref=r.test/cache")
    with contextlib.suppress(BuildFailed):
        CacheExportingBuilder(inner).build(plan, plan, TARGET, options=options, emit=heard.append)
    assert inner.asked == asked
    assert len([event for event in heard if isinstance(event, Warned)]) == len(asked) - 1
