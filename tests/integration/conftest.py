"""The ``imagespec`` command as users call it, in an environment with the test-bed's engine and registry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

Bed = dict[str, Any]

BED = Path(__file__).resolve().parents[2] / "testdata" / "testbed" / "bed.py"


@dataclass(frozen=True)
class Command:
    """Runs ``imagespec`` in a folder; ``registry`` is a prefix that no other test uses."""

    env: dict[str, str]
    registry: str

    def __call__(self, *arguments: str, cwd: Path, expect: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "imagespec", *arguments],
            cwd=cwd,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        # Ours: those of the user's own code are told behind a bar.
        assert "\nTraceback" not in f"\n{done.stderr}"
        return done

    def docker(self, *arguments: str) -> str:
        done = subprocess.run(
            ["docker", *arguments], env=self.env, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def imagespec(testbed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The command, with caches of this test's own."""
    return _command(testbed, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def shared_imagespec(testbed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The same for fixtures that several tests of a module share."""
    return _command(testbed, tmp_path_factory.mktemp("cache"))


def _command(testbed: Bed, cache: Path) -> Command:
    env = {key: value for key, value in os.environ.items() if not key.startswith("IMAGESPEC_")}
    env["PATH"] = os.pathsep.join([*testbed["path"], env["PATH"]])
    env["DOCKER_HOST"] = testbed["docker_host"]
    env["DOCKER_CONFIG"] = testbed["docker_config"]
    env["IMAGESPEC_MIRRORS"] = f"docker.io={testbed['registry']}"
    env["IMAGESPEC_CACHE"] = str(cache)
    return Command(env=env, registry=f"{testbed['registry']}/{uuid.uuid4().hex[:12]}")


def _bed(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BED), *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.fixture
def second_root(testbed: Bed) -> Iterator[Path]:
    """The folder of a second test-bed with an engine of its own; a skip without one, in CI a failure."""
    # Sockets have short names only: pytest's own folders are too deep.
    with tempfile.TemporaryDirectory(prefix="isb-", ignore_cleanup_errors=True) as folder:
        cache = json.loads(_bed("status", "--json").stdout)["cache"]
        env = {"IMAGESPEC_TESTBED": folder, "IMAGESPEC_TESTBED_CACHE": str(cache)}
        up = _bed("up", "--own-engine", **env)
        try:
            if up.returncode != 0:
                reason = f"a second engine does not come up: {up.stderr[-2000:]}"
                pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
            yield Path(folder)
        finally:
            _bed("down", **env)
