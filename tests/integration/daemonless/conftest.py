"""One image, one index and one look into a base for all tests of the daemonless builder."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagespec.builders import BuildOptions
from imagespec.builders.daemonless import DaemonlessBuilder
from imagespec.events import discard
from imagespec.names import Repository
from imagespec.registry.http import HttpRegistry
from imagespec.validator import check_image
from tests.fakes.package_index import make_wheel, serving
from tests.fakes.registry import FakeRegistry
from tests.integration.daemonless.places import OWNED, SOURCES, Bed, Offline, Place
from tests.integration.sources import plan_of


@pytest.fixture(scope="session")
def place(testbed: Bed) -> Iterator[Place]:
    with HttpRegistry() as registry:
        yield Place(testbed, registry, Repository(testbed["registry"], f"daemonless/{uuid.uuid4().hex[:12]}"))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def built(place: Place, cache: Path) -> Place:
    """An image with packages, scripts, sources and configuration, under the tag ``t``."""
    plan = plan_of(
        SOURCES,
        base_image=place.base,
        packages=["numpy==2.2.6", "requests", "flask"],
        env={"GREETING": "a b $HOME 'x'"},
        entrypoint=["/root/start.sh", "fixed"],
    )
    builder = DaemonlessBuilder(cache_dir=cache, registry=place.registry)
    options = BuildOptions(labels=(("io.test", "label"),))
    builder.build(plan, SOURCES, place.reference(), options=options, emit=discard)
    check_image(place.registry, place.reference(), base_layers=1, changed=OWNED)
    return place


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A small index of our own: something called pip, and a library with what it needs."""
    folder = tmp_path_factory.mktemp("index")
    make_wheel(folder, "pip", "26.3")
    make_wheel(folder, "lib", "1.0", requires=("dep",))
    make_wheel(folder, "other", "1.0")
    make_wheel(
        folder, "dep", "2.0", files={"dep_ns/part.py": "X = 1\n" * 40, "dep-2.0.data/data/share/d.txt": "d" * 99}
    )
    with serving(folder) as served:
        yield served.url


@pytest.fixture(scope="session")
def looked(registry_bed: Bed, index: str, tmp_path_factory: pytest.TempPathFactory) -> Offline:
    """The same with a cache that knows the base already: reading it takes seconds."""
    found = Offline(Path(registry_bed["layouts"]["python3.11"]), index, tmp_path_factory.mktemp("looked"))
    found.builder(FakeRegistry()).prepare(found.plan(), found.options())
    return found


@pytest.fixture
def offline(looked: Offline, tmp_path: Path) -> Offline:
    """What knows the base and nothing else."""
    shutil.copytree(looked.cache / "daemonless" / "bases", tmp_path / "cache" / "daemonless" / "bases")
    return Offline(looked.layout, looked.index, tmp_path / "cache")
