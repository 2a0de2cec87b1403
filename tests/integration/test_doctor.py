"""``imagespec doctor`` on a machine where all is well, and where something is not."""

from __future__ import annotations

import base64
import json
import shutil
import socket
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


def test_proxies_are_tried(imagespec: Command, tmp_path: Path) -> None:
    """One that listens, one that does not; its password is not shown. Then values that are no proxy's address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        there = f"http://robot:s3cret@127.0.0.1:{port}"
        done = imagespec("doctor", cwd=tmp_path, HTTP_PROXY=there, HTTPS_PROXY=there)
        assert f"ok    proxies: http and https through 127.0.0.1:{port}, which answers" in done.stdout
    found = imagespec("doctor", cwd=tmp_path, expect=1, HTTPS_PROXY=there)
    assert f"bad   proxies: https through 127.0.0.1:{port}, which does not answer: " in found.stdout
    assert "      fix: start it, or correct or unset HTTPS_PROXY" in found.stdout
    assert "s3cret" not in done.stdout + found.stdout
    for value in ("socks5://p:1", "proxy:port", "http://", "http://p:0", "http://p:99999"):
        refused = imagespec("doctor", cwd=tmp_path, expect=2, HTTPS_PROXY=value)
        assert "error: HTTPS_PROXY: " in refused.stderr
        assert "hint: write http://host:port" in refused.stderr


def test_credentials_and_the_clock_are_looked_at_with_a_registry(
    imagespec: Command, testbed: dict[str, Any], tmp_path: Path
) -> None:
    found = findings(imagespec, cwd=tmp_path)
    assert found["registry"]["state"] == "note"
    assert "imagespec doctor" in found["registry"]["fix"]
    closed = testbed["auth_registry"]
    docker = Path(shutil.copytree(testbed["docker_config"], tmp_path / "docker", symlinks=True))
    right = base64.b64encode(f"{closed['username']}:{closed['password']}".encode()).decode()
    wrong = base64.b64encode(b"somebody:else").decode()
    subjects = (f"credentials for {closed['host']}", f"registry {closed['host']}")
    for config, states, told in (
        ({"auths": {closed["host"]: {"auth": right}}}, ["ok", "ok"], "lets us in"),
        ({"auths": {closed["host"]: {"auth": wrong}}}, ["ok", "bad"], "docker login"),
        ({"credHelpers": {closed["host"]: "nowhere"}}, ["bad", ""], "docker-credential-nowhere is not on the PATH"),
        ("no JSON", ["bad", ""], "docker login writes it"),
    ):
        (docker / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
        found = findings(
            imagespec, closed["host"], cwd=tmp_path, expect=1 if "bad" in states else 0, DOCKER_CONFIG=str(docker)
        )
        assert [found.get(subject, {}).get("state", "") for subject in subjects] == states
        assert any(told in one["detail"] + one["fix"] for one in found.values())
