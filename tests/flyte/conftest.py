"""``pyflyte`` as users call it, in an environment with the test-bed's engine and registry."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.flyte.door import Door, door_before

Bed = dict[str, Any]
ANY = -1
"""For a command whose exit code does not matter."""


@dataclass(frozen=True)
class Commands:
    """Runs commands of this environment in a folder; ``registry`` is a prefix that no other test uses."""

    env: dict[str, str]
    registry: str
    upstream: str
    python: str = field(default=sys.executable)

    def pyflyte(self, *arguments: str, cwd: Path, expect: int = 0, **env: str) -> str:
        """Return what ``pyflyte`` printed, stderr included."""
        return self._run("pyflyte", *arguments, cwd=cwd, expect=expect, env=env)

    def imagespec(self, *arguments: str, cwd: Path, expect: int = 0, **env: str) -> str:
        """Return what ``imagespec`` printed on stdout."""
        return self._run("imagespec", *arguments, cwd=cwd, expect=expect, env=env, merge=False)

    def script(self, text: str, *, cwd: Path, expect: int = 0, **env: str) -> str:
        """Return what a Python script printed."""
        return self._run("python", "-c", text, cwd=cwd, expect=expect, env=env)

    def package(self, *arguments: str, cwd: Path, **env: str) -> dict[str, Any]:
        """Return the task templates of a package by task name, after ``pyflyte package``."""
        output = cwd.parent / f"{uuid.uuid4().hex}.tgz"
        self.pyflyte(
            *("--pkgs", "shop", "package", "-i", "example.org/default:1", "-o", str(output)), *arguments, cwd=cwd, **env
        )
        return dict(templates(output))

    def docker(self, *arguments: str) -> str:
        """Return what ``docker`` printed; it knows the registry, not the door."""
        host = self.registry.partition("/")[0]
        return self.engine(*(word.replace(f"{host}/", f"{self.upstream}/") for word in arguments))

    def engine(self, *arguments: str) -> str:
        """Return what ``docker`` printed, which gets the words as they are."""
        done = subprocess.run(
            ["docker", *arguments], env=self.env, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _run(self, name: str, *arguments: str, cwd: Path, expect: int, env: dict[str, str], merge: bool = True) -> str:
        program = str(Path(self.python).parent / name)
        done = subprocess.run(
            [program, *arguments],
            cwd=cwd,
            env={**self.env, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merge else subprocess.PIPE,
            text=True,
            check=False,
            timeout=600,
        )
        assert expect == ANY or done.returncode == expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr or ''}"
        return done.stdout


def templates(package: Path) -> Iterator[tuple[str, Any]]:
    from flyteidl.admin import task_pb2

    with tarfile.open(package) as archive:
        for member in archive.getmembers():
            if member.name.endswith("_1.pb"):
                stream = archive.extractfile(member)
                assert stream is not None
                spec = task_pb2.TaskSpec.FromString(stream.read())
                yield spec.template.id.name, spec.template


@pytest.fixture(scope="module")
def door(testbed: Bed) -> Iterator[Door]:
    """The test-bed's registry, behind a door that counts."""
    with door_before(testbed["registry"]) as opened:
        yield opened


@pytest.fixture(scope="module")
def flyte(testbed: Bed, door: Door, tmp_path_factory: pytest.TempPathFactory) -> Commands:
    """The commands, with caches of this module's own; they reach the registry through the door."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("IMAGESPEC_", "FLYTE_", "_F_"))}
    env = {
        **kept,
        "PATH": os.pathsep.join([*testbed["path"], kept["PATH"]]),
        "DOCKER_HOST": testbed["docker_host"],
        "DOCKER_CONFIG": testbed["docker_config"],
        "IMAGESPEC_MIRRORS": f"docker.io={testbed['registry']}",
        "IMAGESPEC_CACHE": str(tmp_path_factory.mktemp("cache")),
        "COLUMNS": "400",
    }
    return Commands(env=env, registry=f"{door.address}/{uuid.uuid4().hex[:12]}", upstream=testbed["registry"])
