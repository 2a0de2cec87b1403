"""Where images go: layouts, registries, the engine; platforms and compressions."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import tarfile
import uuid
from pathlib import Path
from typing import Any

import pytest

from imagespec.builders import BuildOptions, Cancellation
from imagespec.builders.assembly.archive import write_archive
from imagespec.builders.daemonless import DaemonlessBuilder
from imagespec.errors import Cancelled, Unsupported
from imagespec.events import Warned, discard
from imagespec.names import Digest, Reference, Repository
from imagespec.oci import DOCKER_MANIFEST, Manifest, Platform, canonical_json
from imagespec.registry.layout import LayoutRegistry
from imagespec.validator import check_image, problems_of
from tests.fakes.bases import DEBIAN, file, image
from tests.fakes.registry import FakeRegistry
from tests.integration.daemonless.places import OWNED, SOURCES, TARGET, Bed, Offline
from tests.integration.sources import plan_of

pytestmark = pytest.mark.integration


def test_a_layout_from_a_layout(offline: Offline, tmp_path: Path) -> None:
    registry = LayoutRegistry(tmp_path / "out")
    offline.builder(registry).build(offline.plan(), SOURCES, TARGET, options=offline.options(), emit=discard)
    check_image(registry, TARGET, base_layers=1, changed=OWNED)
    if shutil.which("skopeo"):
        out = subprocess.run(
            ["skopeo", "inspect", "--raw", f"oci:{tmp_path}/out:t"], capture_output=True, text=True, check=False
        )
        assert out.returncode == 0, out.stderr


def test_an_image_loaded_into_the_engine_runs(testbed: Bed, offline: Offline) -> None:
    builder = DaemonlessBuilder(cache_dir=offline.cache, registry=FakeRegistry(), docker_host=testbed["docker_host"])
    name = f"loaded-{uuid.uuid4().hex[:8]}"
    target = Reference.parse(f"{name}:t")
    found = builder.build(offline.plan(), SOURCES, target, options=offline.options(load=True), emit=discard)
    env = {
        **os.environ,
        "DOCKER_HOST": testbed["docker_host"],
        "PATH": os.pathsep.join([*testbed["path"], "/usr/bin"]),
    }
    words = ["docker", "run", "--rm", "--pull", "never", f"{name}:t", "python", "-c"]
    script = "import lib, dep, app.main; print(lib.WHO, dep.WHO)"
    done = subprocess.run([*words, script], env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == "ran as flytekit in /root\nlib 1.0 dep 2.0\n", done.stderr
    assert found.size_bytes
    assert list((offline.cache / "daemonless" / "tmp").iterdir()) == []


def test_an_archive_of_several_platforms_is_refused(tmp_path: Path) -> None:
    registry = FakeRegistry()
    registry.write_manifest(TARGET, Manifest.index(()))
    with pytest.raises(Unsupported, match="several platforms"), (tmp_path / "a.tar").open("wb") as out:
        write_archive(registry, TARGET, out)


def test_two_platforms_make_an_index(offline: Offline) -> None:
    bases = FakeRegistry()
    reference = Reference.parse("registry.test/base:two")
    _two_platforms(LayoutRegistry(offline.layout), offline.digest, bases, reference)
    plan = offline.plan(base_image=str(reference), platform="linux/amd64,linux/arm64")
    registry = FakeRegistry()
    builder = DaemonlessBuilder(cache_dir=offline.cache, registry=registry, bases=bases)
    builder.build(plan, SOURCES, TARGET, options=BuildOptions(), emit=discard)
    assert problems_of(registry, TARGET, base_layers=1, changed=OWNED) == ()
    assert registry.resolve(TARGET, plan.platforms) is not None


def test_wheels_are_those_of_the_platform(offline: Offline) -> None:
    bases = FakeRegistry()
    reference = Reference.parse("registry.test/base:machines")
    _two_platforms(LayoutRegistry(offline.layout), offline.digest, bases, reference)
    plan = plan_of(
        base_image=str(reference),
        platform="linux/amd64,linux/arm64",
        packages=["markupsafe==3.0.3"],
        builder_options={"bytecode": False},
    )
    registry = FakeRegistry()
    builder = DaemonlessBuilder(cache_dir=offline.cache, registry=registry, bases=bases)
    builder.build(plan, SOURCES, TARGET, options=BuildOptions(), emit=discard)
    index = registry.read_manifest(TARGET)
    assert index is not None
    machines = {str(one.platform): _machines(registry, one.digest) for one in index.manifests}
    assert machines == {"linux/amd64": {62}, "linux/arm64": {183}}


@pytest.mark.parametrize("compression", ["gzip", "gzip-member", "uncompressed"])
def test_every_compression(offline: Offline, compression: str) -> None:
    registry = FakeRegistry()
    options = offline.options(compression=compression)
    offline.builder(registry).build(offline.plan(), SOURCES, TARGET, options=options, emit=discard)
    check_image(registry, TARGET, base_layers=1, changed=OWNED)


def test_layers_of_docker_s_types_get_oci_s(offline: Offline) -> None:
    bases, reference = FakeRegistry(), Reference.parse("registry.test/base:docker")
    _docker_typed(LayoutRegistry(offline.layout), offline.digest, bases, reference)
    registry = FakeRegistry()
    builder = DaemonlessBuilder(cache_dir=offline.cache, registry=registry, bases=bases)
    builder.build(offline.plan(base_image=str(reference)), SOURCES, TARGET, options=BuildOptions(), emit=discard)
    manifest = registry.read_manifest(TARGET)
    assert manifest is not None
    assert {layer.media_type.partition(".v1")[0] for layer in manifest.layers} == {"application/vnd.oci.image.layer"}


def test_what_the_registry_has_is_not_sent_again(offline: Offline) -> None:
    registry = FakeRegistry()
    builder = offline.builder(registry)
    builder.build(offline.plan(), SOURCES, TARGET, options=offline.options(), emit=discard)
    registry.calls.clear()
    other = Reference.parse("registry.test/other:t")
    builder.build(offline.plan(), SOURCES, other, options=offline.options(), emit=discard)
    written = [text for method, text in registry.calls if method == "write_blob"]
    mounted = [text for method, text in registry.calls if method == "mount"]
    assert len(mounted) >= 4
    assert len(written) == 3  # two configs, and the base's layer, which came from elsewhere
    assert [method for method, _ in registry.calls][-1] == "write_manifest"


@pytest.mark.parametrize("bytecode", [True, False])
def test_a_missing_interpreter_is_told_and_the_image_goes_without_bytecode(offline: Offline, bytecode: bool) -> None:
    """No machine has a Python 3.20, so nothing here compiles for a base that has one."""
    registry, base = FakeRegistry(), Reference.parse("registry.test/base:new")
    newer = [one for one in DEBIAN if "python" not in one[0].path]
    image(registry, [*newer, file("usr/bin/python3.20", b"\x7fELF\x003.20.1\x00", 0o755)], reference=base)
    builder = DaemonlessBuilder(cache_dir=offline.cache, registry=registry)
    plan = plan_of(SOURCES, base_image=str(base), pip_index=offline.index, packages=["lib"],
                   builder_options={"bytecode": bytecode})  # fmt: skip
    warned: list[Warned] = []
    builder.build(plan, SOURCES, TARGET, options=BuildOptions(),
                  emit=lambda event: warned.append(event) if isinstance(event, Warned) else None)  # fmt: skip
    check_image(registry, TARGET, base_layers=1, changed=OWNED)
    said = [f"{one.message} ({one.hint})" for one in warned]
    without = (
        "bytecode: there is no Python 3.20 on this machine, so the image starts without it (uv python install 3.20)"
    )
    assert said == ([without] if bytecode else [])
    titles = [one["created_by"] for one in _config(registry)["history"] if "created_by" in one]
    assert not [title for title in titles if "bytecode" in title]


def _config(registry: FakeRegistry) -> dict[str, Any]:
    manifest = registry.read_manifest(TARGET)
    assert manifest is not None
    with registry.read_blob(TARGET.repository, manifest.config.digest) as stream:
        value: dict[str, Any] = json.load(stream)
    return value


def test_a_cancelled_build_writes_no_manifest(offline: Offline) -> None:
    registry, cancellation = FakeRegistry(), Cancellation()
    cancellation.cancel()
    options = offline.options(cancellation=cancellation)
    with pytest.raises(Cancelled):
        offline.builder(registry).build(offline.plan(), SOURCES, TARGET, options=options, emit=discard)
    assert not [method for method, _ in registry.calls if method == "write_manifest"]


def _base(layout: LayoutRegistry, digest: Any) -> tuple[Manifest, dict[str, Any], bytes]:
    repository = Repository("localhost", "base")
    manifest = layout.read_manifest(Reference(repository, None, digest))
    assert manifest is not None
    with layout.read_blob(repository, manifest.config.digest) as config, \
            layout.read_blob(repository, manifest.layers[0].digest) as layer:  # fmt: skip
        return manifest, json.load(config), layer.read()


def _machines(registry: FakeRegistry, digest: Digest) -> set[int]:
    """Return the processors that the libraries over the base are for, as ELF numbers them."""
    manifest = registry.read_manifest(Reference(TARGET.repository, None, digest))
    assert manifest is not None
    found = set()
    for layer in manifest.layers[1:]:
        with registry.read_blob(TARGET.repository, layer.digest) as blob, \
                tarfile.open(fileobj=gzip.GzipFile(fileobj=blob), mode="r|") as archive:  # fmt: skip
            for member in archive:
                file = archive.extractfile(member) if member.name.endswith(".so") else None
                if file is not None:
                    found.add(int.from_bytes(file.read(20)[18:20], "little"))
    return found


def _two_platforms(layout: LayoutRegistry, digest: Any, registry: FakeRegistry, reference: Reference) -> None:
    from dataclasses import replace

    from imagespec.oci import OCI_CONFIG
    from tests.fakes.images import body, described

    manifest, config, layer = _base(layout, digest)
    registry.write_blob(reference.repository, manifest.layers[0], body(layer))
    listed = []
    for architecture in ("amd64", "arm64"):
        data = canonical_json({**config, "architecture": architecture})
        registry.write_blob(reference.repository, described(data, OCI_CONFIG), body(data))
        image = Manifest.image(config=described(data, OCI_CONFIG), layers=manifest.layers)
        registry.write_manifest(Reference(reference.repository, None, image.descriptor.digest), image)
        listed.append(replace(image.descriptor, platform=Platform("linux", architecture)))
    registry.write_manifest(reference, Manifest.index(tuple(listed)))


def _docker_typed(layout: LayoutRegistry, digest: Any, registry: FakeRegistry, reference: Reference) -> None:
    from tests.fakes.images import body, described

    manifest, config, layer = _base(layout, digest)
    registry.write_blob(reference.repository, manifest.layers[0], body(layer))
    data = canonical_json(config)
    descriptor = described(data, "application/vnd.docker.container.image.v1+json")
    registry.write_blob(reference.repository, descriptor, body(data))
    value = Manifest.image(config=descriptor, layers=manifest.layers).value() | {"mediaType": DOCKER_MANIFEST}
    value["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    registry.write_manifest(reference, Manifest(DOCKER_MANIFEST, canonical_json(value)))
