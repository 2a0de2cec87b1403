"""From a declaration and a snapshot to a plan: which steps, in which order, with which defaults."""

from __future__ import annotations

from typing import Any

import pytest

from imagespec.errors import ImageSpecError, InputMissing, SpecError
from imagespec.fingerprint import fingerprint_of
from imagespec.names import Digest
from imagespec.plan import (
    AptInstall,
    BaseImage,
    BaseLayout,
    BaseParent,
    BuildPlan,
    CondaInstall,
    CopyFiles,
    Parent,
    PythonEnvironment,
    PythonPackages,
    RunCommand,
    environment_of,
)
from imagespec.planner import default_base, make_plan, spec_id
from imagespec.snapshot import ContextEntry, EntryKind, LockFiles, RequirementLines, Snapshot, TextFile, Tree
from imagespec.spec import Declaration

NOTHING = Snapshot()


def file(path: str, content: bytes = b"\1" * 32) -> ContextEntry:
    return ContextEntry(path, EntryKind.FILE, False, 1, content)


def copied(*entries: ContextEntry) -> Snapshot:
    return Snapshot(trees=(Tree(field="copy[0]", entries=entries),))


def lock(kind: str) -> Snapshot:
    return Snapshot(requirements=LockFiles(kind=kind, files=(TextFile(path=kind, data=b""),)))


def plan(snapshot: Snapshot = NOTHING, parent: Parent | None = None, **fields: Any) -> BuildPlan:
    return make_plan(Declaration(**fields), snapshot, parent)


def parent(snapshot: Snapshot = NOTHING, **fields: Any) -> Parent:
    made = plan(snapshot, **fields)
    return Parent(plan=made, fingerprint=fingerprint_of(made).digest)


def kinds(made: BuildPlan) -> list[type]:
    return [type(step) for step in made.steps]


def step(made: BuildPlan, kind: type) -> Any:
    (found,) = (one for one in made.steps if isinstance(one, kind))
    return found


def test_the_defaults_are_ours_and_not_the_machines() -> None:
    made = plan()
    assert made.base == BaseImage(reference="docker.io/library/python:3.13-slim-trixie")
    assert [str(platform) for platform in made.platforms] == ["linux/amd64"]
    assert kinds(made) == [PythonEnvironment]
    assert (step(made, PythonEnvironment).prefix, step(made, PythonEnvironment).version) == ("/opt/venv", "3.13")
    config = made.config
    assert (config.workdir, config.path, config.entrypoint) == ("/root", ("/opt/venv/bin",), None)
    assert (config.account.name, config.account.uid) == ("flytekit", 1000)
    assert config.env == (("PYTHONPATH", "/root"),)
    assert config.image_id == spec_id(Declaration())


@pytest.mark.parametrize(
    ("version", "base"),
    [
        ("3.9", "python:3.9-slim-bookworm"),
        ("3.12.1", "python:3.12.1-slim-bookworm"),
        ("3.14", "python:3.14-slim-trixie"),
    ],
)
def test_the_default_base_follows_the_version(version: str, base: str) -> None:
    assert default_base(version) == f"docker.io/library/{base}"
    assert plan(python_version=version).base == BaseImage(reference=default_base(version))


def test_steps_come_in_their_order() -> None:
    made = plan(
        copied(file("a")),
        apt_packages=["xx"],
        conda_packages=["cc"],
        packages=["b"],
        commands=["one", "two"],
    )
    assert kinds(made) == [
        *(AptInstall, CondaInstall, PythonEnvironment, PythonPackages, CopyFiles),
        *(RunCommand, RunCommand),
    ]
    early = plan(copied(file("a")), commands=["one"], builder_options={"commands_first": True})
    assert kinds(early) == [PythonEnvironment, RunCommand, CopyFiles]


def test_a_foreign_base_keeps_its_own_packages_in_sight() -> None:
    made = plan(base_image="debian")
    assert made.base == BaseImage(reference="docker.io/library/debian:latest")
    environment = step(made, PythonEnvironment)
    assert (environment.version, environment.system_site_packages) == ("", True)
    assert not step(plan(), PythonEnvironment).system_site_packages


def test_a_layout_is_known_by_its_digest() -> None:
    digest = Digest("sha256", "1" * 64)
    assert plan(Snapshot(base_digest=digest), base_image="oci-layout:x").base == BaseLayout(digest=digest)
    with pytest.raises(InputMissing):
        plan(base_image="oci-layout:x")


def test_users_variables_win_over_ours() -> None:
    assert dict(plan(env={"PYTHONPATH": "/mine"}).config.env) == {"PYTHONPATH": "/mine"}


def test_root_has_roots_ids() -> None:
    account = plan(builder_options={"user": "root"}).config.account
    assert (account.uid, account.gid, account.home) == (0, 0, "/root")


# --- requirements


def test_packages_and_requirements_are_one_set() -> None:
    snapshot = Snapshot(requirements=RequirementLines(lines=("a==1", "c"), constraints=("z<2",), options=("--pre",)))
    packages = step(plan(snapshot, packages=["B", "a==1"], pip_extra_args="--x 'y z'"), PythonPackages)
    assert packages.lines == ("a==1", "b", "c")
    assert (packages.constraints, packages.options, packages.arguments) == (("z<2",), ("--pre",), ("--x", "y z"))


@pytest.mark.parametrize("kind", ["uv.lock", "poetry.lock", "pylock.toml"])
def test_a_lock_takes_no_more_packages(kind: str) -> None:
    assert step(plan(lock(kind)), PythonPackages).lock.kind == kind
    with pytest.raises(SpecError, match=rf"^packages: cannot be added to {kind}$"):
        plan(lock(kind), packages=["a"])


def test_indexes_hold_for_the_environment_and_for_packages() -> None:
    made = plan(packages=["a"], pip_index="https://a/", pip_extra_index_url=["https://c/", "https://b/"])
    for kind in (PythonEnvironment, PythonPackages):
        assert (step(made, kind).index, step(made, kind).extra_indexes) == ("https://a/", ("https://c/", "https://b/"))


# --- sources


def test_several_trees_are_one_step_and_the_later_wins() -> None:
    trees = (
        Tree(field="source_root", entries=(file("a"), ContextEntry("d", EntryKind.FOLDER))),
        Tree(field="copy[0]", entries=(file("a", b"\2" * 32), file("d/x"))),
    )
    copy = step(plan(Snapshot(trees=trees)), CopyFiles)
    assert [(entry.path, entry.sha256[0]) for entry in copy.entries] == [("a", 2), ("d/x", 1)]
    assert copy.destination == "/root"


def test_a_file_is_no_folder() -> None:
    trees = (Tree(field="source_root", entries=(file("a"),)), Tree(field="copy[0]", entries=(file("a/b"),)))
    with pytest.raises(SpecError, match=r"^copy: 'a' is a file in one place and a folder in another$"):
        plan(Snapshot(trees=trees))


def test_nothing_to_copy_is_no_step() -> None:
    assert kinds(plan(copied())) == [PythonEnvironment]


# --- a parent


def test_a_child_inherits_what_it_does_not_say() -> None:
    base = parent(builder_options={"user": "worker", "workdir": "/srv/app"}, platform="linux/arm64", env={"A": "b"})
    made = plan(parent=base, base_image=Declaration(), packages=["a"], copy=["x"])
    assert made.base == BaseParent(fingerprint=base.fingerprint)
    assert kinds(made) == [PythonPackages]
    assert step(made, PythonPackages).keep_installed
    assert (made.config.workdir, made.config.account.name) == ("/srv/app", "worker")
    assert (made.config.path, made.config.env) == ((), ()), "the parent's image has them already"
    assert made.platforms == base.plan.platforms


def test_a_child_may_not_give_its_parents_user_another_name() -> None:
    base = parent(builder_options={"user": "worker"})
    message = r"^builder_options.user: base_image has the user 'worker' with the id of 'other'$"
    with pytest.raises(SpecError, match=message) as raised:
        plan(parent=base, base_image=Declaration(), builder_options={"user": "other"})
    assert raised.value.hint == "leave user out, or give base_image the user 'other'"
    for parents, user in (("worker", "worker"), ("worker", "root"), ("root", "other")):
        made = plan(
            parent=parent(builder_options={"user": parents}),
            base_image=Declaration(),
            builder_options={"user": user},
        )
        assert made.config.account.name == user


def test_a_child_may_not_have_another_python_or_platform() -> None:
    base = parent(python_version="3.12")
    assert plan(parent=base, base_image=Declaration(), python_version="3.12")
    for fields, path in (
        ({"python_version": "3.11"}, "python_version"),
        ({"python_exec": "python3"}, "python_exec"),
        ({"platform": "linux/arm64"}, "platform"),
        ({"conda_packages": ["numpy"]}, "conda_packages"),
    ):
        with pytest.raises(SpecError) as caught:
            plan(parent=base, base_image=Declaration(), **fields)
        assert caught.value.path == path
        assert caught.value.hint


# --- refusals


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"source_copy_mode": "ALL"}, "source_copy_mode"),
        ({"cuda": "12"}, "cuda"),
        ({"cudnn": "8"}, "cudnn"),
        ({"conda_channels": ["x"]}, "conda_channels"),
        ({"conda_packages": ["x"], "python_exec": "python3"}, "python_exec"),
        ({"builder_config": {"uv": "1"}}, "builder_config.uv"),
        ({"builder_config": {"uv_image": 1}}, "builder_config.uv_image"),
        ({"builder_options": {"extras": ["a"]}}, "builder_options.extras"),
    ],
)
def test_what_nobody_can_build_is_refused_by_name(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(ImageSpecError) as caught:
        plan(**fields)
    assert isinstance(caught.value, SpecError)
    assert caught.value.path == path
    assert caught.value.hint


# --- environment and code


def test_a_plan_splits_where_nothing_runs_after_the_sources() -> None:
    made = plan(copied(file("a")), packages=["b"], entrypoint=["x"], builder_options={"labels": {"l": "m"}})
    environment = environment_of(made)
    assert environment is not None
    assert kinds(environment) == [PythonEnvironment, PythonPackages]
    config = environment.config
    assert (config.image_id, config.entrypoint, config.labels) == ("", None, ())
    other = plan(copied(file("a", b"\2" * 32)), packages=["b"], entrypoint=["y"])
    assert environment_of(other) == environment
    assert environment_of(plan()) is None
    assert environment_of(plan(copied(file("a")), commands=["x"])) is None
    assert environment_of(plan(copied(file("a")), commands=["x"], builder_options={"commands_first": True})) is not None


def test_a_version_is_compared_with_that_of_the_lowest_parent() -> None:
    bottom = make_plan(Declaration(python_version="3.12"), Snapshot())
    first = Parent(plan=bottom, fingerprint=fingerprint_of(bottom).digest)
    middle = make_plan(Declaration(base_image=Declaration()), Snapshot(), first)
    second = Parent(plan=middle, fingerprint=fingerprint_of(middle).digest, parent=first)
    assert make_plan(Declaration(base_image=Declaration(), python_version="3.12"), Snapshot(), second)
    with pytest.raises(SpecError, match="python_version: base_image has its own Python"):
        make_plan(Declaration(base_image=Declaration(), python_version="3.11"), Snapshot(), second)
