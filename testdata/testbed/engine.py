"""A Docker engine: the one that answers, else a private one of Debian's packages."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from testbed import network, packages, processes
from testbed.common import Paths, TestbedError, mounts_below, remove_folder, say, timed

_PART = "engine"
_START_TIMEOUT_S = 60.0
_DEFAULT_HOST = "unix:///var/run/docker.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine to use: where it listens, and the unpacked packages its client (a private one: all of it) comes from."""

    host: str
    tools: Path | None
    plugin: Path
    private: bool


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(5)
        self.sock.connect(self._path)


def answers(host: str) -> bool:
    """Whether an engine answers at this address (``unix://`` or ``tcp://``)."""
    kind, _, where = host.partition("://")
    connection: http.client.HTTPConnection
    if kind == "unix":
        connection = _UnixConnection(where)
    elif kind in ("tcp", "http"):
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(f"//{where}").netloc, timeout=5)
    else:
        return False
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/_ping")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False


def private_host(paths: Paths) -> str:
    return f"unix://{paths.docker_socket}"


def find(paths: Paths) -> str | None:
    """The address of an engine that is not ours and answers."""
    given = os.environ.get("DOCKER_HOST")
    for host in (given, _context_host(), _DEFAULT_HOST):
        if host and host != private_host(paths) and answers(host):
            return host
    if given and given != private_host(paths):
        say(f"no engine answers at DOCKER_HOST={given}")
    return None


def _context_host() -> str | None:
    """Where the docker client's current context points to."""
    if shutil.which("docker") is None:
        return None
    env = {key: value for key, value in os.environ.items() if key != "DOCKER_HOST"}
    argv = ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True)
    return done.stdout.strip() or None


def choose(paths: Paths) -> Engine:
    """The engine that answers, else a private one; fetches the packages that it or a client for it takes."""
    host = find(paths)
    if host is not None:
        say(f"using the Docker engine that answers at {host}")
        plugin = _installed_buildx()
        if plugin is not None:
            return Engine(host=host, tools=None, plugin=plugin, private=False)
        if not packages.is_debian():
            raise TestbedError("a Docker engine answers, but there is no docker client with buildx: install them")
    elif not packages.is_debian() or os.geteuid() != 0:
        raise TestbedError(
            "no Docker engine answers. Start one (and set DOCKER_HOST if it is not at the default socket), "
            "or run this as root on Debian, where a private engine can be had; "
            "`up --without-engine` brings up registries and base images alone"
        )
    tools = packages.ensure(paths, "engine", packages.ENGINE)
    plugin = tools / "usr/libexec/docker/cli-plugins/docker-buildx"
    return Engine(host=host or private_host(paths), tools=tools, plugin=plugin, private=host is None)


def start(paths: Paths, chosen: Engine) -> tuple[str, ...]:
    """Has the engine answer and a client ready for it; returns the folders to put in front of PATH."""
    _link_plugin(paths, chosen.plugin)
    if chosen.tools is None:
        return ()
    if chosen.private and not answers(chosen.host):
        stop(paths)
        with timed("starting a private Docker engine"):
            _start(paths, chosen.tools)
    return (str(_client_folder(paths, chosen.tools)),)


def _installed_buildx() -> Path | None:
    """The buildx plugin of the docker client on the PATH."""
    if shutil.which("docker") is None:
        return None
    argv = ["docker", "info", "--format", "{{json .ClientInfo.Plugins}}"]
    done = subprocess.run(argv, capture_output=True, text=True)
    with contextlib.suppress(ValueError):
        for plugin in json.loads(done.stdout.strip() or "[]") or []:
            if plugin.get("Name") == "buildx" and plugin.get("Path") and not plugin.get("Err"):
                return Path(plugin["Path"])
    return None


def _client_folder(paths: Paths, tools: Path) -> Path:
    """A folder with nothing but the docker client, fit to be put in front of PATH."""
    folder = paths.run / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    _link(folder / "docker", tools / "usr/bin/docker")
    return folder


def _link_plugin(paths: Paths, plugin: Path) -> None:
    """A client configuration of our own, so that nobody's credentials or contexts are used or changed."""
    folder = paths.docker_config / "cli-plugins"
    folder.mkdir(parents=True, exist_ok=True)
    if not (paths.docker_config / "config.json").exists():
        (paths.docker_config / "config.json").write_text("{}\n", encoding="utf-8")
    _link(folder / "docker-buildx", plugin)


def _link(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def _start(paths: Paths, tools: Path) -> None:
    search = _daemon_folder(paths, tools)
    network.create(paths, str(search / "iptables"))
    own = f"{search}:{tools}/usr/bin:{tools}/usr/sbin"
    env = {**os.environ, "PATH": f"{own}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    env.pop("DOCKER_HOST", None)
    owner = processes.mark(paths.root, _PART)
    containerd = [str(tools / "usr/bin/containerd"), "--config", str(_containerd_settings(paths))]
    first = processes.spawn(containerd, owner=owner, log=paths.run / "containerd.log", env=env)
    _await(first, _containerd_socket(paths).exists, "containerd", paths.run / "containerd.log")
    dockerd = [str(tools / "usr/sbin/dockerd"), "--config-file", str(_dockerd_settings(paths, tools))]
    second = processes.spawn(dockerd, owner=owner, log=paths.run / "dockerd.log", env=env)
    _await(second, lambda: answers(private_host(paths)), "dockerd", paths.run / "dockerd.log")


def _await(process: processes.Process, ready: Callable[[], bool], name: str, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not ready():
        if not processes.is_alive(process) or time.monotonic() > deadline:
            said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-12:]
            raise TestbedError(f"{name} did not start; the end of {log}:\n  " + "\n  ".join(said))
        time.sleep(0.05)


def _daemon_folder(paths: Paths, tools: Path) -> Path:
    """Commands for the daemon whose libraries lie with them: a wrapper each."""
    folder = paths.run / "sbin"
    folder.mkdir(parents=True, exist_ok=True)
    libraries = next(iter(tools.glob("usr/lib/*/libxtables.so.12"))).parent
    for kind in ("nft", "legacy"):
        for name in ("iptables", "ip6tables"):
            wrapper = folder / name
            wrapper.write_text(
                f"#!/bin/sh\nLD_LIBRARY_PATH='{libraries}' XTABLES_LIBDIR='{libraries}/xtables' "
                f"exec '{tools}/usr/sbin/xtables-{kind}-multi' {name} \"$@\"\n",
                encoding="utf-8",
            )
            wrapper.chmod(0o755)
        if subprocess.run([folder / "iptables", "-t", "nat", "-S"], capture_output=True).returncode == 0:
            return folder
    raise TestbedError("iptables does not work on this kernel, so containers would have no network: see `dmesg`")


def _containerd_socket(paths: Paths) -> Path:
    return paths.run / "containerd/containerd.sock"


def _containerd_settings(paths: Paths) -> Path:
    file = paths.run / "containerd.toml"
    file.write_text(
        f"version = 2\n"
        f"root = {json.dumps(str(paths.data / 'containerd'))}\n"
        f"state = {json.dumps(str(paths.run / 'containerd'))}\n"
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f"[grpc]\naddress = {json.dumps(str(_containerd_socket(paths)))}\n"
        f'[debug]\nlevel = "warn"\n',
        encoding="utf-8",
    )
    return file


def _dockerd_settings(paths: Paths, tools: Path) -> Path:
    settings = {
        "data-root": str(paths.data / "engine"),
        "exec-root": str(paths.run / "exec"),
        "pidfile": str(paths.run / "dockerd.pid"),
        "hosts": [private_host(paths)],
        "group": str(os.getgid()),
        "containerd": str(_containerd_socket(paths)),
        "features": {"containerd-snapshotter": True},
        "bridge": network.bridge_name(paths),
        "mtu": network.route_mtu(),
        "iptables": False,
        "ip6tables": False,
        "ip-forward": False,
        "userland-proxy-path": str(tools / "usr/sbin/docker-proxy"),
        "init-path": str(tools / "usr/bin/tini-static"),
        "shutdown-timeout": 5,
        "log-level": "warn",
    }
    file = paths.run / "dockerd.json"
    file.write_text(json.dumps(settings, indent=1), encoding="utf-8")
    return file


def stop(paths: Paths) -> None:
    """Ends the private engine and what runs in it, and removes its mounts and its bridge."""
    owner = processes.mark(paths.root, _PART)
    running = processes.owned(owner)
    daemons = [p for p in running if _name(p.pid) == "dockerd"]
    processes.stop(daemons, grace_s=20)
    processes.stop(processes.inside(paths.data), grace_s=2)
    processes.stop(processes.owned(owner), grace_s=5)
    for point in mounts_below(paths.run) + mounts_below(paths.data):
        subprocess.run(["umount", "-l", point], capture_output=True)
    if os.geteuid() == 0 and Path("/sys/class/net").exists():
        network.remove(paths, str(paths.run / "sbin/iptables"))
    for leftover in ("containerd", "exec", "dockerd.pid", "docker.sock"):
        remove_folder(paths.run / leftover)


def forget(paths: Paths) -> None:
    """Deletes what the stopped engine stored."""
    for store in ("engine", "containerd"):
        remove_folder(paths.data / store)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
