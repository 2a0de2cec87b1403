"""Whichever command asks, one code and one copy mode have one set of images."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.flyte.admin import Admin, control_plane
from tests.flyte.conftest import ANY, Commands

MODES = ("none", "auto", "all")
_FLOW = """
from flytekit import ImageSpec, PodTemplate, task, workflow
from flytekit.constants import CopyFileDetection
from kubernetes.client import V1Container, V1PodSpec
from shop.images import shared
from shop.other import two

rooted = ImageSpec(name="rooted", registry="{registry}", source_root="shop")
whole = ImageSpec(name="whole", registry="{registry}", source_root="shop", source_copy_mode=CopyFileDetection.ALL)
bare = ImageSpec(name="bare", registry="{registry}", source_copy_mode=CopyFileDetection.NO_COPY)
own = ImageSpec(name="own", registry="{registry}", base_image=ImageSpec(name="base", registry="{registry}"))
side = ImageSpec(name="side", registry="{registry}")
pod = PodTemplate(pod_spec=V1PodSpec(containers=[V1Container(name="side", image=side)]))

@task(container_image=shared)
def one() -> int:
    return 1

@task(container_image=rooted)
def three() -> int:
    return 3

@task(container_image=whole)
def four() -> int:
    return 4

@task(container_image=bare)
def five() -> int:
    return 5

@task(container_image=own, pod_template=pod)
def six() -> int:
    return 6

@workflow
def flow() -> int:
    one(), two(), three(), four(), five()
    return six()
"""


class _YesRegistry(BaseHTTPRequestHandler):
    """Has every image that it is asked for."""

    protocol_version = "HTTP/1.1"
    asked: set[str]

    def do_HEAD(self) -> None:
        self.asked.add(self.path)
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
        self.send_header("Docker-Content-Digest", "sha256:" + "0" * 64)
        self.send_header("Content-Length", "2")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return


@dataclass(eq=False)
class Doors:
    """The commands, in one project; each method returns the images that one of them asked for, by name."""

    commands: Commands
    root: Path
    asked: set[str]
    admin: Admin

    @cache  # noqa: B019 - one object for one module of tests
    def package(self, mode: str) -> dict[str, str]:
        output = self.root.parent / f"{mode}.tgz"
        words = ("--pkgs", "shop", "package", "-i", "x/y:z", "-f", "-o", str(output), "--copy", mode)
        return self._asked("pyflyte", *words)

    def register(self, mode: str) -> dict[str, str]:
        words = ("register", "-p", "p", "-d", "d", "--copy", mode, "--version", "v", "shop")
        return self._asked("pyflyte", *words)

    def run(self, mode: str) -> dict[str, str]:
        self.admin.tasks.clear()
        words = ("run", "--remote", "-p", "p", "-d", "d", "--copy", mode, "shop/flow.py", "flow")
        # The control plane takes registrations only: the command ends where the execution would begin.
        images = self._asked("pyflyte", *words, expect=ANY)
        assert len(self.admin.tasks) == 6
        return images

    def build(self, mode: str) -> dict[str, str]:
        return self._asked("pyflyte", "build", *(() if mode == "none" else ("--fast",)), "shop/flow.py", "flow")

    def imagespec_images(self, mode: str) -> dict[str, str]:
        return self._asked("imagespec", "images", "--pkgs", "shop", "--copy", mode, "--build")

    def imagespec_file(self, mode: str) -> dict[str, str]:
        return self._asked("imagespec", "build", "shop/flow.py", "--copy", mode)

    def imagespec_folder(self, mode: str) -> dict[str, str]:
        return self._asked("imagespec", "build", "shop", "--copy", mode)

    def imagespec_module(self, mode: str) -> dict[str, str]:
        return self._asked("imagespec", "warm", "shop.flow", "--copy", mode)

    def _asked(self, program: str, *words: str, expect: int = 0) -> dict[str, str]:
        self.asked.clear()
        env = {"FLYTE_PLATFORM_URL": self.admin.address, "FLYTE_PLATFORM_INSECURE": "true"}
        run: Any = getattr(self.commands, program)
        run(*words, cwd=self.root, expect=expect, **env)
        named = [path.removeprefix("/v2/").split("/manifests/") for path in self.asked]
        assert len(dict(named)) == len(named), f"an image with two tags: {sorted(named)}"
        # The base of an image that is there is nobody's business; flytekit asks its builder all the same.
        return {name: tag for name, tag in named if name != "t/base"}


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    root = tmp_path_factory.mktemp("doors") / "root"
    package = root / "shop"
    package.mkdir(parents=True)
    asked: set[str] = set()
    handler = type("_Handler", (_YesRegistry,), {"asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, control_plane() as admin:
        threading.Thread(target=server.serve_forever).start()
        registry = f"127.0.0.1:{server.server_address[1]}/t"
        (package / "__init__.py").write_text("")
        (package / "helper.py").write_text("NUMBER = 1\n")
        (package / "images.py").write_text(
            f"from flytekit import ImageSpec\nshared = ImageSpec(name='shared', registry='{registry}')\n"
        )
        (package / "other.py").write_text(
            "from flytekit import task\nfrom shop.helper import NUMBER\nfrom shop.images import shared\n"
            "@task(container_image=shared)\ndef two() -> int:\n    return NUMBER\n"
        )
        (package / "flow.py").write_text(_FLOW.format(registry=registry))
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("IMAGESPEC_", "FLYTE_", "_F_"))}
        env = {**kept, "IMAGESPEC_CACHE": str(root.parent / "cache"), "DOCKER_HOST": "unix:///nowhere"}
        commands = Commands(env=env, registry=registry, upstream=registry, python=sys.executable)
        yield Doors(commands, root, asked, admin)
        server.shutdown()


@pytest.mark.parametrize("mode", MODES)
def test_every_door_asks_for_the_same_images(doors: Doors, mode: str) -> None:
    wanted = doors.package(mode)
    assert set(wanted) == {f"t/{name}" for name in ("shared", "rooted", "whole", "bare", "own", "side")}
    assert doors.register(mode) == wanted
    assert doors.build(mode) == wanted
    assert doors.imagespec_images(mode) == wanted
    assert doors.imagespec_file(mode) == wanted
    assert doors.imagespec_folder(mode) == wanted
    assert doors.imagespec_module(mode) == wanted
    if mode != "none":
        assert doors.run(mode) == wanted


def test_code_in_the_image_or_beside_it_are_two_images(doors: Doors) -> None:
    baked, fast, whole = (doors.package(mode) for mode in MODES)
    assert fast == whole
    differing = {name for name in baked if baked[name] != fast[name]}
    assert differing == {"t/shared", "t/own"}, "the others say themselves what they hold"
