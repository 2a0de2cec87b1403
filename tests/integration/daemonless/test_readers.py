"""Layers as others read them: Docker, containerd, Podman, Buildah and skopeo see the same files with the same modes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imagespec.builders import BuildOptions
from imagespec.builders.daemonless import DaemonlessBuilder
from imagespec.events import discard
from imagespec.names import Reference
from imagespec.validator import check_image
from tests.fakes.bases import DEBIAN, image, index_of
from tests.fakes.package_index import make_wheel, serving
from tests.integration.conftest import Command
from tests.integration.daemonless.places import SOURCES, Place
from tests.integration.daemonless.readers import (
    Containers,
    Tree,
    containerd,
    different,
    docker_tree,
    expected,
    skopeo_tree,
)
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
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    wheels = tmp_path_factory.mktemp("wheels")
    make_wheel(wheels, "pip", "26.3")
    points = "[console_scripts]\npacked-do = packed:main\n"
    files = {
        "packed_data/large.py": LARGE,
        "packed-1.0.dist-info/entry_points.txt": points,
        "packed_data/empty.txt": "",
    }
    make_wheel(wheels, "packed", files=files, is_deflated=True)
    with serving(wheels) as index:
        yield index.url


@pytest.fixture(scope="module")
def images(place: Place, wheels: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reference]:
    """An image of two platforms for each compression, with packages, scripts and sources, on a base of few files."""
    base = place.reference("base")
    index_of(place.registry, base, {
        one: image(place.registry, DEBIAN, reference=place.reference(one.replace("/", "-")), platform=one)
        for one in PLATFORMS
    })  # fmt: skip
    made = {}
    for compression in COMPRESSIONS:
        plan = plan_of(
            SOURCES,
            base_image=str(base),
            packages=["packed"],
            pip_index=wheels,
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


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_sees_what_was_written(
    reader: str,
    compression: str,
    read: dict[str, Callable[[Reference], Tree]],
    images: dict[str, Reference],
    place: Place,
) -> None:
    wanted = expected(place.registry, images[compression], "linux/amd64")
    assert len(wanted) > 40
    assert different(read[reader](images[compression]), wanted, by_docker=reader == "docker") == {}


def test_compressions_hold_the_same(images: dict[str, Reference], place: Place) -> None:
    trees = [expected(place.registry, images[one], platform) for one in COMPRESSIONS for platform in PLATFORMS]
    assert all(tree == trees[0] for tree in trees)


@pytest.mark.parametrize("compression", ["gzip", "gzip-member"])
def test_archives_are_loaded(
    compression: str, imagespec: Command, place: Place, folder: Path, tmp_path: Path, wheels: str, images: object
) -> None:
    """``build --archive``: by Docker, containerd and Podman."""
    (tmp_path / "image.yaml").write_text(
        f"name: archived-{compression}\nbase_image: {place.reference('linux-amd64')}\npackages: [packed]\n"
        f"pip_index: {wheels}\nregistry: {imagespec.registry}\n"
        f"builder_options: {{compression: {compression}, bytecode: false}}\n"
    )
    made = imagespec("build", "image.yaml", "--archive", "image.tar", cwd=tmp_path)
    reference = Reference.parse(made.stdout.strip())
    archive = tmp_path / "image.tar"
    first = archive.read_bytes()
    wanted = expected(place.registry, reference)
    named = Reference(reference.repository, reference.tag)
    assert different(docker_tree(place, named, tmp_path, archive), wanted, by_docker=True) == {}
    loading = folder / compression
    loading.mkdir()
    assert different(Containers(loading).podman_load(archive, named), wanted) == {}
    (loading / "containerd").mkdir()
    with containerd(loading / "containerd") as tree:
        assert different(tree(named, archive), wanted) == {}
    imagespec("build", "image.yaml", "--archive", "image.tar", cwd=tmp_path)
    assert archive.read_bytes() == first
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []


def test_archives_are_refused_before_anything_is_built(
    imagespec: Command, place: Place, tmp_path: Path, images: object
) -> None:
    for name, more in (("one", "platform: 'linux/amd64,linux/arm64'\n"), ("two", "")):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\nbase_image: {place.reference('base')}\n{more}")
    registry = ("--registry", imagespec.registry)
    for words, said in (
        (("one.yaml", "--archive", "a.tar", *registry), "several platforms"),
        (("one.yaml", "two.yaml", "--archive", "a.tar", *registry), "takes one image, 2 are named"),
        (("two.yaml", "--archive", "nowhere/a.tar", *registry), "there is no folder nowhere"),
        (("two.yaml", "--archive", "a.tar"), "docker save"),
        (("none.yaml", "--archive", "a.tar"), "none.yaml"),
    ):
        wrong = imagespec("build", *words, cwd=tmp_path, expect=2)
        assert said in wrong.stderr
    assert not (tmp_path / "a.tar").exists()
