"""Builds spread over two engines behind docker contexts; one is killed in the middle."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.conftest import Command

pytestmark = pytest.mark.integration

IMAGES = 6


def test_what_the_killed_engine_had_is_built_on_the_other(
    imagespec: Command, testbed: dict[str, Any], second_root: Path, tmp_path: Path
) -> None:
    config = Path(shutil.copytree(testbed["docker_config"], tmp_path / "docker", symlinks=True))
    hosts = {"near": testbed["docker_host"], "far": f"unix://{second_root}/run/docker.sock"}
    for name, host in hosts.items():
        imagespec.docker("--config", str(config), "context", "create", name, "--docker", f"host={host}")
    # Commands of their own for each run: an engine that has been through them answers from its cache.
    salt = uuid.uuid4().hex
    commands = [[f"echo begin {i}; sleep 5; : {salt}"] for i in range(IMAGES)]
    specs = [{"name": f"spread-{i}", "builder": "buildkit", "commands": one} for i, one in enumerate(commands)]
    (tmp_path / "images.yaml").write_text(yaml.safe_dump(specs))
    command = [sys.executable, "-m", "imagespec", "build", "images.yaml", "--registry", imagespec.registry]
    command += ["--builder-instance", "near", "--builder-instance", "far", "--jobs", "4", "--format", "json"]
    env = {**imagespec.env, "DOCKER_CONFIG": str(config)}
    engine = int((second_root / "run" / "dockerd.pid").read_text())
    said: list[str] = []
    with subprocess.Popen(
        command, cwd=tmp_path, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        for line in run.stderr:
            said.append(line)
            if sum("   begin " in one for one in said) == 4:
                os.kill(engine, signal.SIGKILL)
                break
        said += run.stderr.readlines()
        images = [json.loads(line) for line in run.stdout]
    assert run.returncode == 0, "".join(said)
    assert [image["outcome"] for image in images] == ["built"] * IMAGES
    assert any(line.startswith("warning: builder instance far stopped answering; ") for line in said)
    assert not any("builder instance near" in line for line in said)
    assert imagespec("exists", *(image["image"] for image in images), cwd=tmp_path).stdout.count("present\t") == IMAGES
