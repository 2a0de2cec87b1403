"""Fixtures that several folders share: the test-bed, brought up once for a session."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
BED = ROOT / "testdata" / "testbed" / "bed.py"


def _bed(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(BED), *arguments], capture_output=True, text=True, check=False)


def _up(*arguments: str) -> Iterator[dict[str, Any]]:
    was_up = _bed("status").returncode == 0
    done = _bed("up", *arguments, "--json")
    if done.returncode != 0:
        reason = f"the test-bed does not come up: {done.stderr[-2000:]}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    try:
        yield json.loads(done.stdout)
    finally:
        if not was_up:
            _bed("down")


@pytest.fixture(scope="session")
def testbed() -> Iterator[dict[str, Any]]:
    """Where engine, registries and base images are; ended with the session only if the session started them."""
    yield from _up()


@pytest.fixture(scope="session")
def registry_bed() -> Iterator[dict[str, Any]]:
    """The same without an engine."""
    yield from _up("--without-engine")
