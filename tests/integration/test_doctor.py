"""``imagespec doctor`` on a machine where all is well, and where something is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Command

pytestmark = pytest.mark.integration


def findings(command: Command, *arguments: str, cwd: Path, expect: int = 0, **env: str) -> dict[str, dict[str, str]]:
    done = command("doctor", *arguments, "--format", "json", cwd=cwd, expect=expect, **env)
    listed = [json.loads(line) for line in done.stdout.splitlines()]
    return {finding["subject"]: finding for finding in listed}


def test_all_is_well(imagespec: Command, testbed: dict[str, Any], tmp_path: Path) -> None:
    host = testbed["registry"]
    found = findings(imagespec, host, cwd=tmp_path)
    assert {one["state"] for one in found.values()} <= {"ok", "note"}
    assert {"engine", "buildx", "uv", "CA bundle", "proxies", "cache folder", f"registry {host}", "clock"} <= set(found)
    assert all(one["fix"] for one in found.values() if one["state"] != "ok")


def test_what_is_wrong_comes_with_its_fix(imagespec: Command, testbed: dict[str, Any], tmp_path: Path) -> None:
    closed = testbed["auth_registry"]["host"]
    bundle = tmp_path / "ca.pem"
    bundle.write_text("no certificate\n")
    wrong = {"DOCKER_HOST": "unix:///nowhere/docker.sock", "IMAGESPEC_CA_BUNDLE": str(bundle)}
    found = findings(imagespec, closed, "127.0.0.1:9", cwd=tmp_path, expect=1, **wrong)
    for subject in ("engine", "CA bundle", f"registry {closed}", "registry 127.0.0.1:9"):
        assert found[subject]["state"] == "bad"
        assert found[subject]["fix"]
    assert "docker login" in found[f"registry {closed}"]["fix"]


def test_without_a_client_it_says_so(imagespec: Command, tmp_path: Path) -> None:
    found = findings(imagespec, cwd=tmp_path, expect=1, PATH="/nowhere")
    assert found["docker client"] == {
        "subject": "docker client",
        "state": "bad",
        "detail": "not on the PATH",
        "fix": "install Docker's client, or build without an engine: --builder daemonless",
    }
