"""What is found in a base, what is written over it, what the store survives: all without an engine or a registry."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from imagespec.builders.assembly.base import Image
from imagespec.builders.assembly.file_system import FileSystem, read_file_system
from imagespec.builders.assembly.image_config import CREATED, image_config
from imagespec.builders.assembly.interpreters import environment_python, find_interpreter
from imagespec.builders.assembly.layers import LayerStore
from imagespec.builders.assembly.roots import account_entries, environment_entries, with_parents
from imagespec.builders.assembly.store import Store, key_of
from imagespec.errors import IntegrityError, Unsupported
from imagespec.names import Reference, Repository
from imagespec.oci import (
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER_GZIP,
    Descriptor,
    Manifest,
    Platform,
    canonical_json,
    digest_of,
)
from imagespec.plan import Account, ImageConfig, PythonEnvironment
from imagespec.tarball import FILE, FOLDER, LINK, TarEntry, tar_bytes
from imagespec.validator import check_image, problems_of
from tests.fakes.images import body, described
from tests.fakes.registry import FakeRegistry

REPOSITORY = Repository("registry.test", "base")
AMD64 = Platform.parse("linux/amd64")
ACCOUNT = Account(name="flytekit", uid=1000, gid=1000, home="/home/flytekit")
STEP = PythonEnvironment(
    prefix="/opt/venv", version="", executable="", fallback="3.13", system_site_packages=True, pip="26.3"
)
Content = tuple[TarEntry, bytes]


def file(path: str, data: bytes = b"", mode: int = 0o644, uid: int = 0) -> Content:
    return TarEntry(path, FILE, mode, uid, uid, len(data)), data


def folder(path: str, mode: int = 0o755, uid: int = 0) -> Content:
    return TarEntry(path, FOLDER, mode, uid, uid), b""


def link(path: str, target: str) -> Content:
    return TarEntry(path, LINK, 0o777, target=target), b""


DEBIAN = [
    link("bin", "usr/bin"),
    link("lib", "usr/lib"),
    folder("etc"),
    file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh"),
    file("etc/group", b"root:x:0:\n"),
    folder("home", 0o751),
    folder("root", 0o700),
    file("root/.profile", b"profile\n", 0o600),
    folder("tmp", 0o1777),
    folder("usr"),
    folder("usr/bin"),
    link("usr/bin/python3", "python3.11"),
    file("usr/bin/python3.11", b"\x7fELF\x003.11.2\x00", 0o755),
    folder("usr/lib"),
    file("usr/lib/libc.so.6", b"\0GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.\n"),
]


def image(
    registry: FakeRegistry, *layers: list[Content], run_time: Mapping[str, Any] = {}, docker: bool = False
) -> Image:
    descriptors, diff_ids = [], []
    for entries in layers:
        data = tar_bytes(entries)
        packed = gzip.compress(data)
        media_type = "application/vnd.docker.image.rootfs.diff.tar.gzip" if docker else OCI_LAYER_GZIP
        descriptors.append(described(packed, media_type))
        diff_ids.append(str(digest_of(data)))
        registry.write_blob(REPOSITORY, descriptors[-1], body(packed))
    config = {
        "os": "linux",
        "architecture": "amd64",
        "config": dict(run_time),
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    data = canonical_json(config)
    described_config = described(data, OCI_CONFIG)
    registry.write_blob(REPOSITORY, described_config, body(data))
    manifest = Manifest.image(config=described_config, layers=tuple(descriptors))
    if docker:
        value = manifest.value() | {"mediaType": DOCKER_MANIFEST}
        manifest = Manifest(DOCKER_MANIFEST, canonical_json(value))
    registry.write_manifest(Reference(REPOSITORY, "latest"), manifest)
    return Image(registry=registry, repository=REPOSITORY, manifest=manifest, config=config)


def files_of(tmp_path: Path, *layers: list[Content]) -> FileSystem:
    store = Store(tmp_path / "store")
    try:
        return read_file_system(image(FakeRegistry(), *layers), store, lambda layer: None)
    finally:
        store.close()


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
        read_file_system(base, store, read.append)
        read_file_system(base, store, read.append)
        store.close()
        assert len(read) == 1

    def test_a_layer_that_is_not_its_digest_s_content_is_refused(self, tmp_path: Path) -> None:
        store, registry = Store(tmp_path), FakeRegistry()
        base = image(registry, DEBIAN)
        registry.corrupt(REPOSITORY, base.layers[0].digest, gzip.compress(tar_bytes([file("etc/passwd", b"evil")])))
        with pytest.raises(IntegrityError):
            read_file_system(base, store, lambda layer: None)
        registry.corrupt(REPOSITORY, base.layers[0].digest, gzip.compress(tar_bytes(DEBIAN))[:-40])
        with pytest.raises(IntegrityError):
            read_file_system(base, store, lambda layer: None)
        store.close()


class TestInterpreter:
    def found(self, tmp_path: Path, entries: list[Content], step: PythonEnvironment = STEP, path: str = "") -> Any:
        run_time = {"Env": [f"PATH={path}"]} if path else {}
        return find_interpreter(files_of(tmp_path, entries), run_time, step)

    def test_debian_s(self, tmp_path: Path) -> None:
        found = self.found(tmp_path, DEBIAN)
        assert (found.path, found.version, found.libc, found.minor) == (
            "/usr/bin/python3.11",
            "3.11.2",
            "glibc 2.36",
            "3.11",
        )

    def test_the_official_image_s_version_is_in_its_library(self, tmp_path: Path) -> None:
        entries = [
            *DEBIAN,
            link("usr/local/bin/python3", "python3.13"),
            link("usr/local/bin/python", "python3"),
            file("usr/local/bin/python3.13", b"\x7fELF", 0o755),
            file("usr/local/lib/libpython3.13.so.1.0", b"\x003.13.1\x00"),
        ]
        found = self.found(tmp_path, entries, path="/usr/local/bin:/usr/bin")
        assert (found.path, found.version) == ("/usr/local/bin/python3.13", "3.13.1")

    def test_conda_s(self, tmp_path: Path) -> None:
        entries = [
            *DEBIAN,
            link("opt/conda/bin/python", "python3.12"),
            file("opt/conda/bin/python3.12", b"\x003.12.4\x00"),
        ]
        found = self.found(tmp_path, entries, path="/opt/conda/bin:/usr/bin")
        assert (found.path, found.version) == ("/opt/conda/bin/python3.12", "3.12.4")

    def test_musl(self, tmp_path: Path) -> None:
        entries = [
            file("usr/bin/python3.12", b"\x003.12.9\x00"),
            file("lib/ld-musl-x86_64.so.1", b"\0musl\x001.2.5\x00"),
        ]
        assert self.found(tmp_path, entries).libc == "musl 1.2.5"

    def test_the_version_asked_for_is_found_behind_another(self, tmp_path: Path) -> None:
        entries = [
            *DEBIAN,
            file("usr/local/bin/python3.10", b"\x003.10.9\x00", 0o755),
            link("usr/local/bin/python3", "python3.10"),
        ]
        step = PythonEnvironment(**{**_fields(STEP), "version": "3.11"})
        assert self.found(tmp_path, entries, step, path="/usr/local/bin:/usr/bin").path == "/usr/bin/python3.11"

    @pytest.mark.parametrize("version", ["3.12", "3.11.9", "3.1"])
    def test_a_base_without_the_version_says_what_it_has(self, tmp_path: Path, version: str) -> None:
        step = PythonEnvironment(**{**_fields(STEP), "version": version})
        with pytest.raises(
            Unsupported, match=rf"no Python {version}, it has 3\.11\.2 \(/usr/bin/python3\.11\)"
        ) as raised:
            self.found(tmp_path, DEBIAN, step)
        assert raised.value.field == "python_version"
        assert "buildkit" in raised.value.hint

    def test_a_base_without_python_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(Unsupported, match="it has no Python 3"):
            self.found(tmp_path, DEBIAN[:5])

    def test_an_environment_of_a_parent_is_read_from_its_settings(self, tmp_path: Path) -> None:
        text = b"home = /usr/bin\nversion_info = 3.11.2\n"
        found = environment_python(files_of(tmp_path, [*DEBIAN, file("opt/venv/pyvenv.cfg", text)]), "/opt/venv")
        assert (found.version, found.libc) == ("3.11.2", "glibc 2.36")
        with pytest.raises(Unsupported, match="no environment in /opt/venv"):
            environment_python(files_of(tmp_path / "2", DEBIAN), "/opt/venv")


def _fields(step: PythonEnvironment) -> dict[str, Any]:
    return {name: getattr(step, name) for name in step.__dataclass_fields__}


def config(**more: Any) -> ImageConfig:
    given: dict[str, Any] = {
        "env": (("A", "1"), ("PYTHONPATH", "/root")),
        "path": ("/opt/venv/bin",),
        "entrypoint": None,
        "account": ACCOUNT,
        "workdir": "/root",
        "labels": (),
        "image_id": "id",
    }
    return ImageConfig(**{**given, **more})


class TestRoots:
    def test_the_account_is_added_to_what_the_base_has(self, tmp_path: Path) -> None:
        files = files_of(tmp_path, DEBIAN)
        entries = with_parents(
            files, account_entries(files, config(), lambda wanted: dict.fromkeys(wanted, b"profile\n"))
        )
        found = {one.entry.path: one for one in entries}
        assert found["etc/passwd"].data == (
            b"root:x:0:0:root:/root:/bin/sh\nflytekit:x:1000:1000::/home/flytekit:/bin/sh\n"
        )
        assert found["etc/group"].data == b"root:x:0:\nflytekit:x:1000:\n"
        assert found["home"].entry[1:5] == (FOLDER, 0o751, 0, 0)
        assert found["home/flytekit"].entry[1:5] == (FOLDER, 0o755, 1000, 1000)
        assert found["root"].entry[1:5] == (FOLDER, 0o755, 1000, 1000)
        assert found["root/.profile"].entry[1:5] == (FILE, 0o600, 1000, 1000)
        assert list(found) == sorted(found)

    def test_a_base_that_has_all_of_it_needs_nothing(self, tmp_path: Path) -> None:
        base = [
            file("etc/passwd", b"flytekit:x:1000:1000::/home/flytekit:/bin/sh\n"),
            file("etc/group", b"flytekit:x:1000:\n"),
            folder("home"),
            folder("home/flytekit", uid=1000),
            folder("root", uid=1000),
        ]
        files = files_of(tmp_path, base)
        paths = [one.entry.path for one in account_entries(files, config(), lambda wanted: {})]
        assert paths == ["root"]

    def test_a_user_of_that_name_with_another_id_is_refused(self, tmp_path: Path) -> None:
        files = files_of(tmp_path, [file("etc/passwd", b"flytekit:x:7:7::/:/bin/sh\n")])
        with pytest.raises(Unsupported, match="an id of its own"):
            account_entries(files, config(), lambda wanted: {})

    def test_a_workdir_behind_a_link_is_refused(self, tmp_path: Path) -> None:
        files = files_of(tmp_path, DEBIAN)
        with pytest.raises(Unsupported, match="/lib is a link"):
            with_parents(files, account_entries(files, config(workdir="/lib/app"), lambda wanted: {}))

    def test_something_in_the_environment_s_place_is_refused(self, tmp_path: Path) -> None:
        files = files_of(tmp_path, [*DEBIAN, file("opt/venv/pyvenv.cfg")])
        python = find_interpreter(files, {}, STEP)
        with pytest.raises(Unsupported, match="something in /opt/venv already"):
            environment_entries(files, STEP, python, ACCOUNT)


class TestConfig:
    def made(self, run_time: Mapping[str, Any], options: Mapping[str, str] = {}, **more: Any) -> dict[str, Any]:
        base = image(FakeRegistry(), DEBIAN, run_time=run_time)
        value: dict[str, Any] = json.loads(image_config(base, AMD64, config(**more), [], options))
        assert value["created"] == CREATED
        assert len(value["history"]) == len(value["rootfs"]["diff_ids"]) == 1
        return dict(value["config"])

    def test_the_environment_as_buildkit_has_it(self) -> None:
        made = self.made({"Env": ["PATH=/bin", "A=0", "_F_IMG_ID=old", "Z=9"]})
        assert made["Env"] == ["PATH=/opt/venv/bin:/bin", "A=1", "Z=9", "PYTHONPATH=/root", "_F_IMG_ID=id"]

    def test_a_base_without_path_gets_the_usual_one(self) -> None:
        assert self.made({})["Env"][0].startswith("PATH=/opt/venv/bin:/usr/local/sbin:")

    def test_a_path_of_the_user_s_own_stands(self) -> None:
        assert "PATH=/mine" in self.made({"Env": ["PATH=/bin"]}, env=(("PATH", "/mine"),))["Env"]

    @pytest.mark.parametrize(
        ("entrypoint", "expected"),
        [
            (None, {"Entrypoint": ["old"], "Cmd": ["run"]}),
            (("new", "x"), {"Entrypoint": ["new", "x"]}),
            ((), {}),
        ],
    )
    def test_an_entrypoint_drops_the_command(self, entrypoint: Any, expected: dict[str, Any]) -> None:
        made = self.made({"Entrypoint": ["old"], "Cmd": ["run"]}, entrypoint=entrypoint)
        assert {key: made[key] for key in ("Entrypoint", "Cmd") if key in made} == expected

    def test_labels_user_and_workdir(self) -> None:
        made = self.made({"Labels": {"a": "0", "b": "0"}, "User": "x"}, {"c": "2"}, labels=(("a", "1"),))
        assert made["Labels"] == {"a": "1", "b": "0", "c": "2"}
        assert (made["User"], made["WorkingDir"]) == ("flytekit", "/root")


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


class TestValidator:
    def check(self, *layers: list[Content], changed: set[str] = set()) -> tuple[str, ...]:
        registry = FakeRegistry()
        image(registry, *layers)
        return problems_of(registry, Reference(REPOSITORY, "latest"), base_layers=1, changed=changed)

    def test_a_good_image_has_no_problem(self) -> None:
        assert self.check(DEBIAN, [folder("root", 0o755, 1000), file("root/x")], changed={"root"}) == ()

    @pytest.mark.parametrize(
        ("upper", "problem"),
        [
            ([file("tmp/x")], "'tmp' has mode 1777 and owner 0:0 below, and is not described"),
            ([folder("tmp"), file("tmp/x")], "other mode or owner here"),
            ([folder("lib"), file("lib/x")], "'lib' is a link below, and a folder here"),
            ([file("lib/x")], "which is no folder"),
            ([file("x"), file("x")], "is in it twice"),
            ([folder("etc"), folder("etc")], "is in it twice"),
        ],
    )
    def test_each_trap_is_told(self, upper: list[Content], problem: str) -> None:
        (found,) = self.check(DEBIAN, upper)
        assert problem in found

    @pytest.mark.parametrize("name", ["/etc/x", "a/../../x"])
    def test_paths_that_lead_out(self, name: str) -> None:
        registry = FakeRegistry()
        base = image(registry, DEBIAN)
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            archive.addfile(tarfile.TarInfo(name))
        packed = gzip.compress(out.getvalue())
        layer = described(packed, OCI_LAYER_GZIP)
        registry.write_blob(REPOSITORY, layer, body(packed))
        value = {**base.config, "rootfs": {"diff_ids": [*base.diff_ids, str(digest_of(out.getvalue()))]}}
        data = canonical_json(value)
        registry.write_blob(REPOSITORY, described(data, OCI_CONFIG), body(data))
        manifest = Manifest.image(config=described(data, OCI_CONFIG), layers=(*base.layers, layer))
        registry.write_manifest(Reference(REPOSITORY, "evil"), manifest)
        with pytest.raises(IntegrityError, match="leads out of the image"):
            check_image(registry, Reference(REPOSITORY, "evil"), base_layers=1)

    def test_a_wrong_diff_id_is_told(self) -> None:
        registry = FakeRegistry()
        base = image(registry, DEBIAN)
        data = canonical_json({**base.config, "rootfs": {"diff_ids": ["sha256:" + "0" * 64]}})
        registry.write_blob(REPOSITORY, described(data, OCI_CONFIG), body(data))
        manifest = Manifest.image(config=described(data, OCI_CONFIG), layers=base.layers)
        registry.write_manifest(Reference(REPOSITORY, "bad"), manifest)
        (found,) = problems_of(registry, Reference(REPOSITORY, "bad"))
        assert "not the diff ID" in found

    def test_an_image_that_is_not_there(self) -> None:
        assert problems_of(FakeRegistry(), Reference(REPOSITORY, "none")) == ("registry.test/base:none is not there",)
