"""The usual builder: the daemonless one wherever it can serve, the full one for the rest, with the reason."""

from __future__ import annotations

from typing import Any

import pytest

from imagespec.builders import BuildOptions
from imagespec.builders.auto import AutoBuilder
from imagespec.errors import (
    BuildFailed,
    Cancelled,
    EngineUnavailable,
    InputMissing,
    RegistryUnreachable,
    Unsupported,
    WrongPlatform,
)
from imagespec.events import Emit, StepFinished
from imagespec.fingerprint import environment_reference
from imagespec.names import Reference
from imagespec.oci import OCI_MANIFEST, Descriptor, digest_of
from imagespec.plan import BuildPlan
from imagespec.planner import make_plan
from imagespec.snapshot import ContextEntry, EntryKind, Files, Snapshot, Tree
from imagespec.spec import Declaration
from tests.integration.sources import Sources

TARGET = Reference.parse("registry.test/app:t")
FILES = Sources({})
MADE = Descriptor(media_type=OCI_MANIFEST, digest=digest_of(b"made"), size_bytes=4)
ENTRY = ContextEntry(path="main.py", kind=EntryKind.FILE, size_bytes=1, sha256=b"1" * 32)


class Scripted:
    """Does what a test says, and notes what it was asked for."""

    def __init__(self, name: str, *, checked: Exception | None = None, prepared: Exception | None = None) -> None:
        self.name = name
        self.calls: list[str] = []
        self.environments: set[Reference | None] = set()
        self._checked, self._prepared = checked, prepared

    def check(self, plan: BuildPlan) -> None:
        if self._checked is not None:
            raise self._checked

    def prepare(self, plan: BuildPlan, options: BuildOptions) -> None:
        if self._prepared is not None:
            raise self._prepared

    def build(
        self, plan: BuildPlan, files: Files, target: Reference, *, options: BuildOptions, emit: Emit
    ) -> Descriptor:
        self.calls.append(f"build {target.tag}")
        return MADE

    def build_on_environment(
        self, plan: BuildPlan, files: Files, target: Reference, *, options: BuildOptions, emit: Emit
    ) -> Descriptor | None:
        there = environment_reference(plan, target) in self.environments
        self.calls.append(f"code {target.tag}" if there else "look")
        return MADE if there else None


def plan(*, sources: bool = False, **declared: Any) -> BuildPlan:
    trees = (Tree(field="copy[0]", entries=(ENTRY,)),) if sources else ()
    given: dict[str, Any] = {"copy": ["main.py"], **declared} if sources else declared
    return make_plan(Declaration(name="app", **given), Snapshot(trees=trees))


def built(daemonless: Scripted, full: Scripted, wanted: BuildPlan, *, is_loading: bool = False, **options: Any) -> str:
    """Return why the full builder was taken, "" where it was not."""
    said: list[str] = []

    def emit(event: object) -> None:
        if isinstance(event, StepFinished) and event.step == "builder":
            said.append(event.title)

    auto = AutoBuilder(daemonless=daemonless, full=lambda: full, is_loading=is_loading)
    auto.check(wanted)
    auto.prepare(wanted, BuildOptions(**options))
    assert auto.build(wanted, FILES, TARGET, options=BuildOptions(**options), emit=emit) == MADE
    return "".join(said)


def test_what_the_daemonless_builder_can_it_builds() -> None:
    daemonless, full = Scripted("daemonless"), Scripted("buildkit")
    assert built(daemonless, full, plan(packages=["x"])) == ""
    assert daemonless.calls == ["look", "build t"]
    assert full.calls == []


def test_an_environment_that_is_there_gets_the_sources_whoever_made_it() -> None:
    refusal = Unsupported("apt_packages: not here", builder="daemonless", field="apt_packages")
    daemonless, full = Scripted("daemonless", checked=refusal), Scripted("buildkit")
    wanted = plan(sources=True, apt_packages=["jq"])
    daemonless.environments.add(environment_reference(wanted, TARGET))
    assert built(daemonless, full, wanted) == ""
    assert daemonless.calls == ["code t"]
    assert full.calls == []


def test_what_it_cannot_the_full_one_builds_and_it_says_why() -> None:
    refusal = Unsupported("apt_packages: not here", builder="daemonless", field="apt_packages")
    daemonless, full = Scripted("daemonless", checked=refusal), Scripted("buildkit")
    assert built(daemonless, full, plan(apt_packages=["jq"])) == "buildkit builds it: apt_packages: not here"
    assert full.calls == ["build t"]


def test_the_full_one_builds_the_environment_alone_where_sources_come_last() -> None:
    refusal = Unsupported("apt_packages: not here", builder="daemonless", field="apt_packages")
    wanted = plan(sources=True, apt_packages=["jq"])
    kept = environment_reference(wanted, TARGET)
    assert kept is not None
    daemonless = Scripted("daemonless", checked=refusal)

    class Making(Scripted):
        def build(self, *arguments: Any, **keywords: Any) -> Descriptor:
            daemonless.environments.add(kept)
            return super().build(*arguments, **keywords)

    full = Making("buildkit")
    built(daemonless, full, wanted)
    assert full.calls == [f"build {kept.tag}"]
    assert daemonless.calls == ["look", "code t"]


@pytest.mark.parametrize(
    "unfit",
    [
        Unsupported("packages: x 1 has no wheel", builder="daemonless", field="packages"),
        InputMissing("base_image: it is not there", path="base_image"),
        BuildFailed("resolve packages: none", step="resolve", exit_status=1),
    ],
)
def test_what_only_looking_can_tell_is_told_too(unfit: Exception) -> None:
    daemonless, full = Scripted("daemonless", prepared=unfit), Scripted("buildkit")
    assert built(daemonless, full, plan(packages=["x"])) == f"buildkit builds it: {unfit}"
    assert (daemonless.calls, full.calls) == (["look"], ["build t"])


@pytest.mark.parametrize(
    "error",
    [
        RegistryUnreachable("read base", action="read"),
        WrongPlatform("base_image: it has linux/amd64", wanted=(), found=()),
        Cancelled("build: stopped"),
    ],
)
def test_an_error_that_another_builder_cannot_help_is_raised(error: Exception) -> None:
    daemonless, full = Scripted("daemonless", prepared=error), Scripted("buildkit")
    with pytest.raises(type(error)):
        built(daemonless, full, plan(packages=["x"]))
    assert full.calls == []


def test_without_an_engine_both_reasons_are_named() -> None:
    refusal = Unsupported("commands: nothing runs", builder="daemonless", field="commands")
    none = EngineUnavailable("engine: no Docker engine answers", hint="start Docker")
    daemonless, full = Scripted("daemonless", checked=refusal), Scripted("buildkit", prepared=none)
    with pytest.raises(EngineUnavailable, match=r"no Docker engine answers.*commands: nothing runs") as raised:
        built(daemonless, full, plan(commands=["true"]))
    assert raised.value.hint == "start Docker"


def test_images_for_the_local_engine_are_loaded_by_the_full_one() -> None:
    daemonless, full = Scripted("daemonless"), Scripted("buildkit")
    assert "loaded by it" in built(daemonless, full, plan(packages=["x"]), is_loading=True)
    assert (daemonless.calls, full.calls) == ([], ["build t"])


def test_forced_looks_for_no_environment() -> None:
    daemonless, full = Scripted("daemonless"), Scripted("buildkit")
    wanted = plan(sources=True, packages=["x"])
    daemonless.environments.add(environment_reference(wanted, TARGET))
    built(daemonless, full, wanted, use_cache=False)
    assert daemonless.calls == ["build t"]


def test_a_plan_that_neither_can_is_refused_at_once() -> None:
    refusal = Unsupported("x: cannot", builder="daemonless", field="x")
    other = Unsupported("x: cannot either", builder="buildkit", field="x")
    auto = AutoBuilder(
        daemonless=Scripted("daemonless", checked=refusal),
        full=lambda: Scripted("buildkit", checked=other),
        is_loading=False,
    )
    with pytest.raises(Unsupported, match="cannot either"):
        auto.check(plan())
