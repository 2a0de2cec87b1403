"""Two real registries on loopback: one open, one that wants a password."""

from __future__ import annotations

import ctypes
import os
import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from testbed import packages, processes, registry_container
from testbed.common import Paths, TestbedError, remove_folder, timed
from testbed.registry_client import Registry, answers

OPEN = "registry"
WITH_PASSWORD = "auth-registry"

_START_TIMEOUT_S = 15.0
_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A registry that was started, and the process that it is (None: a container of the engine)."""

    registry: Registry
    process: processes.Process | None

    @property
    def is_up(self) -> bool:
        return (self.process is None or processes.is_alive(self.process)) and answers(self.registry)


def start(paths: Paths, part: str, docker_host: str | None) -> Running:
    """Starts the registry afresh on a free port, after ending what was left of an earlier one."""
    stop(paths, part)
    remove_folder(paths.data / part)
    with timed(f"starting the registry{' that wants a password' if part == WITH_PASSWORD else ''}"):
        if packages.is_debian():
            return _start_process(paths, part)
        if docker_host is None:
            raise TestbedError("without an engine a registry can only be had on Debian: run `up` with one")
        registry_container.stop(paths, part, docker_host)
        users = ("testbed", secrets.token_urlsafe(12)) if part == WITH_PASSWORD else None
        registry = registry_container.start(paths, part, docker_host, users)
        return Running(registry=_await_container(registry), process=None)


def fetch(paths: Paths) -> None:
    """Has the registry's package at hand, where it is Debian's."""
    if packages.is_debian():
        packages.ensure(paths, "docker-registry", packages.REGISTRY)


def is_cached(paths: Paths) -> bool:
    """Whether :func:`fetch` has nothing to fetch."""
    return not packages.is_debian() or packages.are_cached(paths, "docker-registry", packages.REGISTRY)


def stop(paths: Paths, part: str) -> None:
    """Ends the registry where it is a process of ours."""
    processes.stop(processes.owned(processes.mark(paths.root, part)), grace_s=3)


def _start_process(paths: Paths, part: str) -> Running:
    tools = packages.ensure(paths, "docker-registry", packages.REGISTRY)
    username, password = ("testbed", secrets.token_urlsafe(12)) if part == WITH_PASSWORD else (None, None)
    for _ in range(_TRIES):
        registry = Registry(host=f"127.0.0.1:{_free_port()}", username=username, password=password)
        process = processes.spawn(
            [str(tools / "usr/bin/docker-registry"), "serve", str(_settings(paths, part, registry))],
            owner=processes.mark(paths.root, part),
            log=paths.run / f"{part}.log",
            env={key: value for key, value in os.environ.items() if not key.startswith("REGISTRY_")},
        )
        if _comes_up(registry, process):
            return Running(registry=registry, process=process)
    raise TestbedError(f"the registry did not start {_TRIES} times; see {paths.run / f'{part}.log'}")


def _comes_up(registry: Registry, process: processes.Process) -> bool:
    """Whether it answers; it dies at once when somebody else took the port meanwhile."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and processes.is_alive(process):
        if answers(registry):
            return processes.is_alive(process)
        time.sleep(0.03)
    processes.stop([process], grace_s=1)
    return False


def _await_container(registry: Registry) -> Registry:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not answers(registry):
        if time.monotonic() > deadline:
            raise TestbedError(f"the registry's container does not answer at {registry.host}; see `docker logs`")
        time.sleep(0.1)
    return registry


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _settings(paths: Paths, part: str, registry: Registry) -> Path:
    store = paths.data / part
    store.mkdir(parents=True, exist_ok=True)
    lines = [
        "version: 0.1",
        "log: {level: warn, accesslog: {disabled: true}}",
        f"storage: {{filesystem: {{rootdirectory: '{store}'}}, delete: {{enabled: true}}}}",
        f"http: {{addr: '{registry.host}', secret: '{secrets.token_hex(16)}'}}",
    ]
    if registry.username and registry.password:
        users = paths.run / f"{part}.htpasswd"
        users.write_text(f"{registry.username}:{_bcrypt(registry.password)}\n", encoding="utf-8")
        users.chmod(0o600)
        lines.append(f"auth: {{htpasswd: {{realm: test-bed, path: '{users}'}}}}")
    file = paths.run / f"{part}.yml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def _bcrypt(password: str) -> str:
    """The password as htpasswd files keep it, by the C library's crypt (which every Debian has)."""
    try:
        crypt = ctypes.CDLL("libcrypt.so.1").crypt
    except OSError as error:
        raise TestbedError("no libcrypt to hash the registry's password with: install libcrypt1") from error
    crypt.restype = ctypes.c_char_p
    salt = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(21)) + "e"
    hashed: bytes | None = crypt(password.encode(), f"$2b$05${salt}".encode())
    if hashed is None or not hashed.startswith(b"$2b$"):
        raise TestbedError("libcrypt of this machine does not know bcrypt")
    return hashed.decode()
