"""Builders of every buildx driver are used as they are: what the docker client is given, heard by a stand-in for it.

Drivers ``remote`` and ``kubernetes`` need a daemon or a cluster of their own: what is held here is what reaches buildx.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from imagespec.builders import BuildOptions
from imagespec.builders.buildkit import BuildKitBuilder
from imagespec.builders.cache_export import CacheExportingBuilder
from imagespec.builders.instances import InstancePool, SpreadBuilder
from imagespec.compose import dockerfile_template
from imagespec.events import discard
from imagespec.names import Reference
from imagespec.planner import make_plan
from imagespec.snapshot import Snapshot
from imagespec.spec import Declaration
from imagespec.workspace import Workspace
from tests.fakes.images import write_image
from tests.fakes.registry import FakeRegistry

TARGET = Reference.parse("r.test/team/x:1")
# Writes its arguments one a line, and the metadata that buildx writes after a push.
CLIENT = """#!/bin/sh
cat > /dev/null
printf '%s\\n' "$@" > "{heard}"
while [ "$#" -gt 0 ]; do
  if [ "$1" = --metadata-file ]; then printf '%s' '{metadata}' > "$2"; fi
  shift
done
"""


class Driven:
    """A builder whose client is the stand-in, in a Docker configuration of its own."""

    def __init__(self, folder: Path) -> None:
        self.heard = folder / "heard"
        self.config = folder / "docker"
        (self.config / "buildx" / "instances").mkdir(parents=True)
        registry = FakeRegistry()
        manifest = write_image(registry, TARGET.repository)
        registry.write_manifest(TARGET, manifest)
        client = folder / "client"
        metadata = json.dumps({"containerimage.digest": str(manifest.descriptor.digest)})
        client.write_text(CLIENT.format(heard=self.heard, metadata=metadata))
        client.chmod(0o755)
        self.builder = BuildKitBuilder(
            template=dockerfile_template(),
            store=folder / "store",
            registry=registry,
            engine=registry,
            is_insecure=lambda host: False,
            locate=lambda reference: reference,
            docker_config_dir=self.config,
            docker=str(client),
        )

    def build(self, *names: str, **options: str) -> list[str]:
        """Return the arguments that the client got."""
        pool = InstancePool(names, lambda name: True)
        builder = CacheExportingBuilder(SpreadBuilder(self.builder, pool))
        plan = make_plan(Declaration(name="x", commands=["true"]), Snapshot())
        given = replace(BuildOptions(), **options)  # type: ignore[arg-type]
        builder.build(plan, Workspace(cwd="/"), TARGET, options=given, emit=discard)
        return self.heard.read_text().splitlines()


def value_of(arguments: list[str], option: str) -> str:
    joined = [one for one in arguments if one.startswith(f"{option}=")]
    return joined[0].partition("=")[2] if joined else arguments[arguments.index(option) + 1]


@pytest.mark.parametrize("driver", ["remote", "kubernetes", "docker-container"])
def test_a_buildx_builder_of_any_driver_is_named_to_buildx(tmp_path: Path, driver: str) -> None:
    driven = Driven(tmp_path)
    instance = {"Name": "far", "Driver": driver, "Nodes": [{"Name": "far0", "Endpoint": "tcp://buildkitd:1234"}]}
    (driven.config / "buildx" / "instances" / "far").write_text(json.dumps(instance))
    arguments = driven.build("far", cache_to="type=registry,ref=r.test/cache:x,mode=max")
    assert value_of(arguments, "--builder") == "far"
    assert "--context" not in arguments
    assert "push=true" in value_of(arguments, "--output")
    assert "ref=r.test/cache:x" in value_of(arguments, "--cache-to")


def test_a_docker_context_is_where_the_client_is_pointed_at(tmp_path: Path) -> None:
    driven = Driven(tmp_path)
    folder = driven.config / "contexts" / "meta" / hashlib.sha256(b"host").hexdigest()
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text("{}")
    arguments = driven.build("host")
    assert value_of(arguments, "--context") == "host"
    assert arguments.index("--context") < arguments.index("buildx")
    assert "--builder" not in arguments


def test_without_an_instance_buildx_chooses(tmp_path: Path) -> None:
    driven = Driven(tmp_path)
    plan = make_plan(Declaration(name="x", commands=["true"]), Snapshot())
    driven.builder.build(plan, Workspace(cwd="/"), TARGET, options=BuildOptions(), emit=discard)
    arguments = driven.heard.read_text().splitlines()
    assert not {"--builder", "--context"} & set(arguments)
