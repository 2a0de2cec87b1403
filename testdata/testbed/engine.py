"""Which Docker engine to use, and a client with buildx for it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from testbed import daemon, packages
from testbed.common import Paths, TestbedError, say

_DEFAULT_HOST = "unix:///var/run/docker.sock"
_PING_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine to use: where it listens, and the unpacked packages that its client, or all of it, comes from."""

    host: str
    tools: Path | None
    plugin: Path
    private: bool


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_PING_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_PING_TIMEOUT_S)
        self.sock.connect(self._path)


def answers(host: str) -> bool:
    """Whether an engine answers at this address."""
    kind, _, where = host.partition("://")
    if kind == "unix":
        return _ping(_UnixConnection(where))
    if kind in ("tcp", "http") and not os.environ.get("DOCKER_TLS_VERIFY"):
        address = urllib.parse.urlsplit(f"//{where}").netloc
        return _ping(http.client.HTTPConnection(address, timeout=_PING_TIMEOUT_S))
    return _client_output("version", "--format", "{{.Server.Version}}", host=host) != ""


def private_host(paths: Paths) -> str:
    return f"unix://{paths.docker_socket}"


def look(paths: Paths, *, own: bool = False) -> str | None:
    """Where another engine answers; None when a private one is to be used (ours, if it is up, goes before others).

    ``own`` wants a private one whatever answers.

    Raises TestbedError where neither is to be had.
    """
    host = None if own or daemon.is_running(paths) else _find(paths)
    if host is None and (not packages.is_debian() or os.geteuid() != 0):
        if own:
            raise TestbedError("an engine of its own can be had as root on Debian only; run it without --own-engine")
        raise TestbedError(
            "no Docker engine answers. Start one (and set DOCKER_HOST if it is not at the default socket), "
            "or run this as root on Debian, where a private engine can be had; "
            "`up --without-engine` brings up registries and base images alone"
        )
    if host is not None:
        say(f"using the Docker engine that answers at {host}")
    return host


def fetch(paths: Paths, host: str | None) -> Engine:
    """The engine found by :func:`look`, with the packages at hand that it, or a client for it, takes."""
    if host is not None:
        plugin = _installed_buildx()
        if plugin is not None:
            return Engine(host=host, tools=None, plugin=plugin, private=False)
        if not packages.is_debian():
            raise TestbedError("a Docker engine answers, but there is no docker client with buildx: install them")
    tools = packages.ensure(paths, "engine", packages.ENGINE)
    plugin = tools / "usr/libexec/docker/cli-plugins/docker-buildx"
    return Engine(host=host or private_host(paths), tools=tools, plugin=plugin, private=host is None)


def is_cached(paths: Paths, host: str | None) -> bool:
    """Whether :func:`fetch` has nothing to fetch."""
    return packages.are_cached(paths, "engine", packages.ENGINE) or (
        host is not None and _installed_buildx() is not None
    )


def start(paths: Paths, chosen: Engine, *, keep: bool) -> tuple[str, ...]:
    """Has the engine answer and a client ready for it; returns the folders to put in front of PATH.

    ``keep`` leaves what a private engine stored the last time.
    """
    _link(paths.docker_config / "cli-plugins/docker-buildx", chosen.plugin)
    if chosen.tools is None:
        return ()
    if chosen.private and not daemon.answers_in_time(paths, lambda: answers(chosen.host)):
        daemon.stop(paths)
        if not keep:
            daemon.forget(paths)
        daemon.start(paths, chosen.tools, chosen.host, lambda: answers(chosen.host))
    folder = paths.run / "bin"
    _link(folder / "docker", chosen.tools / "usr/bin/docker")
    return (str(folder),)


def make_client_settings(paths: Paths) -> None:
    """A client configuration of our own, so that nobody's credentials or contexts are used or changed."""
    paths.docker_config.mkdir(parents=True, exist_ok=True)
    if not (paths.docker_config / "config.json").exists():
        (paths.docker_config / "config.json").write_text("{}\n", encoding="utf-8")


def _ping(connection: http.client.HTTPConnection) -> bool:
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/_ping")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False


def _find(paths: Paths) -> str | None:
    """The address of an engine that is not ours and answers."""
    ours = private_host(paths)
    given = os.environ.get("DOCKER_HOST")
    context = _client_output("context", "inspect", "--format", "{{.Endpoints.docker.Host}}", host=None)
    for host in dict.fromkeys((given, context, _DEFAULT_HOST)):
        if host and host != ours and answers(host):
            return host
    if given and given != ours:
        say(f"no engine answers at DOCKER_HOST={given}")
    return None


def _installed_buildx() -> Path | None:
    """The buildx plugin of the docker client on the PATH."""
    listed = _client_output("info", "--format", "{{json .ClientInfo.Plugins}}", host=os.environ.get("DOCKER_HOST"))
    with contextlib.suppress(ValueError):
        for plugin in json.loads(listed or "[]") or []:
            if plugin.get("Name") == "buildx" and plugin.get("Path") and not plugin.get("Err"):
                return Path(plugin["Path"])
    return None


def _client_output(*arguments: str, host: str | None) -> str:
    """What the docker client on the PATH prints; nothing where there is none or it fails."""
    if shutil.which("docker") is None:
        return ""
    env = {key: value for key, value in os.environ.items() if key != "DOCKER_HOST"}
    if host is not None:
        env["DOCKER_HOST"] = host
    try:
        done = subprocess.run(["docker", *arguments], env=env, capture_output=True, text=True, timeout=20)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink() or os.readlink(link) != str(target):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
