"""What the daemonless builder keeps on a machine."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from imagespec.builders.assembly.layers import LayerStore
from imagespec.builders.assembly.store import Store, key_of
from imagespec.oci import (
    digest_of,
)
from imagespec.tarball import TarEntry


class TestStore:
    def test_what_is_written_is_found_by_name_and_size(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        store.write("wheels", lambda out: (out.write(b"abc"), "name")[1])
        assert store.find("wheels", "name") is not None
        assert store.find("wheels", "name", 3) is not None
        assert store.find("wheels", "name", 4) is None
        assert store.find("wheels", "other") is None
        store.close()
        assert list((tmp_path / "tmp").iterdir()) == []

    def test_a_failed_write_leaves_nothing(self, tmp_path: Path) -> None:
        store = Store(tmp_path)

        def fail(out: Any) -> str:
            out.write(b"half")
            raise RuntimeError("stop")

        with pytest.raises(RuntimeError):
            store.write("wheels", fail)
        assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock"] == []
        store.close()

    def test_a_record_that_is_cut_is_no_record(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        store.write_record("k", {"a": 1})
        assert store.record("k") == {"a": 1}
        store.path("records", "k").write_bytes(b'{"a"')
        assert store.record("k") is None
        store.close()

    def test_an_old_value_is_not_given(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        store.write_value("locks", "k", 1)
        assert store.value("locks", "k", 10, time.time()) == 1
        assert store.value("locks", "k", 10, time.time() + 11) is None
        store.close()

    def test_pruning_removes_what_was_not_used_for_longest(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        for number in range(4):
            store.write("wheels", lambda out, n=number: (out.write(bytes(100)), f"w{n}")[1])  # type: ignore[misc]
            os.utime(store.path("wheels", f"w{number}"), (number, number))
        store.find("wheels", "w0")
        assert {one.name for one in store.prune(250)} == {"w1", "w2"}
        assert {one.name for one in store.list()} == {"w0", "w3"}
        store.close()

    def test_it_is_pruned_once_a_day(self, tmp_path: Path) -> None:
        store, now = Store(tmp_path), time.time()
        for name in ("a", "b"):
            store.write("wheels", lambda out, n=name: (out.write(bytes(100)), n)[1])  # type: ignore[misc]
            os.utime(store.path("wheels", name), (now - ord(name), now - ord(name)))
        assert store.prune_when_due(250, now) == ()
        assert store.prune_when_due(150, now + 3600) == ()
        assert [one.name for one in store.prune_when_due(150, now + 90_000)] == ["b"]
        store.close()

    def test_keys_have_no_joints(self) -> None:
        assert key_of("ab", "c") != key_of("a", "bc")
        assert key_of(["a"], "b") != key_of(["a", "b"])

    def test_builds_side_by_side_make_a_layer_once(self, tmp_path: Path) -> None:
        store, written = Store(tmp_path), []
        both_ask = threading.Barrier(2)

        def write(writer: Any) -> None:
            written.append(threading.get_ident())
            time.sleep(0.1)  # long enough for the other to come to the same layer
            writer.add(TarEntry("a", size_bytes=1), b"a")

        def build() -> str:
            both_ask.wait()
            return str(LayerStore(store, "gzip").layer("a", ["same inputs"], write).descriptor.digest)

        with ThreadPoolExecutor(2) as threads:
            digests = [one.result() for one in [threads.submit(build), threads.submit(build)]]
        assert digests[0] == digests[1]
        assert len(written) == 1
        store.close()

    def test_a_layer_whose_bytes_are_gone_is_made_again(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        made: list[int] = []

        def write(writer: Any) -> None:
            made.append(1)
            writer.add(TarEntry("x", size_bytes=1), b"y")

        layers = LayerStore(store, "gzip")
        first = layers.layer("x", ["x"], write)
        second = layers.layer("x", ["x"], write)
        assert (first.descriptor, len(made)) == (second.descriptor, 1)
        store.path("layers", first.descriptor.digest.encoded).unlink()
        with second.open() as stream:
            assert digest_of(stream.read()) == first.descriptor.digest
        assert len(made) == 2
        store.close()
