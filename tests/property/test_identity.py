"""The laws of identity: what changes the image changes the fingerprint, and nothing else does."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagespec.builder_options import BUILD_KEYS, PLAN_KEYS
from imagespec.fingerprint import encode, fingerprint_of
from imagespec.names import Digest
from imagespec.plan import BuildPlan, Parent
from imagespec.planner import make_plan, spec_id
from imagespec.snapshot import (
    ContextEntry,
    EntryKind,
    LocalProject,
    LockFiles,
    RequirementLines,
    Snapshot,
    TextFile,
    Tree,
)
from imagespec.spec import FIELD_NAMES, Declaration

quick = settings(max_examples=120, deadline=None, database=None, derandomize=True)

names = st.text(st.sampled_from("abc"), min_size=2, max_size=3)
words = st.text(max_size=4).filter(lambda text: "\0" not in text and not any(0xD800 <= ord(c) < 0xE000 for c in text))
lists = st.lists(names, max_size=3)
entries = st.builds(
    ContextEntry,
    path=st.sampled_from(["a", "b", "ab", "a/b"]),
    kind=st.just(EntryKind.FILE),
    executable=st.booleans(),
    size_bytes=st.just(1),
    sha256=st.sampled_from([b"\1" * 32, b"\2" * 32]),
) | st.builds(
    ContextEntry, path=st.sampled_from(["l", "a/l"]), kind=st.just(EntryKind.LINK), target=st.sampled_from(["a", "b"])
)
declared = st.fixed_dictionaries(
    {},
    optional={
        "packages": lists,
        "apt_packages": lists,
        "commands": st.lists(words.filter(str.strip), max_size=3),
        "entrypoint": st.lists(words, max_size=3),
        "env": st.dictionaries(names, words, max_size=3),
        "pip_extra_args": names,
        "pip_extra_index_url": st.lists(st.sampled_from(["https://a/", "https://b/"]), max_size=2),
        "base_image": names,
        "platform": st.sampled_from(["linux/amd64", "linux/arm64", "linux/arm64,linux/amd64"]),
    },
)
snapshots = st.builds(
    Snapshot,
    trees=st.lists(entries, max_size=3, unique_by=lambda entry: entry.path).map(
        lambda found: (Tree(field="copy[0]", entries=tuple(sorted(found))),)
    ),
    requirements=st.none()
    | st.builds(RequirementLines, lines=lists.map(tuple), constraints=lists.map(tuple), options=st.just(())),
)


NOTHING = Snapshot()


def plan_of(fields: Mapping[str, Any], snapshot: Snapshot = NOTHING, parent: Parent | None = None) -> BuildPlan:
    return make_plan(Declaration(**fields), snapshot, parent)


def digest_of(fields: Mapping[str, Any], snapshot: Snapshot = NOTHING, parent: Parent | None = None) -> Digest:
    return fingerprint_of(plan_of(fields, snapshot, parent)).digest


@quick
@given(declared, snapshots, declared, snapshots)
def test_equal_plans_and_only_they_have_equal_fingerprints(
    first: dict[str, Any], first_files: Snapshot, second: dict[str, Any], second_files: Snapshot
) -> None:
    one, other = plan_of(first, first_files), plan_of(second, second_files)
    assert (one == other) == (fingerprint_of(one) == fingerprint_of(other))
    assert fingerprint_of(plan_of(first, first_files)) == fingerprint_of(one)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | words | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=2),
    max_leaves=6,
)


def typed(value: object) -> object:
    """Return the value with types, since Python says True == 1."""
    if isinstance(value, list):
        return ("list", tuple(typed(item) for item in value))
    if isinstance(value, dict):
        return ("dict", frozenset((key, typed(item)) for key, item in value.items()))
    return (type(value).__name__, value)


@settings(max_examples=500, deadline=None, database=None, derandomize=True)
@given(values, values)
def test_the_encoding_is_injective(first: object, second: object) -> None:
    assert (typed(first) == typed(second)) == (encode(first) == encode(second))


SETS = ("packages", "apt_packages", "conda_packages")


@quick
@given(st.data(), st.lists(names, min_size=1, max_size=5), st.sampled_from(SETS))
def test_order_and_repetition_in_sets_change_nothing(data: st.DataObject, items: list[str], field: str) -> None:
    shuffled = data.draw(st.permutations([*items, items[0]]))
    for given_as in (shuffled, tuple(shuffled), set(shuffled)):
        assert digest_of({field: given_as}) == digest_of({field: items})


@quick
@given(st.data(), st.dictionaries(names, words, min_size=1, max_size=5))
def test_the_order_of_variables_and_platforms_changes_nothing(data: st.DataObject, env: dict[str, str]) -> None:
    shuffled = dict(data.draw(st.permutations(list(env.items()))))
    assert digest_of({"env": shuffled}) == digest_of({"env": env})
    platforms = ["linux/amd64", "linux/arm64", "linux/arm/v7"]
    other = data.draw(st.permutations(platforms))
    assert digest_of({"platform": ",".join(other)}) == digest_of({"platform": platforms})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"packages": ["Foo_Bar >= 1, <2"]}, {"packages": ["foo-bar<2,>=1"]}),
        ({"packages": ["a[Y,x]"]}, {"packages": ["a[x,y]"]}),
        ({"base_image": "debian"}, {"base_image": "docker.io/library/debian:latest"}),
        ({"platform": "linux/x86_64"}, {"platform": "linux/amd64"}),
        ({"platform": "linux/amd64"}, {}),
        ({"pip_extra_args": "--a  'b'"}, {"pip_extra_args": "--a b"}),
        ({"copy": ["./app/"]}, {"copy": ["app"]}),
        ({"copy": ["a", "b"]}, {"copy": ["b", "a"]}),
        ({"packages": [], "env": {}, "commands": [], "builder_config": {}, "copy": []}, {}),
        ({"source_copy_mode": "NO_COPY"}, {}),
        ({"builder_options": {"workdir": "/app/"}}, {"builder_options": {"workdir": "/app"}}),
        ({"builder_options": {"user": "flytekit"}}, {}),
        ({"builder_options": {"bytecode": True}}, {}),
    ],
)
def test_other_spellings_of_the_same_thing_have_the_same_fingerprint(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert digest_of(one) == digest_of(other)


FULL: dict[str, Any] = {
    "packages": ["ab", "c"],
    "apt_packages": ["xx"],
    "conda_packages": ["cc"],
    "conda_channels": ["one", "two"],
    "commands": ["yy", "zz"],
    "env": {"AB": "c"},
    "entrypoint": ["a", "b"],
    "base_image": "base:1",
    "python_version": "3.12",
    "pip_index": "https://a/",
    "pip_extra_index_url": ["https://b/", "https://c/"],
    "pip_extra_args": "--a --b",
    "platform": "linux/amd64",
    "builder_config": {"uv_image": "uv:1"},
    "builder_options": {"user": "me", "cache": True},
}

CHANGES: Mapping[str, Any] = {
    "packages": [["a", "bc"], ["abc"], ["ab"], ["ab==1", "c"]],
    "apt_packages": [["xy"], []],
    "conda_packages": [["cd"], ["cc=1"]],
    "conda_channels": [["two", "one"], ["one"]],
    "commands": [["zz", "yy"], ["yyzz"], ["yy\nzz"], ["yy", "zz", "zz"], ["yy "]],
    "env": [{"A": "Bc"}, {"ABC": ""}, {"AB": "c", "D": ""}, {"AB": "c "}],
    "entrypoint": [["ab"], ["b", "a"], [], None, ["a", "b", ""]],
    "base_image": ["base:2", "other:1", "oci-layout:base"],
    "python_version": ["3.11", "3.12.1", None],
    "pip_index": ["https://b/", None],
    "pip_extra_index_url": [["https://c/", "https://b/"], ["https://b/"]],
    "pip_extra_args": ["--b --a", "'--a --b'", None],
    "platform": ["linux/arm64", "linux/amd64,linux/arm64"],
    "builder_config": [{"uv_image": "uv:2"}, {"micromamba_image": "uv:1"}, None],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, found in CHANGES.items() for value in found], ids=str
)
def test_every_change_of_a_field_of_identity_changes_the_fingerprint(field: str, value: object) -> None:
    snapshot = Snapshot(base_digest=Digest("sha256", "0" * 64))
    changed = make_plan(Declaration(**{**FULL, field: value}), snapshot, image_id="the same")
    original = make_plan(Declaration(**FULL), snapshot, image_id="the same")
    assert fingerprint_of(changed).digest != fingerprint_of(original).digest


def test_a_text_that_moves_between_fields_changes_the_fingerprint() -> None:
    seen = [
        digest_of({"apt_packages": ["xx"], "commands": ["yy"]}),
        digest_of({"apt_packages": ["yy"], "commands": ["xx"]}),
        digest_of({"apt_packages": ["xx", "yy"]}),
        digest_of({"packages": ["xx", "yy"]}),
        digest_of({"commands": ["xx", "yy"]}),
        digest_of({"entrypoint": ["xx", "yy"]}),
        digest_of({"env": {"xx": "yy"}}),
        digest_of({"builder_options": {"labels": {"xx": "yy"}}}),
        digest_of({"builder_options": {"build_args": {"xx": "yy"}}}),
    ]
    assert len(set(seen)) == len(seen)


OPTIONS: Mapping[str, Any] = {
    "name": "other",
    "registry": "elsewhere.example/team",
    "registry_config": "config.json",
    "builder": "another",
    "tag_format": "{spec_hash}-dev",
    "pip_secret_mounts": [["secret", "/run/secret"]],
    "runtime_packages": ["something"],
}


@pytest.mark.parametrize("field", OPTIONS)
def test_an_option_changes_nothing(field: str) -> None:
    assert digest_of({**FULL, field: OPTIONS[field]}) == digest_of(FULL)
    assert spec_id(Declaration(**{**FULL, field: OPTIONS[field]})) == spec_id(Declaration(**FULL))


HOW: Mapping[str, Any] = {
    "cache": False,
    "cache_from": ["r/x"],
    "cache_to": "type=inline",
    "compression": "zstd",
    "network": "host",
    "secrets": [["secret", "/run/secret"]],
    "ssh": ["default"],
}
WHAT: Mapping[str, Any] = {
    "build_args": {"A": "b"},
    "bytecode": False,
    "commands_first": True,
    "extras": ["a"],
    "groups": ["a"],
    "labels": {"a": "b"},
    "user": "you",
    "workdir": "/srv/app",
}


def test_every_builder_option_has_chosen_its_side() -> None:
    assert sorted(HOW) == sorted(BUILD_KEYS)
    assert sorted(WHAT) == sorted(PLAN_KEYS)


@pytest.mark.parametrize("key", HOW)
def test_a_builder_option_that_says_how_changes_nothing(key: str) -> None:
    assert digest_of({"builder_options": {key: HOW[key]}}) == digest_of({})


@pytest.mark.parametrize("key", WHAT)
def test_a_builder_option_that_says_what_changes_the_fingerprint(key: str) -> None:
    lock = LockFiles(kind="uv.lock", files=(TextFile(path="uv.lock", data=b""),))
    files = Snapshot(trees=(Tree(field="copy[0]", entries=(FILE,)),), requirements=lock)
    fields = {"commands": ["true"]}
    assert digest_of({**fields, "builder_options": {key: WHAT[key]}}, files) != digest_of(fields, files)


def test_every_field_has_chosen_its_side() -> None:
    from_files = {"requirements", "copy", "source_root", "source_copy_mode"}
    refused = {"cuda", "cudnn"}
    in_another_test = {"python_exec", "builder_options"}
    assert set(FIELD_NAMES) == {*CHANGES, *OPTIONS, *from_files, *refused, *in_another_test}


def test_python_exec_changes_the_fingerprint() -> None:
    assert digest_of({"python_exec": "/usr/bin/python3"}) != digest_of({})


FILE = ContextEntry("a/b", EntryKind.FILE, False, 1, b"\1" * 32)


@pytest.mark.parametrize(
    "changed",
    [
        FILE._replace(path="ab"),
        FILE._replace(path="a/c"),
        FILE._replace(executable=True),
        FILE._replace(sha256=b"\2" * 32),
        ContextEntry("a/b", EntryKind.FOLDER),
        ContextEntry("a/b", EntryKind.LINK, target="c"),
    ],
)
def test_what_is_copied_changes_the_fingerprint(changed: ContextEntry) -> None:
    def digest(*found: ContextEntry) -> Digest:
        return digest_of({}, Snapshot(trees=(Tree(field="source_root", entries=found),)))

    assert digest(changed) != digest(FILE)
    assert digest(FILE, changed._replace(path="z")) != digest(FILE)


def test_a_links_target_changes_the_fingerprint() -> None:
    def digest(path: str, target: str) -> Digest:
        link = ContextEntry(path, EntryKind.LINK, target=target)
        return digest_of({}, Snapshot(trees=(Tree(field="source_root", entries=(link,)),)))

    assert len({digest("l", "a"), digest("l", "b"), digest("la", ""), digest("", "la")}) == 4


def test_where_files_come_from_changes_nothing() -> None:
    def digest(field: str) -> Digest:
        return digest_of({}, Snapshot(trees=(Tree(field=field, entries=(FILE,)),)))

    assert digest("source_root") == digest("copy[3]")


PROJECT = LocalProject(path="lib", entries=(FILE,))


@pytest.mark.parametrize(
    "changed",
    [
        RequirementLines(lines=("x==2",)),
        RequirementLines(constraints=("x==1",)),
        RequirementLines(options=("--pre",)),
        RequirementLines(lines=("x==1",), projects=(PROJECT,)),
        RequirementLines(lines=("x==1",), projects=(dataclasses.replace(PROJECT, extras=("e",)),)),
        RequirementLines(lines=("x==1",), projects=(dataclasses.replace(PROJECT, entries=()),)),
        LockFiles(kind="uv.lock", files=(TextFile(path="uv.lock", data=b"x==1"),)),
        LockFiles(kind="uv.lock", files=(TextFile(path="uv.lock", data=b"x==2"),)),
        LockFiles(kind="pylock.toml", files=(TextFile(path="uv.lock", data=b"x==1"),)),
    ],
)
def test_what_requirements_say_changes_the_fingerprint(changed: RequirementLines | LockFiles) -> None:
    original = digest_of({}, Snapshot(requirements=RequirementLines(lines=("x==1",))))
    assert digest_of({}, Snapshot(requirements=changed)) != original


def test_a_parents_identity_is_the_childs_and_its_name_is_not() -> None:
    def child(**fields: Any) -> Digest:
        base = Declaration(**fields)
        plan = make_plan(base, Snapshot())
        parent = Parent(plan=plan, fingerprint=fingerprint_of(plan).digest)
        return digest_of({"base_image": base}, parent=parent)

    assert child(packages=["a"]) != child(packages=["b"])
    renamed = child(packages=["a"], name="n", registry="r.example", tag_format="{spec_hash}-x", builder="b")
    assert renamed == child(packages=["a"])


@quick
@given(declared, st.sampled_from(["alice", "bob"]))
def test_the_id_follows_from_what_is_declared_alone(fields: dict[str, Any], folder: str) -> None:
    spec = Declaration(**fields, folder=f"/home/{folder}")
    assert spec_id(spec) == spec_id(Declaration(**fields).force_push())
    assert spec_id(spec) == spec_id(spec.replaced(requirements="x.txt", source_root=folder, source_copy_mode="NO_COPY"))
    assert len(spec_id(spec)) == 22
    assert spec_id(spec) != spec_id(spec.with_commands("one more"))
