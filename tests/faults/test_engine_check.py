"""The engine is asked once for all builds of a run, and again as long as it did not answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagespec.builders.engine_check import EngineCheck
from imagespec.errors import EngineUnavailable

# Notes what it was asked, and answers as an engine with containerd's image store, unless ``down`` or ``bare`` exists.
CLIENT = """#!/bin/sh
here="{folder}"
echo "$*" >> "$here/asked"
case "$*" in
  "buildx --help") if [ -e "$here/bare" ]; then echo "Usage: docker COMMAND"; else echo "Usage: docker buildx"; fi;;
  "buildx inspect") echo "Name: default";;
  "buildx ls "*) echo '{{"Name": "default", "Driver": "docker", "Nodes": []}}';;
  *info*) echo '{{"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}}';;
  *version*) [ ! -e "$here/down" ] || {{ echo "Cannot connect to the Docker daemon" >&2; exit 1; }}; echo '{{}}';;
  *) echo "what is $*?" >&2; exit 1;;
esac
"""


@pytest.fixture
def client(tmp_path: Path) -> Path:
    program = tmp_path / "docker"
    program.write_text(CLIENT.format(folder=tmp_path))
    program.chmod(0o755)
    return program


def asked(client: Path) -> list[str]:
    return (client.parent / "asked").read_text().splitlines()


def test_a_good_answer_is_remembered(client: Path) -> None:
    check = EngineCheck(str(client))
    assert check.passes_on()
    once = asked(client)
    assert once
    assert check.passes_on()
    check.require_buildx()
    assert asked(client) == once


def test_an_engine_that_does_not_answer_is_asked_again(client: Path) -> None:
    check = EngineCheck(str(client))
    (client.parent / "down").touch()
    for _ in range(2):
        with pytest.raises(EngineUnavailable, match="engine: Cannot connect to the Docker daemon"):
            check.passes_on()
    (client.parent / "down").unlink()
    assert check.passes_on()


def test_an_instance_wants_the_plugin_and_no_engine(client: Path) -> None:
    (client.parent / "down").touch()
    EngineCheck(str(client)).require_buildx()
    (client.parent / "bare").touch()
    with pytest.raises(EngineUnavailable, match="no buildx plugin"):
        EngineCheck(str(client)).require_buildx()


def test_without_a_client_nothing_can_be_asked(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="no docker client on the PATH"):
        EngineCheck(str(tmp_path / "nothing")).passes_on()
