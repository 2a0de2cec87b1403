"""What is up, as one file: written when it is, read by every later command."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from testbed.bases import BASES, TWO_PLATFORMS, TWO_PLATFORMS_NAME, layouts
from testbed.common import Paths, write_atomically
from testbed.layout import Json
from testbed.processes import Process
from testbed.registry import Running
from testbed.registry_client import Registry

_CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What an ``up`` brought up; parts that are not are None."""

    boot: str
    docker_host: str | None = None
    path: tuple[str, ...] = ()
    arm64: bool = False
    two_platforms: bool = False
    registry: Running | None = None
    auth_registry: Running | None = None

    def with_(self, **changes: object) -> State:
        return replace(self, **changes)  # type: ignore[arg-type]


def boot_id() -> str:
    """Another one after every start of the machine: process numbers of before mean nothing then."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""


def load(paths: Paths) -> State:
    """The state last written in this boot, an empty one when there is none."""
    try:
        value = json.loads(paths.state.read_text(encoding="utf-8"))
        found = State(
            boot=value["boot"],
            docker_host=value["docker_host"],
            path=tuple(value["path"]),
            arm64=value["arm64"],
            two_platforms=value.get("two_platforms", False),
            registry=_running(value["registry"]),
            auth_registry=_running(value["auth_registry"]),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return State(boot=boot_id())
    return found if found.boot == boot_id() else State(boot=boot_id())


def save(paths: Paths, state: State) -> None:
    value = {
        "boot": state.boot,
        "docker_host": state.docker_host,
        "path": list(state.path),
        "arm64": state.arm64,
        "two_platforms": state.two_platforms,
        "registry": _plain(state.registry),
        "auth_registry": _plain(state.auth_registry),
    }
    write_atomically(paths.state, json.dumps(value, indent=1) + "\n", mode=0o600)


def _running(value: Json | None) -> Running | None:
    if value is None:
        return None
    return Running(
        registry=Registry(host=value["host"], username=value["username"], password=value["password"]),
        process=None if value["pid"] is None else Process(pid=value["pid"], started=value["started"]),
    )


def _plain(running: Running | None) -> Json | None:
    if running is None:
        return None
    registry, process = running.registry, running.process
    return {
        "host": registry.host,
        "username": registry.username,
        "password": registry.password,
        "pid": None if process is None else process.pid,
        "started": None if process is None else process.started,
    }


def as_json(paths: Paths, state: State) -> Json:
    """What `env --json` prints."""
    open_, closed = state.registry, state.auth_registry
    assert open_ is not None
    assert closed is not None
    return {
        "docker_host": state.docker_host,
        "path": list(state.path),
        "docker_config": str(paths.docker_config),
        "registry": open_.registry.host,
        "auth_registry": {
            "host": closed.registry.host,
            "username": closed.registry.username,
            "password": closed.registry.password,
        },
        "bases": {base.key: f"{base.name}:{base.tag}" for base in BASES},
        "two_platforms": f"{TWO_PLATFORMS_NAME}:{TWO_PLATFORMS.tag}" if state.two_platforms else None,
        "layouts": {key: str(layout.folder) for key, layout in layouts(paths, arm64=state.arm64).items()},
        "ca": ca_bundle(),
    }


def ca_bundle() -> str | None:
    """The site's bundle of certificates, where the environment names one."""
    named = (os.environ.get(name) for name in _CA_VARIABLES)
    return next((path for path in named if path and os.path.isfile(path)), None)


def as_shell(value: Json) -> str:
    """What `env` prints: lines for a shell to take over."""
    auth = value["auth_registry"]
    exports: dict[str, str] = {
        "DOCKER_CONFIG": value["docker_config"],
        "IMAGESPEC_TESTBED_REGISTRY": value["registry"],
        "IMAGESPEC_TESTBED_AUTH_REGISTRY": auth["host"],
        "IMAGESPEC_TESTBED_AUTH_USERNAME": auth["username"],
        "IMAGESPEC_TESTBED_AUTH_PASSWORD": auth["password"],
    }
    if value["docker_host"]:
        exports["DOCKER_HOST"] = value["docker_host"]
    lines = [f"export {key}={shlex.quote(text)}" for key, text in _sorted(exports)]
    if value["path"]:
        lines.append(f'export PATH={shlex.quote(":".join(value["path"]))}:"$PATH"')
    return "\n".join(lines)


def _sorted(values: Mapping[str, str]) -> list[tuple[str, str]]:
    return sorted(values.items())
