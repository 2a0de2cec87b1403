"""What BuildKit built goes to the registry without the engine keeping it; a client that cannot do that still pushes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.integration.conftest import Command

pytestmark = pytest.mark.integration

SPEC = "name: passed-on\ncommands: ['echo made > /opt/made']\n"

# Stands in for a docker client that reads an empty "push" as false: what it builds is not pushed.
CLIENT = """#!/bin/sh
echo "$*" >> "{log}"
for word; do
  shift
  case "$word" in
    *push=,*) word=$(echo "$word" | sed 's/push=,/push=false,/');;
    *push=) word="${{word}}false";;
  esac
  set -- "$@" "$word"
done
exec "{docker}" "$@"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "image.yaml").write_text(SPEC)
    return tmp_path


def test_the_engine_keeps_no_image_of_what_it_pushed(imagespec: Command, project: Path) -> None:
    stores = imagespec.docker("info", "--format", "{{json .DriverStatus}}")
    assert "io.containerd.snapshotter" in stores  # the test-bed's engine; others keep what they push
    built = imagespec("build", "image.yaml", "--registry", imagespec.registry, cwd=project).stdout.strip()
    name = built.partition("@")[0]
    assert imagespec.docker("image", "ls", "--quiet", name) == ""
    assert imagespec.docker("run", "--rm", "--quiet", built, "cat", "/opt/made") == "made\n"


def test_a_client_that_takes_the_words_otherwise_builds_once_more_and_pushes(
    imagespec: Command, project: Path, tmp_path: Path
) -> None:
    docker = shutil.which("docker", path=imagespec.env["PATH"])
    log = tmp_path / "client.log"
    client = tmp_path / "bin" / "docker"
    client.parent.mkdir()
    client.write_text(CLIENT.format(docker=docker, log=log))
    client.chmod(0o755)
    path = os.pathsep.join([str(client.parent), imagespec.env["PATH"]])
    done = imagespec("build", "image.yaml", "--registry", imagespec.registry, cwd=project, PATH=path)
    assert "@sha256:" in done.stdout
    assert "buildx did not push" in done.stderr
    assert imagespec("exists", "image.yaml", "--registry", imagespec.registry, cwd=project).stdout.startswith("present")
    builds = [line for line in log.read_text().splitlines() if "buildx build" in line]
    assert ["store=false" in line for line in builds] == [True, False]
