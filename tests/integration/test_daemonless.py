"""Images of the daemonless builder: pulled and run by a real engine, the same bytes everywhere, never half there."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from imagespec.builders import BuildOptions, Cancellation
from imagespec.builders.assembly.archive import write_archive
from imagespec.builders.assembly.store import Store
from imagespec.builders.daemonless import DaemonlessBuilder
from imagespec.errors import Cancelled, InputMissing, Unsupported, WrongPlatform
from imagespec.events import Warned, discard
from imagespec.fingerprint import environment_reference, fingerprint_of
from imagespec.names import Digest, Reference, Repository
from imagespec.oci import DOCKER_MANIFEST, Manifest, Platform, canonical_json
from imagespec.plan import Parent
from imagespec.planner import make_plan
from imagespec.registry.http import HttpRegistry
from imagespec.registry.layout import LayoutRegistry
from imagespec.snapshot import Snapshot, Tree
from imagespec.spec import Declaration
from imagespec.validator import check_image, problems_of
from tests.fakes.package_index import make_wheel, serving
from tests.fakes.registry import FakeRegistry
from tests.integration.sources import Sources, layout_digest, plan_of

pytestmark = pytest.mark.integration

Bed = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
OWNED = {"root", "home/flytekit"}
AMD64 = Platform.parse("linux/amd64")
SOURCES = Sources(
    {
        "app/__init__.py": b"",
        "app/main.py": b"import getpass, os\nprint('ran as', getpass.getuser(), 'in', os.getcwd())\n",
        "start.sh": b'#!/bin/sh\necho started "$@"\n',
        "with space/\xc3\xa9.txt".encode("latin1").decode(): b"text",
    }
)


@dataclass(frozen=True)
class Place:
    """A repository of the test-bed, and the engine that pulls from it."""

    bed: Bed
    registry: HttpRegistry
    repository: Repository

    @property
    def base(self) -> str:
        return f"{self.bed['registry']}/{self.bed['bases']['python3.11']}"

    def reference(self, tag: str = "t") -> Reference:
        return Reference(self.repository, tag)

    def run(self, tag: str, *command: str, user: str = "") -> str:
        env = {**os.environ, "DOCKER_HOST": self.bed["docker_host"], "DOCKER_CONFIG": self.bed["docker_config"]}
        env["PATH"] = os.pathsep.join([*self.bed["path"], env["PATH"]])
        words = ["docker", "run", "--rm", "--quiet", "--pull", "always", *(["--user", user] if user else [])]
        done = subprocess.run(
            [*words, str(self.reference(tag)), *command],
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def place(testbed: Bed) -> Iterator[Place]:
    with HttpRegistry() as registry:
        yield Place(testbed, registry, Repository(testbed["registry"], f"daemonless/{uuid.uuid4().hex[:12]}"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
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


def config_of(place: Place, tag: str) -> dict[str, Any]:
    manifest = place.registry.read_manifest(place.reference(tag))
    assert manifest is not None
    with place.registry.read_blob(place.repository, manifest.config.digest) as stream:
        value: dict[str, Any] = json.load(stream)
    return value


def layers_of(place: Place, tag: str) -> list[str]:
    manifest = place.registry.read_manifest(place.reference(tag))
    assert manifest is not None
    return [str(layer.digest) for layer in manifest.layers]


class TestInsideTheContainer:
    def shell(self, place: Place, script: str, user: str = "") -> str:
        env = {**os.environ, "DOCKER_HOST": place.bed["docker_host"], "DOCKER_CONFIG": place.bed["docker_config"]}
        env["PATH"] = os.pathsep.join([*place.bed["path"], env["PATH"]])
        words = ["docker", "run", "--rm", "--quiet", "--entrypoint", "sh", *(["--user", user] if user else [])]
        done = subprocess.run(
            [*words, str(place.reference()), "-c", script],
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def test_packages_import_and_pip_knows_them(self, built: Place) -> None:
        out = self.shell(
            built,
            "python -c 'import numpy, requests, flask; print(numpy.__version__, numpy.ones(3).sum())'; "
            "pip check; pip list --format=freeze; python -m pip --version; flask --version; f2py -v",
        )
        assert out.startswith("2.2.6 3.0\nNo broken requirements found.\n")
        for line in ("numpy==2.2.6", "pip==26.3", "Flask"):
            assert line in out

    def test_every_line_of_every_record_is_true(self, built: Place) -> None:
        out = self.shell(
            built,
            "cat > /tmp/check.py <<'END'\n"
            "import base64, hashlib, importlib.metadata as m, pathlib\n"
            "checked = 0\n"
            "for dist in m.distributions():\n"
            "    if 'venv' not in str(dist.locate_file('')): continue\n"
            "    for file in dist.files:\n"
            "        path = pathlib.Path(file.locate()); assert path.is_file(), path\n"
            "        if file.hash:\n"
            "            data = path.read_bytes(); checked += 1\n"
            "            want = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()\n"
            "            assert (file.hash.value, file.size) == (want, len(data)), path\n"
            "print(checked)\n"
            "END\n"
            "python /tmp/check.py",
        )
        assert int(out) > 1000

    def test_bytecode_is_used_as_it_is(self, built: Place) -> None:
        out = self.shell(
            built,
            "python -v -c 'import numpy' 2>&1 | grep -c 'matches /opt/venv.*numpy/__init__.py'; "
            'python -c "import numpy, numpy.linalg._linalg as l; print(numpy.__cached__, l.__file__)"; '
            "find /opt/venv -name '*.pyc' -newer /etc/hostname | wc -l",
        )
        lines = out.splitlines()
        assert lines[1].startswith("/opt/venv/lib/python3.11/site-packages/numpy/__pycache__/__init__.cpython-311.pyc")
        assert lines[2] == "0"

    def test_user_workdir_sources_and_environment(self, built: Place) -> None:
        out = self.shell(
            built,
            "id -un; pwd; python -m app.main; printenv GREETING PYTHONPATH _F_IMG_ID; which python; "
            "cat 'with space/é.txt'; touch /root/new /opt/venv/new && "
            "stat -c '%a %U' / /tmp /opt /home /root /usr /etc",
        )
        lines = out.splitlines()
        assert lines[:5] == ["flytekit", "/root", "ran as flytekit in /root", "a b $HOME 'x'", "/root"]
        assert lines[6] == "/opt/venv/bin/python"
        assert lines[7].startswith("text")
        assert out.endswith("755 root\n1777 root\n755 root\n755 root\n755 flytekit\n755 root\n755 root\n")

    def test_the_entrypoint(self, built: Place) -> None:
        assert built.run("t", "more") == "started fixed more\n"

    def test_pip_uninstalls_what_was_never_installed(self, built: Place) -> None:
        out = self.shell(
            built,
            "pip uninstall -y -q requests && ! python -c 'import requests' 2>/dev/null && "
            "ls /opt/venv/lib/python3.11/site-packages | grep -c '^requests' || true",
        )
        assert out.strip().endswith("0")

    def test_the_config_says_what_it_resolved_to(self, built: Place) -> None:
        config = config_of(built, "t")
        assert config["config"]["Labels"]["io.test"] == "label"
        assert json.loads(config["config"]["Labels"]["io.imagespec.lock"])["numpy"] == "2.2.6"
        assert config["config"]["Env"][-1].startswith("_F_IMG_ID=")
        assert config["created"] == "1980-01-01T00:00:00Z"


class TestEnvironmentAndCode:
    def test_an_edit_pushes_one_layer_over_the_environment(self, built: Place, cache: Path) -> None:
        edited = Sources({"app/__init__.py": b"", "app/main.py": b"print('edited')\n"})
        packages = ["numpy==2.2.6", "requests", "flask"]
        plan = plan_of(edited, base_image=built.base, packages=packages, env={"GREETING": "a b $HOME 'x'"})
        builder = DaemonlessBuilder(cache_dir=cache, registry=built.registry)
        kept = environment_reference(plan, built.reference("edit"))
        assert kept is not None
        titles: list[str] = []
        builder.build(plan, edited, built.reference("edit"), options=BuildOptions(),
                      emit=lambda event: titles.append(getattr(event, "title", "")))  # fmt: skip
        assert not [title for title in titles if "packages" in title or "base" in title]
        assert built.run("edit", "python", "-m", "app.main") == "edited\n"
        assert layers_of(built, "edit")[:-1] == layers_of(built, kept.tag or "")
        check_image(built.registry, built.reference("edit"), base_layers=1, changed=OWNED)

    def test_built_at_once_or_over_the_environment_it_is_the_same_image(self, place: Place, cache: Path) -> None:
        plan = plan_of(SOURCES, base_image=place.base, packages=["idna==3.10"])
        builder = DaemonlessBuilder(cache_dir=cache, registry=place.registry)
        digests = {
            builder.build(
                plan, SOURCES, place.reference("same"), options=BuildOptions(use_cache=use_cache), emit=discard
            ).digest
            for use_cache in (False, True)
        }
        assert len(digests) == 1

    def test_without_the_environment_there_is_nothing_to_add_to(self, place: Place, cache: Path) -> None:
        plan = plan_of(SOURCES, base_image=place.base, packages=["idna==3.9"])
        builder = DaemonlessBuilder(cache_dir=cache, registry=place.registry)
        target = place.reference("none")
        assert builder.build_on_environment(plan, SOURCES, target, options=BuildOptions(), emit=discard) is None
        assert place.registry.resolve(target) is None

    def test_sources_go_on_an_environment_that_buildkit_made(self, place: Place, cache: Path, tmp_path: Path) -> None:
        plan = plan_of(SOURCES, base_image=place.base, apt_packages=["tree"], env={"A": "1"})
        target = place.reference("mixed")
        kept = environment_reference(plan, target)
        (tmp_path / "Dockerfile").write_text(
            f"FROM {place.base}\nRUN useradd --uid 1000 --home-dir /home/flytekit flytekit\n"
            "RUN chown -R 1000:1000 /root\n"
            'ENV PATH="/opt/venv/bin:$PATH" A=1\nWORKDIR /root\nRUN mkdir /opt/venv && echo made > /opt/venv/by\n'
            "USER flytekit\n"
        )
        env = {**os.environ, "DOCKER_HOST": place.bed["docker_host"], "DOCKER_CONFIG": place.bed["docker_config"]}
        env["PATH"] = os.pathsep.join([*place.bed["path"], env["PATH"]])
        words = ["docker", "buildx", "build", "--quiet", "--provenance=false", "--push", "--tag", str(kept)]
        subprocess.run([*words, str(tmp_path)], env=env, check=True, capture_output=True)
        builder = DaemonlessBuilder(cache_dir=cache, registry=place.registry)
        with pytest.raises(Unsupported):
            builder.check(plan)
        assert builder.build_on_environment(plan, SOURCES, target, options=BuildOptions(), emit=discard)
        check_image(place.registry, target, base_layers=len(layers_of(place, "mixed")) - 1, changed=OWNED)
        script = "cat /opt/venv/by; python3 -m app.main; echo $PATH $A; printenv _F_IMG_ID"
        out = place.run("mixed", "sh", "-c", script).splitlines()
        assert out[:2] == ["made", "ran as flytekit in /root"]
        assert out[2].startswith("/opt/venv/bin:/usr/local/sbin:")
        assert out[2].endswith(" 1")
        assert len(out) == 4

    def test_many_sources_are_eight_layers_and_an_edit_changes_one(self, place: Place, cache: Path) -> None:
        files = {f"pkg/m{number}.py": b"x = %d\n" % number * 50 for number in range(600)}
        builder = DaemonlessBuilder(cache_dir=cache, registry=place.registry)
        found = []
        for number, data in enumerate((b"before\n", b"after\n")):
            sources = Sources({**files, "pkg/m7.py": data})
            plan = plan_of(sources, base_image=place.base, builder_options={"workdir": "/srv/deep/app"})
            builder.build(plan, sources, place.reference(f"many{number}"), options=BuildOptions(), emit=discard)
            check_image(
                place.registry, place.reference(f"many{number}"), base_layers=1, changed=OWNED | {"srv/deep/app"}
            )
            found.append(layers_of(place, f"many{number}"))
        assert len(set(found[0]) - set(found[1])) == 1
        assert len(found[0]) == len(found[1])


class TestParent:
    def test_a_child_keeps_the_parent_s_versions_and_leaves_none_twice(self, place: Place, cache: Path) -> None:
        base = Declaration(name="parent", base_image=place.base, packages=["urllib3==1.26.20", "requests==2.30.0"])
        child = Declaration(name="child", base_image=base, packages=["requests>=2.31", "requests-toolbelt"])
        parent_plan = make_plan(base, Snapshot())
        parent = Parent(plan=parent_plan, fingerprint=fingerprint_of(parent_plan).digest)
        trees = (Tree(field="source_root", entries=SOURCES.entries),)
        plan = make_plan(child, Snapshot(trees=trees), parent)
        builder = DaemonlessBuilder(cache_dir=cache, registry=place.registry)
        under = builder.build(parent_plan, SOURCES, place.reference("parent"), options=BuildOptions(), emit=discard)
        bound = BuildOptions(base=place.reference("parent").with_digest(under.digest))
        builder.prepare(plan, bound)
        builder.build(plan, SOURCES, place.reference("child"), options=bound, emit=discard)
        check_image(place.registry, place.reference("child"), base_layers=1, changed=OWNED)
        script = (
            "pip check; pip list --format=freeze; ls -d /opt/venv/lib/python3.11/site-packages/requests-*; "
            "python -c 'import requests, urllib3; print(urllib3.__version__)'"
        )
        out = place.run("child", "sh", "-c", script)
        assert "No broken requirements found." in out
        assert "urllib3==1.26.20" in out
        assert out.count("site-packages/requests-") == 1
        assert "requests==2.30.0" not in out
        assert out.endswith("1.26.20\n")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A small index of our own: something called pip, and a library with what it needs."""
    folder = tmp_path_factory.mktemp("index")
    make_wheel(folder, "pip", "26.3")
    make_wheel(folder, "lib", "1.0", requires=("dep",))
    make_wheel(
        folder, "dep", "2.0", files={"dep_ns/part.py": "X = 1\n" * 40, "dep-2.0.data/data/share/d.txt": "d" * 99}
    )
    with serving(folder) as served:
        yield served.url


@dataclass(frozen=True)
class Offline:
    """A base in a layout, packages from the small index, images into a registry in memory."""

    layout: Path
    index: str
    cache: Path

    @property
    def digest(self) -> Digest:
        return layout_digest(self.layout)

    def options(self, **more: Any) -> BuildOptions:
        return BuildOptions(base_layout=f"{self.layout}@{self.digest}", **more)

    def plan(self, packages: tuple[str, ...] = ("lib",), **declared: Any) -> Any:
        given = {"base_image": f"oci-layout:{self.layout}", "pip_index": self.index, "packages": list(packages)}
        return plan_of(SOURCES, self.digest, **{**given, **declared})

    def builder(self, registry: Any) -> DaemonlessBuilder:
        return DaemonlessBuilder(cache_dir=self.cache, registry=registry)


@pytest.fixture(scope="module")
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


TARGET = Reference.parse("registry.test/app:t")


class TestRefusals:
    def test_a_package_without_a_wheel_is_refused_before_anything_is_written(self, offline: Offline) -> None:
        registry = FakeRegistry()
        plan = plan_of(SOURCES, offline.digest, base_image=f"oci-layout:{offline.layout}", packages=["docopt==0.6.2"])
        with pytest.raises(Unsupported, match=r"docopt==0\.6\.2 has no wheel") as raised:
            offline.builder(registry).prepare(plan, offline.options())
        assert raised.value.field == "packages"
        assert "buildkit" in raised.value.hint
        assert not [method for method, _ in registry.calls if method.startswith(("write", "mount"))]

    @pytest.mark.parametrize(
        ("declared", "field"),
        [
            ({"apt_packages": ["curl"]}, "apt_packages"),
            ({"conda_packages": ["curl"]}, "conda_packages"),
            ({"commands": ["true"]}, "commands"),
            ({"packages": ["x @ git+https://git.test/x"]}, "packages"),
            ({"pip_extra_args": "--target /x"}, "pip_extra_args"),
        ],
    )
    def test_what_it_cannot_do_is_refused_by_name(self, offline: Offline, declared: dict[str, Any], field: str) -> None:
        with pytest.raises(Unsupported) as raised:
            offline.builder(FakeRegistry()).check(offline.plan(**declared))
        assert raised.value.field == field
        assert "buildkit" in raised.value.hint

    def test_a_base_without_the_python_asked_for(self, offline: Offline) -> None:
        with pytest.raises(Unsupported, match=r"no Python 3\.12, it has 3\.11\.2") as raised:
            offline.builder(FakeRegistry()).prepare(offline.plan(python_version="3.12"), offline.options())
        assert raised.value.field == "python_version"

    def test_a_base_of_another_platform(self, offline: Offline) -> None:
        with pytest.raises(WrongPlatform):
            offline.builder(FakeRegistry()).prepare(offline.plan(platform="linux/arm64"), offline.options())

    def test_a_base_that_is_not_there(self, offline: Offline) -> None:
        plan = offline.plan(base_image="registry.test/nothing:here")
        with pytest.raises(InputMissing, match=r"registry\.test/nothing:here"):
            offline.builder(FakeRegistry()).prepare(plan, BuildOptions())


class TestOutput:
    def test_a_layout_from_a_layout(self, offline: Offline, tmp_path: Path) -> None:
        registry = LayoutRegistry(tmp_path / "out")
        offline.builder(registry).build(offline.plan(), SOURCES, TARGET, options=offline.options(), emit=discard)
        check_image(registry, TARGET, base_layers=1, changed=OWNED)
        if shutil.which("skopeo"):
            out = subprocess.run(
                ["skopeo", "inspect", "--raw", f"oci:{tmp_path}/out:t"], capture_output=True, text=True, check=False
            )
            assert out.returncode == 0, out.stderr

    def test_an_image_loaded_into_the_engine_runs(self, testbed: Bed, offline: Offline) -> None:
        builder = DaemonlessBuilder(
            cache_dir=offline.cache, registry=FakeRegistry(), docker_host=testbed["docker_host"]
        )
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

    def test_an_archive_of_several_platforms_is_refused(self, tmp_path: Path) -> None:
        registry = FakeRegistry()
        registry.write_manifest(TARGET, Manifest.index(()))
        with pytest.raises(Unsupported, match="several platforms"), (tmp_path / "a.tar").open("wb") as out:
            write_archive(registry, TARGET, out)

    def test_two_platforms_make_an_index(self, offline: Offline) -> None:
        bases = FakeRegistry()
        reference = Reference.parse("registry.test/base:two")
        _two_platforms(LayoutRegistry(offline.layout), offline.digest, bases, reference)
        plan = offline.plan(base_image=str(reference), platform="linux/amd64,linux/arm64")
        registry = FakeRegistry()
        builder = DaemonlessBuilder(cache_dir=offline.cache, registry=registry, bases=bases)
        builder.build(plan, SOURCES, TARGET, options=BuildOptions(), emit=discard)
        assert problems_of(registry, TARGET, base_layers=1, changed=OWNED) == ()
        assert registry.resolve(TARGET, plan.platforms) is not None

    def test_wheels_are_those_of_the_platform(self, offline: Offline) -> None:
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
    def test_every_compression(self, offline: Offline, compression: str) -> None:
        registry = FakeRegistry()
        options = offline.options(compression=compression)
        offline.builder(registry).build(offline.plan(), SOURCES, TARGET, options=options, emit=discard)
        check_image(registry, TARGET, base_layers=1, changed=OWNED)

    def test_layers_of_docker_s_types_get_oci_s(self, offline: Offline) -> None:
        bases, reference = FakeRegistry(), Reference.parse("registry.test/base:docker")
        _docker_typed(LayoutRegistry(offline.layout), offline.digest, bases, reference)
        registry = FakeRegistry()
        builder = DaemonlessBuilder(cache_dir=offline.cache, registry=registry, bases=bases)
        builder.build(offline.plan(base_image=str(reference)), SOURCES, TARGET, options=BuildOptions(), emit=discard)
        manifest = registry.read_manifest(TARGET)
        assert manifest is not None
        assert {layer.media_type.partition(".v1")[0] for layer in manifest.layers} == {
            "application/vnd.oci.image.layer"
        }

    def test_what_the_registry_has_is_not_sent_again(self, offline: Offline) -> None:
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

    def test_a_missing_interpreter_is_told_and_the_image_goes_without_bytecode(self, offline: Offline) -> None:
        events: list[Any] = []
        registry = FakeRegistry()
        plan = offline.plan(builder_options={"bytecode": False})
        offline.builder(registry).build(plan, SOURCES, TARGET, options=offline.options(), emit=events.append)
        assert not [event for event in events if isinstance(event, Warned)]

    def test_a_cancelled_build_writes_no_manifest(self, offline: Offline) -> None:
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


BUILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from imagespec.builders import BuildOptions
from imagespec.builders.daemonless import DaemonlessBuilder
from imagespec.events import discard
from imagespec.registry.layout import LayoutRegistry
from tests.integration.sources import layout_digest, plan_of
from tests.integration.test_daemonless import SOURCES, TARGET
layout, index, cache, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
digest = layout_digest(layout)
plan = plan_of(SOURCES, digest, base_image=f"oci-layout:{{layout}}", pip_index=index, packages=["lib"])
builder = DaemonlessBuilder(cache_dir=cache, registry=LayoutRegistry(out), interpreters=sys.argv[5:])
print("begun", flush=True)
options = BuildOptions(base_layout=f"{{layout}}@{{digest}}", use_cache=False)
done = builder.build(plan, SOURCES, TARGET, options=options, emit=discard)
print(done.digest)
"""


def build_process(offline: Offline, cache: Path, out: Path, python: str = sys.executable, **keywords: Any) -> Any:
    env = {**os.environ, **keywords.pop("env", {})}
    words = [python, "-c", BUILD.format(root=str(ROOT)), str(offline.layout), offline.index, str(cache), str(out)]
    return subprocess.Popen([*words, sys.executable], env=env, stdout=subprocess.PIPE, text=True, **keywords)


class TestSameBytes:
    def test_the_same_image_under_every_condition(self, offline: Offline, tmp_path: Path) -> None:
        site = next(path for path in sys.path if path.endswith("site-packages"))
        conditions: list[dict[str, Any]] = [
            {},
            {"env": {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "HOME": str(tmp_path)}},
            {"umask": 0o077, "env": {"PYTHONHASHSEED": "7", "LC_ALL": "tr_TR.UTF-8"}},
        ]
        paths = os.pathsep.join([str(ROOT / "builder"), site])
        others = [path for minor in ("3.12", "3.13", "3.10") if (path := _python(minor))]
        conditions += [
            {"python": path, "env": {"PYTHONPATH": paths, "PYTHONWARNINGS": "ignore"}} for path in others[:1]
        ]
        digests = set()
        for number, condition in enumerate(conditions):
            process = build_process(offline, tmp_path / f"cache{number}", tmp_path / f"out {number}", **condition)
            out, _ = process.communicate(timeout=120)
            assert process.returncode == 0, condition
            digests.add(out.splitlines()[-1])
        assert len(digests) == 1


def _python(minor: str) -> str:
    import uv

    words = [os.fsdecode(uv.find_uv_bin()), "python", "find", "--no-project", "--no-python-downloads", minor]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


class TestKilled:
    def test_a_build_that_is_killed_leaves_nothing_wrong(self, offline: Offline, tmp_path: Path) -> None:
        """Short form; IMAGESPEC_KILLS sets how many."""
        cache, out = tmp_path / "cache", tmp_path / "out"
        chance = random.Random(5)
        for _ in range(int(os.environ.get("IMAGESPEC_KILLS", "6"))):
            process = build_process(offline, cache, out, start_new_session=True)
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(chance.uniform(0, 0.9))
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            if chance.random() < 0.3:
                shutil.rmtree(cache / "daemonless" / "records", ignore_errors=True)
        process = build_process(offline, cache, out)
        assert process.communicate(timeout=120)[0]
        assert process.returncode == 0
        check_image(LayoutRegistry(out), TARGET, base_layers=1, changed=OWNED)
        assert list((cache / "daemonless" / "tmp").iterdir()) == []

    def test_what_a_killed_process_left_is_removed_and_what_a_living_one_has_is_kept(self, tmp_path: Path) -> None:
        code = (
            "import sys, time; from pathlib import Path; from imagespec.builders.assembly.store import Store\n"
            "store = Store(Path(sys.argv[1])); store.temporary().write_bytes(b'x'); print('there', flush=True)\n"
            "time.sleep(60)"
        )
        processes = [
            subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) for _ in range(2)
        ]
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        processes[0].send_signal(signal.SIGKILL)
        processes[0].wait()
        store = Store(tmp_path)
        store.temporary()
        left = {path.name.split("-")[0] for path in (tmp_path / "tmp").iterdir()}
        store.close()
        processes[1].kill()
        for process in processes:
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        assert left == {str(processes[1].pid), str(os.getpid())}
