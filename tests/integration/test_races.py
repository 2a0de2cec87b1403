"""Two machines that want the same image at once: the same tag for both, and no error, on every registry."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from imagespec.names import Reference
from imagespec.registry.http import HttpRegistry
from tests.fakes.gate import Gate, Refusal
from tests.integration.conftest import Command

pytestmark = pytest.mark.integration

MACHINES = 2
PATIENCE_S = 120
# What registries answer when a tag stands already and must not be written again.
IMMUTABLE = {
    "Harbor": Refusal(status=412, code="PRECONDITION", message="configured as immutable, cannot be updated"),
    "ECR": Refusal(status=400, code="TAG_INVALID", message="The image tag already exists and the tag is immutable"),
}
SPECS = {
    "daemonless": "name: raced\nenv: {A: '1'}\n",
    "buildkit": "name: raced\nbuilder: buildkit\ncommands: ['date +%N > /opt/made']\n",
}


def is_tagging(method: str, path: str) -> bool:
    return method == "PUT" and re.search(r"/raced/manifests/x1-", path) is not None


@pytest.mark.parametrize("builder", list(SPECS))
@pytest.mark.parametrize("kind", list(IMMUTABLE))
def test_who_comes_second_on_a_registry_with_immutable_tags_ends_with_the_winners_image(
    imagespec: Command, tmp_path: Path, kind: str, builder: str
) -> None:
    """The other machine's image, with other bytes, is there at the very moment in which ours is to be tagged."""
    host, _, own = imagespec.registry.partition("/")
    (tmp_path / "image.yaml").write_text("name: raced\ntag_format: 'other-{spec_hash}'\nenv: {B: '2'}\n")
    other = imagespec("build", "image.yaml", "--registry", imagespec.registry, cwd=tmp_path).stdout.strip()
    with HttpRegistry() as registry:
        winners = registry.read_manifest(Reference.parse(other))
    assert winners is not None

    def rule(method: str, path: str) -> Refusal | None:
        if not is_tagging(method, path):
            return None
        with HttpRegistry() as registry:
            registry.write_manifest(Reference.parse(f"{imagespec.registry}/raced:{path.rpartition('/')[2]}"), winners)
        return IMMUTABLE[kind]

    (tmp_path / "image.yaml").write_text(SPECS[builder])
    with Gate(host, rule) as gate:
        done = imagespec("build", "image.yaml", "--registry", f"{gate.host}/{own}", cwd=tmp_path)
    assert "reused: another build made it meanwhile" in done.stderr
    assert done.stdout.strip().partition("@")[2] == other.partition("@")[2]


class Contest:
    """Lets the first manifest of a tag in only when the second one is at the gate too, and no tag in twice."""

    def __init__(self, host: str, immutable: Refusal | None) -> None:
        self._host = host
        self._immutable = immutable
        self._both = threading.Barrier(MACHINES)
        self._tagged: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, method: str, path: str) -> Refusal | None:
        if not is_tagging(method, path):
            return None
        with contextlib.suppress(threading.BrokenBarrierError):  # one of them saw the other's image in time
            self._both.wait(PATIENCE_S)
        with self._lock:
            is_second = path in self._tagged
            self._tagged.add(path)
        if not is_second or self._immutable is None:
            return None
        self._wait_until_there(path)
        return self._immutable

    def _wait_until_there(self, path: str) -> None:
        """Return when the winner's manifest stands: a registry that refuses a tag has it."""
        name, _, tag = path.removeprefix("/v2/").replace("/manifests/", ":").rpartition(":")
        with HttpRegistry() as registry:
            while registry.resolve(Reference.parse(f"{self._host}/{name}:{tag}")) is None:
                time.sleep(0.1)


def at_once(imagespec: Command, folder: Path, registry: str) -> list[subprocess.CompletedProcess[str]]:
    """Return what each of two runs came to, with caches and homes of their own, started together."""
    done: list[subprocess.CompletedProcess[str]] = []

    def build(number: int) -> Callable[[], None]:
        home = folder / f"home-{number}"
        home.mkdir()
        env = {**imagespec.env, "HOME": str(home), "IMAGESPEC_CACHE": str(home / "cache")}
        command = [sys.executable, "-m", "imagespec", "build", "image.yaml", "--registry", registry]
        return lambda: done.append(
            subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=600)
        )

    threads = [threading.Thread(target=build(number)) for number in range(MACHINES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done


@pytest.mark.parametrize("is_immutable", [False, True])
def test_two_machines_that_tag_at_the_same_moment_end_with_one_image(
    imagespec: Command, tmp_path: Path, is_immutable: bool
) -> None:
    host, _, own = imagespec.registry.partition("/")
    (tmp_path / "image.yaml").write_text(SPECS["daemonless"])
    with Gate(host, Contest(host, IMMUTABLE["ECR"] if is_immutable else None)) as gate:
        done = at_once(imagespec, tmp_path, f"{gate.host}/{own}")
    assert [one.returncode for one in done] == [0, 0], "".join(one.stderr for one in done)
    assert len({one.stdout for one in done}) == 1
