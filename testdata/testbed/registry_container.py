"""A registry as a container of the engine, from Docker Hub's image: for machines that are not Debian."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from testbed.common import Paths, TestbedError
from testbed.registry_client import Registry

_IMAGE = "registry:2"
#: Has the htpasswd command, as the registry's own manual says.
_HTPASSWD_IMAGE = "httpd:2"


def start(paths: Paths, part: str, docker_host: str, user: tuple[str, str] | None) -> Registry:
    """Runs the registry on a free port of loopback that the engine chooses."""
    name = _name(paths, part)
    settings = ["--env", "REGISTRY_STORAGE_DELETE_ENABLED=true"]
    if user is not None:
        settings += ["--env", "REGISTRY_AUTH_HTPASSWD_REALM=test-bed"]
        settings += ["--env", "REGISTRY_AUTH_HTPASSWD_PATH=/etc/docker/registry/htpasswd"]
    _docker(docker_host, "create", "--name", name, "--publish", "127.0.0.1::5000", *settings, _IMAGE)
    if user is not None:
        _copy_users(docker_host, name, user)
    _docker(docker_host, "start", name)
    address = _docker(docker_host, "port", name, "5000/tcp").splitlines()[0]
    username, password = user if user is not None else (None, None)
    return Registry(host=address, username=username, password=password)


def stop(paths: Paths, part: str, docker_host: str) -> None:
    """Removes the container with all it stored, if it is there."""
    name = _name(paths, part)
    if name in _docker(docker_host, "ps", "--all", "--format", "{{.Names}}").split():
        _docker(docker_host, "rm", "--force", "--volumes", name)


def _copy_users(docker_host: str, container: str, user: tuple[str, str]) -> None:
    argv = ["run", "--rm", "--interactive", "--entrypoint", "htpasswd", _HTPASSWD_IMAGE, "-niB", user[0]]
    line = _docker(docker_host, *argv, given=f"{user[1]}\n")
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "htpasswd")
        file.write_text(line.strip() + "\n", encoding="utf-8")
        _docker(docker_host, "cp", str(file), f"{container}:/etc/docker/registry/htpasswd")


def _name(paths: Paths, part: str) -> str:
    return f"imagespec-testbed-{paths.short_name}-{part}"


def _docker(docker_host: str, *arguments: str, given: str | None = None) -> str:
    env = {**os.environ, "DOCKER_HOST": docker_host}
    done = subprocess.run(["docker", *arguments], env=env, input=given, capture_output=True, text=True)
    if done.returncode != 0:
        raise TestbedError(f"docker {arguments[0]} failed:\n  {done.stderr.strip()}")
    return done.stdout
