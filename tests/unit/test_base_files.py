"""What is found in a base's layers: the file system they make."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from imagespec.builders.assembly.file_system import FileSystems
from imagespec.builders.assembly.store import Store
from imagespec.errors import IntegrityError
from imagespec.oci import (
    Descriptor,
)
from imagespec.tarball import tar_bytes
from tests.fakes.bases import DEBIAN, REPOSITORY, file, files_of, folder, image, link
from tests.fakes.registry import FakeRegistry


class TestFileSystem:
    def test_whiteouts_and_opaque_folders_and_links(self, tmp_path: Path) -> None:
        lower = [
            folder("a"),
            file("a/one"),
            file("a/two"),
            folder("b"),
            file("b/x"),
            link("l", "b"),
            file("gone/deep/f"),
        ]
        upper = [file("a/.wh.one"), file("b/.wh..wh..opq"), file("b/new"), file(".wh.gone")]
        found = files_of(tmp_path, lower, upper)
        assert set(found.nodes) == {"a", "a/two", "b", "b/new", "l"}
        assert found.real("l/new") == "b/new"
        assert found.real("/l/../a/./two") == "a/two"

    def test_a_loop_of_links_leads_nowhere(self, tmp_path: Path) -> None:
        found = files_of(tmp_path, [link("a", "b"), link("b", "a")])
        assert found.real("a/x") == ""
        assert found.node("a/x") is None

    def test_a_file_in_place_of_a_folder_takes_what_it_held(self, tmp_path: Path) -> None:
        found = files_of(tmp_path, [folder("a"), file("a/x")], [file("a")])
        assert set(found.nodes) == {"a"}

    def test_layers_are_read_once(self, tmp_path: Path) -> None:
        store, registry = Store(tmp_path), FakeRegistry()
        base = image(registry, DEBIAN)
        read: list[Descriptor] = []
        FileSystems(store).read(base, read.append)
        FileSystems(store).read(base, read.append)
        store.close()
        assert len(read) == 1

    def test_an_image_on_a_known_one_is_what_it_is_when_read_alone(self, tmp_path: Path) -> None:
        """Removing, emptying and replacing over what is remembered changes neither of the two."""
        store, registry = Store(tmp_path), FakeRegistry()
        below = [[folder("a"), file("a/x"), file("a/y"), folder("b"), file("b/x")], [file("etc/passwd", b"one")]]
        above = [[file("a/.wh.x"), file("b/.wh..wh..opq"), file("b/z")], [file("etc/passwd", b"two"), link("l", "a")]]
        systems, nothing = FileSystems(store), lambda layer: None
        parent = systems.read(image(registry, *below), nothing)
        before = dict(parent.nodes), dict(parent.texts)
        child = image(registry, *below, *above)
        grown, alone = systems.read(child, nothing), FileSystems(store).read(child, nothing)
        store.close()
        assert (grown.nodes, grown.texts, grown.contents) == (alone.nodes, alone.texts, alone.contents)
        assert list(grown.nodes) == list(alone.nodes)
        assert set(grown.nodes) == {"a", "a/y", "b", "b/z", "etc/passwd", "l"}
        assert grown.nodes["b/z"].layer == 2
        assert (parent.nodes, parent.texts) == before
        assert systems.read(child, nothing) is grown

    def test_a_layer_that_is_not_its_digest_s_content_is_refused(self, tmp_path: Path) -> None:
        store, registry = Store(tmp_path), FakeRegistry()
        base = image(registry, DEBIAN)
        registry.corrupt(REPOSITORY, base.layers[0].digest, gzip.compress(tar_bytes([file("etc/passwd", b"evil")])))
        with pytest.raises(IntegrityError):
            FileSystems(store).read(base, lambda layer: None)
        packed = gzip.compress(tar_bytes(DEBIAN))
        for wrong in (packed[:-40], packed[:30] + bytes(255 - byte for byte in packed[30:]), b"no gzip at all", b""):
            registry.corrupt(REPOSITORY, base.layers[0].digest, wrong)
            with pytest.raises(IntegrityError):
                FileSystems(store).read(base, lambda layer: None)
        store.close()
