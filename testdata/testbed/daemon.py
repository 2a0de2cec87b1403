"""A private dockerd and its containerd: own folders, own socket, own bridge; ended without a trace."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from testbed import network, processes
from testbed.common import Paths, TestbedError, mounts_below, remove_folder, timed

_PART = "engine"
_START_TIMEOUT_S = 60.0
#: A busy engine may be slow to answer; it is not taken for a dead one before this.
_BUSY_S = 30.0


def is_running(paths: Paths) -> bool:
    """Whether a dockerd of this bed runs, whatever its condition."""
    return bool(_daemons(paths))


def answers_in_time(paths: Paths, ready: Callable[[], bool]) -> bool:
    """Whether the private engine answers, with patience while its process is there."""
    deadline = time.monotonic() + _BUSY_S
    while not ready():
        if not is_running(paths) or time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def start(paths: Paths, tools: Path, host: str, ready: Callable[[], bool]) -> None:
    """Starts containerd and dockerd; raises TestbedError with the end of their log when they do not come up."""
    with timed("starting a private Docker engine"):
        try:
            _start(paths, tools, host, ready)
        except PermissionError as error:
            stop(paths)
            raise TestbedError(
                f"not allowed to set up a network for containers ({error}): in a container, run with --privileged; "
                "or use `up --without-engine`"
            ) from error
        except BaseException:
            stop(paths)
            raise


def stop(paths: Paths) -> None:
    """Ends the private engine and what runs in it, and removes its mounts and its bridge."""
    owner = processes.mark(paths.root, _PART)
    processes.stop(_daemons(paths), grace_s=20)
    processes.stop(processes.inside(paths.data), grace_s=0)  # containers whose engine was killed
    processes.stop(processes.owned(owner), grace_s=5)
    for point in mounts_below(paths.run) + mounts_below(paths.data):
        subprocess.run(["umount", "-l", point], capture_output=True)
    if os.geteuid() == 0 and Path("/sys/class/net").exists():
        network.remove(paths, str(paths.run / "sbin/iptables"))
    _remove_cgroups(paths)
    for leftover in ("containerd", "exec", "dockerd.pid", "docker.sock"):
        remove_folder(paths.run / leftover)


def forget(paths: Paths) -> None:
    """Deletes what the stopped engine stored."""
    for store in ("engine", "containerd"):
        remove_folder(paths.data / store)


def _daemons(paths: Paths) -> list[processes.Process]:
    running = processes.owned(processes.mark(paths.root, _PART))
    return [process for process in running if processes.name(process) == "dockerd"]


def _start(paths: Paths, tools: Path, host: str, ready: Callable[[], bool]) -> None:
    commands = _wrap_iptables(paths, tools)
    network.remove(paths, str(commands / "iptables"))
    network.create(paths, str(commands / "iptables"))
    own = f"{commands}:{tools}/usr/bin:{tools}/usr/sbin"
    env = {**os.environ, "PATH": f"{own}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    for inherited in ("DOCKER_HOST", "DOCKER_CONFIG", "NOTIFY_SOCKET"):
        env.pop(inherited, None)
    owner = processes.mark(paths.root, _PART)
    argv = [str(tools / "usr/bin/containerd"), "--config", str(_containerd_settings(paths))]
    containerd = processes.spawn(argv, owner=owner, log=paths.run / "containerd.log", env=env)
    _await(containerd, _containerd_socket(paths).exists, "containerd", paths.run / "containerd.log")
    argv = [str(tools / "usr/sbin/dockerd"), "--config-file", str(_dockerd_settings(paths, tools, host))]
    dockerd = processes.spawn(argv, owner=owner, log=paths.run / "dockerd.log", env=env)
    _await(dockerd, ready, "dockerd", paths.run / "dockerd.log")


def _await(process: processes.Process, ready: Callable[[], bool], name: str, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not ready():
        if not processes.is_alive(process) or time.monotonic() > deadline:
            said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-12:]
            raise TestbedError(f"{name} did not start; the end of its log:\n  " + "\n  ".join(said))
        time.sleep(0.05)


def _wrap_iptables(paths: Paths, tools: Path) -> Path:
    """A folder with iptables as commands that find their libraries, in the variant that this kernel takes."""
    folder = paths.run / "sbin"
    folder.mkdir(parents=True, exist_ok=True)
    libraries = next(iter(tools.glob("usr/lib/*/libxtables.so.12"))).parent
    for variant in ("nft", "legacy"):
        for name in ("iptables", "ip6tables"):
            wrapper = folder / name
            wrapper.write_text(
                f"#!/bin/sh\nLD_LIBRARY_PATH='{libraries}' XTABLES_LIBDIR='{libraries}/xtables' "
                f"exec '{tools}/usr/sbin/xtables-{variant}-multi' {name} \"$@\"\n",
                encoding="utf-8",
            )
            wrapper.chmod(0o755)
        tried = subprocess.run([folder / "iptables", "-t", "nat", "-S"], capture_output=True, text=True)
        if tried.returncode == 0:
            return folder
    raise TestbedError(
        f"iptables does not work here, so containers would have no network: {tried.stderr.strip()} "
        "(in a container, run with --privileged; or use `up --without-engine`)"
    )


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


def _dockerd_settings(paths: Paths, tools: Path, host: str) -> Path:
    settings = {
        "data-root": str(paths.data / "engine"),
        "exec-root": str(paths.run / "exec"),
        "pidfile": str(paths.run / "dockerd.pid"),
        "hosts": [host],
        "group": str(os.getgid()),
        "containerd": str(_containerd_socket(paths)),
        "features": {"containerd-snapshotter": True},
        "cgroup-parent": _cgroup(paths),
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
    if not _takes_overlays(paths.data):
        settings["storage-driver"] = "native"
    file = paths.run / "dockerd.json"
    file.write_text(json.dumps(settings, indent=1), encoding="utf-8")
    return file


def _cgroup(paths: Paths) -> str:
    return f"/imagespec-testbed-{paths.short_name}"


def _remove_cgroups(paths: Paths) -> None:
    """Deletes the groups that containers ran in: one tree in version 2, one per controller in version 1."""
    top = Path("/sys/fs/cgroup")
    name = _cgroup(paths).lstrip("/")
    for tree in (top / name, *top.glob(f"*/{name}")):
        groups = [Path(folder) for folder, _, _ in os.walk(tree, topdown=False)]
        for group in groups:
            with contextlib.suppress(OSError):
                group.rmdir()


def _takes_overlays(folder: Path) -> bool:
    """Whether overlays can be stacked on this file system: not on one that is an overlay itself."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    around = [fields for fields in mounts if f"{folder}/".startswith(f"{fields[1].rstrip('/')}/")]
    return max(around, key=lambda fields: len(fields[1]))[2] != "overlay"
