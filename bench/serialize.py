"""Serialization of a project whose images all exist: flytekit alone, and flytekit with our plugin.

The project has 12 workflows, 60 tasks and 15 images. Both sides run the same flytekit in processes of their own; what
is measured is the time inside flytekit's ``get_registerable_container_image``, through which every image of a task
goes (naming, looking up, and what either side does around it).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from bench.rows import Runner, attempts, cache_folder, in_turn, peer_python, row, say
from tests.flyte.project import IMAGES, TASKS, write_project

PART = "serialize"
ROOT = Path(__file__).resolve().parents[1]
GOAL = 20.0
_PACKAGES = ("flytekit==1.16.31", "kubernetes<36")
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"

_CHILD = """
import os, sys, time
root, only_names = sys.argv[1], len(sys.argv) > 2
os.chdir(root)
from flytekit.configuration import ImageConfig, SerializationSettings
from flytekit.core import container_task, python_auto_container
from flytekit.image_spec.image_spec import ImageSpec
from flytekit.tools.repo import serialize_get_control_plane_entities, serialize_load_only
named, spent = set(), 0.0
resolve = python_auto_container.get_registerable_container_image
def timed(image, config):
    global spent
    start = time.perf_counter()
    name = resolve(image, config)
    spent += time.perf_counter() - start
    named.add(name)
    return name
python_auto_container.get_registerable_container_image = timed
container_task.get_registerable_container_image = timed
if only_names:
    ImageSpec.exist = lambda spec: named.add(spec.image_name()) or True
settings = SerializationSettings(image_config=ImageConfig.from_images("example.org/default:1"))
serialize_load_only(["shop"], settings, root)
start = time.perf_counter()
entities = serialize_get_control_plane_entities(settings, root)
print(f"bench_total={time.perf_counter() - start}")
print(f"bench_images={spent}")
print("\\n".join(f"name {name}" for name in sorted(named)))
"""


def measure(*, quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the rows."""

    def project() -> list[dict[str, Any]]:
        return _project(3 if quick else 7)

    yield from attempts(PART, [project])


def _project(times: int) -> list[dict[str, Any]]:
    """Return the rows; the project's images are built, once, in the test-bed's registry."""
    bed = _bed()
    registry = f"{bed['registry']}/bench-{uuid.uuid4().hex[:8]}"
    folder = cache_folder() / "serialize"
    shutil.rmtree(folder, ignore_errors=True)
    project = write_project(folder, registry)
    environment = {
        "DOCKER_HOST": bed["docker_host"],
        "DOCKER_CONFIG": bed["docker_config"],
        "PATH": os.pathsep.join([*bed["path"], os.environ["PATH"]]),
        "IMAGESPEC_MIRRORS": f"docker.io={bed['registry']}",
    }
    ours = Runner(who="with us", command=(sys.executable, "-c", _CHILD, str(project)), environment=environment)
    theirs = Runner(
        who="flytekit 1.16.31",
        command=(peer_python(*_PACKAGES), "-c", _CHILD, str(project)),
        environment=environment,
    )
    say(f"building the {IMAGES} images of the project, once")
    built = _names(ours, "")
    _give_names(built, _names(theirs, "names"))
    runs, peers = in_turn([ours, theirs], times)
    what = f"{TASKS} tasks, {IMAGES} images, all there"
    return [
        row(PART, f"{what}: time in images", runs, peers, theirs.who, what="images", goal=GOAL),
        row(PART, f"{what}: serialization in all", runs, peers, theirs.who, what="total"),
    ]


def _bed() -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "testdata" / "testbed" / "bed.py"), "up", "--json"]
    bed: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return bed


def _names(runner: Runner, mode: str) -> list[str]:
    """Return the full names of the project's images as one side has them; without ``mode`` they are built."""
    done = subprocess.run(
        [*runner.command, *([mode] if mode else [])],
        env={**os.environ, **runner.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{runner.who}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return [line.removeprefix("name ") for line in done.stdout.splitlines() if line.startswith("name ")]


def _give_names(built: list[str], wanted: list[str]) -> None:
    """Let every name of the other side stand for the image that we built in the same repository."""
    by_repository = {name.rpartition(":")[0]: name for name in built}
    for name in wanted:
        host, _, path = by_repository[name.rpartition(":")[0]].partition("/")
        repository, _, tag = path.rpartition(":")
        place = f"http://{host}/v2/{repository}/manifests"
        with urlopen(Request(f"{place}/{tag}", headers={"Accept": _MANIFEST}), timeout=30) as answer:
            manifest, kind = answer.read(), answer.headers["Content-Type"]
        request = Request(
            f"{place}/{name.rpartition(':')[2]}", data=manifest, method="PUT", headers={"Content-Type": kind}
        )
        with urlopen(request, timeout=30) as answer:
            answer.read()
