"""Where the tests of the daemonless builder build: the test-bed, or a layout and an index without any network."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagespec.builders import BuildOptions
from imagespec.builders.daemonless import DaemonlessBuilder
from imagespec.names import Digest, Reference, Repository
from imagespec.registry.http import HttpRegistry
from tests.integration.sources import Sources, layout_digest, plan_of

__all__ = ["OWNED", "SOURCES", "TARGET", "Bed", "Offline", "Place", "config_of", "layers_of"]

Bed = dict[str, Any]
OWNED = {"root", "home/flytekit"}
"""The folders of the base that images own, with other owners than the base's."""

TARGET = Reference.parse("registry.test/app:t")
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

    def docker(self, *words: str) -> str:
        """Return what the docker client prints; it must succeed."""
        env = {**os.environ, "DOCKER_HOST": self.bed["docker_host"], "DOCKER_CONFIG": self.bed["docker_config"]}
        env["PATH"] = os.pathsep.join([*self.bed["path"], env["PATH"]])
        done = subprocess.run(["docker", *words], env=env, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def run(self, tag: str, *command: str) -> str:
        """Return what a command prints in the image, pulled anew."""
        return self.docker("run", "--rm", "--quiet", "--pull", "always", str(self.reference(tag)), *command)

    def shell(self, script: str, tag: str = "t") -> str:
        """Return what a shell script prints in the image."""
        return self.docker("run", "--rm", "--quiet", "--entrypoint", "sh", str(self.reference(tag)), "-c", script)


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
