"""Layers that the last push brought are not looked up one by one; a registry that lost them gets them again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagespec.builders import BuildOptions
from imagespec.builders.assembly.base import BaseReader, Image
from imagespec.builders.assembly.last_push import LastPush
from imagespec.builders.assembly.layers import Layer
from imagespec.builders.assembly.store import Store, key_of
from imagespec.builders.assembly.upload import Assembled, Uploader, manifest_of
from imagespec.errors import RegistryError
from imagespec.events import discard
from imagespec.names import Reference, Repository
from imagespec.oci import OCI_CONFIG, OCI_LAYER_TAR, Descriptor, Manifest, Platform, canonical_json
from imagespec.planner import make_plan
from imagespec.snapshot import Snapshot
from imagespec.spec import Declaration
from tests.fakes.images import body, described
from tests.fakes.registry import FakeRegistry

HERE = Repository("registry.example:5000", "team/app")
PLATFORM = Platform.parse("linux/amd64")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as made:
        yield made


def image(registry: FakeRegistry, *contents: bytes) -> Assembled:
    """Return an image of these layers over an empty base."""
    rootfs = {"type": "layers", "diff_ids": [str(described(one).digest) for one in contents]}
    config = canonical_json({"os": "linux", "architecture": "amd64", "rootfs": rootfs})
    empty = Manifest.image(config=described(b"{}", OCI_CONFIG), layers=())
    base = Image(registry=registry, repository=HERE, manifest=empty, config={})
    layers = tuple(
        Layer(
            descriptor=described(one, OCI_LAYER_TAR), diff_id=str(described(one).digest), title="copy", open=body(one)
        )
        for one in contents
    )
    return Assembled(platform=PLATFORM, base=base, layers=layers, config=config)


def push(registry: FakeRegistry, store: Store, *contents: bytes, to: Repository = HERE) -> tuple[Descriptor, list[str]]:
    """Push such an image as a process of its own; return what stands there, and the methods that were called."""
    registry.calls.clear()
    with Uploader(registry, to, Store(store.path("records", "").parent), discard) as uploader:
        written = uploader.write(Reference(to, "latest", None), [image(registry, *contents)])
    return written, sorted(method for method, _ in registry.calls)


def test_an_edit_asks_one_question_for_all_layers_that_stay(store: Store) -> None:
    registry = FakeRegistry()
    push(registry, store, b"a", b"b", b"c")
    written, calls = push(registry, store, b"a", b"b", b"new")
    assert calls == ["resolve", "write_blob", "write_blob", "write_manifest"]
    assert registry.resolve(Reference(HERE, "latest", None)) == written


def test_one_layer_is_looked_up_by_itself(store: Store) -> None:
    registry = FakeRegistry()
    push(registry, store, b"a", b"b")
    assert push(registry, store, b"a", b"new")[1] == ["write_blob", "write_blob", "write_blob", "write_manifest"]


def test_a_manifest_that_is_gone_vouches_for_nothing(store: Store) -> None:
    push(FakeRegistry(), store, b"a", b"b", b"c")
    emptied = FakeRegistry()
    push(emptied, store, b"a", b"b", b"new")
    for one in (b"a", b"b", b"new"):
        assert emptied.read_blob(HERE, described(one).digest).read() == one


class Forgetful(FakeRegistry):
    """Lost the blobs of manifests that it still has."""

    def write_manifest(self, reference: Reference, manifest: Manifest) -> Descriptor:
        for layer in manifest.layers:
            if layer.digest not in self._of(reference.repository).blobs:
                self._enter("refused", reference)
                codes = ("MANIFEST_BLOB_UNKNOWN",)
                raise RegistryError(f"push {reference}: blob unknown", status=400, codes=codes)
        return super().write_manifest(reference, manifest)

    def lose(self) -> None:
        self._of(HERE).blobs.clear()


def test_layers_that_were_lost_under_their_manifest_are_sent_again(store: Store) -> None:
    registry = Forgetful()
    push(registry, store, b"a", b"b", b"c")
    registry.lose()
    _, calls = push(registry, store, b"a", b"b", b"new")
    assert calls.count("refused") == 1
    for one in (b"a", b"b", b"new"):
        assert registry.read_blob(HERE, described(one).digest).read() == one
    assert "refused" not in push(registry, store, b"a", b"b", b"newer")[1]


def test_a_registry_that_refuses_for_another_reason_is_asked_once(store: Store) -> None:
    class Closed(FakeRegistry):
        def write_manifest(self, reference: Reference, manifest: Manifest) -> Descriptor:
            self._enter("write_manifest", reference)
            raise RegistryError("push: denied", status=403, codes=("DENIED",))

    kept = FakeRegistry()
    push(kept, store, b"a", b"b", b"c")
    closed = Closed()
    closed._repositories = kept._repositories
    with pytest.raises(RegistryError, match="denied"):
        push(closed, store, b"a", b"b", b"new")
    assert [method for method, _ in closed.calls].count("write_manifest") == 1


def test_images_that_take_turns_in_a_repository_are_each_remembered(store: Store) -> None:
    registry = FakeRegistry()
    push(registry, store, b"a", b"b", b"c")
    push(registry, store, b"x", b"y", b"z")
    assert push(registry, store, b"a", b"b", b"new")[1].count("write_blob") == 2
    assert push(registry, store, b"x", b"y", b"new")[1].count("write_blob") == 2


def test_another_repository_is_not_vouched_for(store: Store) -> None:
    registry = FakeRegistry()
    push(registry, store, b"a", b"b", b"c")
    other = Repository(HERE.registry, "team/other")
    assert "resolve" not in push(registry, store, b"a", b"b", b"c", to=other)[1]


@pytest.mark.parametrize("value", [7, "text", [["sha256:x", []]], [[7, 7]], {"a": 1}, [None]])
def test_a_record_of_another_shape_is_no_record(store: Store, value: object) -> None:
    store.write_record(key_of("last push", HERE.registry, HERE.path), value)
    assert not LastPush(store, FakeRegistry(), HERE).layers({"sha256:a", "sha256:b"})


def test_a_few_manifests_are_kept(store: Store) -> None:
    registry = FakeRegistry()
    last = LastPush(store, registry, HERE)
    for number in range(6):
        last.keep([manifest_of(image(registry, b"a%d" % number, b"b%d" % number))])
    record = store.record(key_of("last push", HERE.registry, HERE.path))
    assert len(record) == 4


def test_images_of_one_process_bring_what_they_share_once(store: Store) -> None:
    registry = FakeRegistry()
    for last in (b"x", b"y", b"z"):
        with Uploader(registry, HERE, store, discard) as uploader:
            uploader.write(Reference(HERE, "latest", None), [image(registry, b"a", b"b", last)])
    calls = [method for method, _ in registry.calls]
    # Two layers that all share, and of each image its own layer and its config.
    assert calls.count("write_blob") == 2 + 3 * 2
    assert calls.count("write_manifest") == 3
    assert "resolve" not in calls


def test_what_was_lost_meanwhile_is_brought_again_by_the_same_process(store: Store) -> None:
    registry = Forgetful()
    for last in (b"x", b"y"):
        with Uploader(registry, HERE, store, discard) as uploader:
            uploader.write(Reference(HERE, "latest", None), [image(registry, b"a", b"b", last)])
        if last == b"x":
            registry.lose()
    assert [method for method, _ in registry.calls].count("refused") == 1
    for one in (b"a", b"b", b"y"):
        assert registry.read_blob(HERE, described(one).digest).read() == one


def test_what_was_just_pushed_is_a_base_that_nobody_is_asked_for(store: Store) -> None:
    registry = FakeRegistry()
    written, _ = push(registry, store, b"a", b"b")
    registry.calls.clear()
    reader = BaseReader(store, registry, registry, lambda reference: reference)
    found = reader.find(registry, Reference(HERE, None, written.digest), (PLATFORM,))
    assert registry.calls == []
    assert found[PLATFORM].manifest == registry.read_manifest(Reference(HERE, None, written.digest))
    assert found[PLATFORM].config == json.loads(image(registry, b"a", b"b").config)


@pytest.mark.parametrize(("is_same_process", "looked_up"), [(True, 0), (False, 1)])
def test_a_parent_that_this_process_has_pushed_is_not_looked_up(
    store: Store, is_same_process: bool, looked_up: int
) -> None:
    registry, mirrored = FakeRegistry(), FakeRegistry()
    with Uploader(registry, HERE, store, discard) as uploader:
        written = uploader.write(Reference(HERE, "latest", None), [image(registry, b"a", b"b")])
    registry.calls.clear()
    seen_by = store if is_same_process else Store(store.path("records", "").parent)
    reader = BaseReader(seen_by, registry, mirrored, lambda reference: reference)
    parent = Reference(HERE, "latest", written.digest)
    plan = make_plan(Declaration(name="child", platform=str(PLATFORM)), Snapshot())
    assert reader.read(plan, BuildOptions(base=parent))[PLATFORM].registry is registry
    assert [method for method, _ in registry.calls].count("resolve") == looked_up
    assert mirrored.calls == []
