"""Layers as others read them: Docker, containerd, Podman, Buildah and skopeo see the same files with the same modes."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from imagespec.builders import BuildOptions
from imagespec.builders.daemonless import DaemonlessBuilder
from imagespec.events import discard
from imagespec.names import Reference
from imagespec.oci import Descriptor
from imagespec.validator import check_image
from tests.fakes.bases import DEBIAN, image, index_of
from tests.fakes.package_index import make_wheel, serving
from tests.integration.daemonless.places import SOURCES, Place
from tests.integration.daemonless.readers import Containers, Found, Tree, containerd, docker_tree, skopeo_tree
from tests.integration.sources import plan_of

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root unpacks files of several owners"),
]

COMPRESSIONS = ("gzip", "gzip-member", "zstd", "uncompressed")
PLATFORMS = ("linux/amd64", "linux/arm64")
# Larger than what is read at once, and well packed, so that its stream is spliced.
LARGE = "".join(f"value_{number} = {number * number}\n" for number in range(120_000))
READERS = ("docker", "containerd", "podman", "buildah", "skopeo")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder with a short name, since sockets are in it."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@pytest.fixture(scope="module")
def images(place: Place, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reference]:
    """An image of two platforms for each compression, with packages, scripts and sources, on a base of few files."""
    wheels = tmp_path_factory.mktemp("wheels")
    make_wheel(wheels, "pip", "26.3")
    points = "[console_scripts]\npacked-do = packed:main\n"
    files = {
        "packed_data/large.py": LARGE,
        "packed-1.0.dist-info/entry_points.txt": points,
        "packed_data/empty.txt": "",
    }
    make_wheel(wheels, "packed", files=files, is_deflated=True)
    base = place.reference("base")
    # A file whose folder is kept by a link, and a folder with a mode of its own above ours.
    index_of(place.registry, base, {
        one: image(place.registry, DEBIAN, reference=place.reference(one.replace("/", "-")), platform=one)
        for one in PLATFORMS
    })  # fmt: skip
    made = {}
    with serving(wheels) as index:
        for compression in COMPRESSIONS:
            plan = plan_of(
                SOURCES,
                base_image=str(base),
                packages=["packed"],
                pip_index=index.url,
                platform=",".join(PLATFORMS),
                builder_options={"bytecode": False},
            )
            target = Reference(place.repository, compression)
            builder = DaemonlessBuilder(cache_dir=tmp_path_factory.mktemp("cache"), registry=place.registry)
            options = BuildOptions(compression=compression)
            made[compression] = target.with_digest(
                builder.build(plan, SOURCES, target, options=options, emit=discard).digest
            )
            check_image(place.registry, target, base_layers=1, changed={"root", "home/flytekit"})
    return made


@pytest.fixture(scope="module")
def read(place: Place, folder: Path) -> Iterator[dict[str, Callable[[Reference], Tree]]]:
    for name in ("docker", "skopeo", "containers", "containerd"):
        (folder / name).mkdir()
    containers = Containers(folder / "containers")
    with containerd(folder / "containerd") as ctr:
        yield {
            "docker": lambda reference: docker_tree(place, reference, folder / "docker"),
            "containerd": ctr,
            "podman": containers.podman,
            "buildah": containers.buildah,
            "skopeo": lambda reference: skopeo_tree(reference, folder / "skopeo"),
        }


def expected(place: Place, reference: Reference, platform: str) -> Tree:
    """Return what the layers hold, by the standard library."""
    index = place.registry.read_manifest(reference)
    assert index is not None
    digest = next(one.digest for one in index.manifests if str(one.platform) == platform)
    manifest = place.registry.read_manifest(Reference(reference.repository, None, digest))
    assert manifest is not None
    tree: Tree = {}
    for layer in manifest.layers:
        with place.registry.read_blob(reference.repository, layer.digest) as blob, \
                tarfile.open(fileobj=_unpacked(blob, layer), mode="r|") as archive:  # fmt: skip
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                kind = "file" if file else "link" if member.issym() else "folder"
                tree[member.name.strip("/")] = Found(
                    kind,
                    0 if kind == "link" else member.mode & 0o7777,
                    (member.uid, member.gid),
                    _digest(file.read()) if file else member.linkname,
                )
    return tree


def _digest(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def _unpacked(blob: Any, layer: Descriptor) -> Any:
    if layer.media_type.endswith("gzip"):
        return gzip.GzipFile(fileobj=blob)
    if layer.media_type.endswith("zstd"):
        return io.BytesIO(zstandard.ZstdDecompressor().stream_reader(blob, read_across_frames=True).read())
    return blob


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_sees_what_was_written(
    reader: str,
    compression: str,
    read: dict[str, Callable[[Reference], Tree]],
    images: dict[str, Reference],
    place: Place,
) -> None:
    wanted = expected(place, images[compression], "linux/amd64")
    assert len(wanted) > 40
    found = read[reader](images[compression])
    different = {path: (one, found.get(path)) for path, one in wanted.items() if found.get(path) != one}
    # Docker puts files of its own over these when it makes a container.
    assert set(different) <= ({"etc"} if reader == "docker" else set()), different
    more = {path for path in found if path not in wanted and path.split("/")[0] in ("opt", "root", "home", "usr")}
    assert not more


def test_compressions_hold_the_same(images: dict[str, Reference], place: Place) -> None:
    trees = [expected(place, images[one], platform) for one in COMPRESSIONS for platform in PLATFORMS]
    assert all(tree == trees[0] for tree in trees)
