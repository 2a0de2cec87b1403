"""Credentials as ``docker login`` and ``podman login`` leave them: config files and credential helpers.

Source: Docker's ``config.json`` (``auths``, ``credHelpers``, ``credsStore``), the docker-credential-helpers protocol,
and containers-auth.json(5) for keys that name a repository.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from imagespec.errors import SettingsError, Unauthorized
from imagespec.names import DOCKER_HUB, Repository
from imagespec.registry.auth import Credential
from imagespec.values import dataclass, field

__all__ = ["FileCredentials", "HelperOutcome", "RunHelper", "run_helper"]

_HUB_KEYS: Final = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")
_NOT_FOUND: Final = "credentials not found"
_MAX_OUTPUT: Final = 200


@dataclass(frozen=True, slots=True)
class HelperOutcome:
    """How a credential helper ended; its stdout may hold a password."""

    exit_status: int
    stdout: str = field(repr=False)
    stderr: str = ""


RunHelper: TypeAlias = Callable[[str, str, float], HelperOutcome]
"""Runs a helper program with a server's name on its stdin, within so many seconds; raises OSError or TimeoutError."""


def run_helper(program: str, server: str, timeout_s: float) -> HelperOutcome:
    """Return how ``program get`` ended, asked for ``server``; at the time limit it and its children are killed."""
    with subprocess.Popen(
        [program, "get"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(server, timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"no answer in {timeout_s:.0f} s") from error
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return HelperOutcome(process.returncode, stdout, stderr)


class FileCredentials:
    """The credentials of several config files, the first file first; each file is read once, when first needed."""

    def __init__(self, files: tuple[Path, ...], *, run: RunHelper = run_helper, helper_timeout_s: float = 20.0) -> None:
        self._files = files
        self._run = run
        self._timeout_s = helper_timeout_s
        self._lock = threading.Lock()
        self._configs: tuple[tuple[Path, Mapping[str, Any]], ...] | None = None
        self._helped: dict[tuple[str, str], Credential | None] = {}

    def credential(self, repository: Repository) -> Credential | None:
        """Return the credential for ``repository`` or None; raise SettingsError (file) or Unauthorized (helper)."""
        with self._lock:
            if self._configs is None:
                self._configs = tuple((file, _read(file)) for file in self._files)
            for file, config in self._configs:
                found = self._in_config(file, config, repository)
                if found is not None:
                    return found
        return None

    def _in_config(self, file: Path, config: Mapping[str, Any], repository: Repository) -> Credential | None:
        helper = _helper_for(config, repository.registry)
        if helper:
            found = self._ask(helper, _server(repository.registry))
            if found is not None:
                return found
        return _in_auths(file, _section(config, "auths"), repository)

    def _ask(self, helper: str, server: str) -> Credential | None:
        key = (helper, server)
        if key not in self._helped:
            self._helped[key] = self._call(f"docker-credential-{helper}", server)
        return self._helped[key]

    def _call(self, program: str, server: str) -> Credential | None:
        action = f"credentials of {server}: {program}"
        try:
            outcome = self._run(program, server, self._timeout_s)
        except FileNotFoundError as error:
            hint = "install it, or take it out of credsStore or credHelpers in docker's config.json"
            raise Unauthorized(f"{action} is not on the PATH", action=f"ask {program}", hint=hint) from error
        except (OSError, TimeoutError) as error:
            raise Unauthorized(f"{action}: {error}", action=f"ask {program}", hint=f"run {program} list") from error
        if outcome.exit_status != 0:
            said = (outcome.stdout if _NOT_FOUND in outcome.stdout else outcome.stderr or outcome.stdout).strip()
            if _NOT_FOUND in said:
                return None
            hint = f"echo {server} | {program} get"
            raise Unauthorized(f"{action}: {_one_line(said)}", action=f"ask {program}", hint=hint)
        return _helper_answer(action, program, outcome.stdout)


def _helper_answer(action: str, program: str, stdout: str) -> Credential | None:
    try:
        value = json.loads(stdout)
        username, secret = str(value["Username"]), str(value["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise Unauthorized(
            f"{action}: its answer is not one of a credential helper", action=f"ask {program}"
        ) from error
    if not secret:
        return None
    if username == "<token>":
        return Credential(identity_token=secret)
    return Credential(username=username, password=secret)


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line[:_MAX_OUTPUT] if line.isprintable() and line else "it ended with an error"


def _read(file: Path) -> Mapping[str, Any]:
    """Return the file's JSON object, {} when there is no file; raise SettingsError when it is not readable."""
    try:
        value = json.loads(file.read_bytes() or b"{}")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise SettingsError(f"read {file}: {error.strerror}", variable="DOCKER_CONFIG") from error
    except ValueError as error:
        raise SettingsError(
            f"read {file}: not JSON", variable="DOCKER_CONFIG", hint="docker login writes it"
        ) from error
    if not isinstance(value, dict):
        raise SettingsError(f"read {file}: not a JSON object", variable="DOCKER_CONFIG")
    return value


def _section(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key)
    return value if isinstance(value, dict) else {}


def _server(registry: str) -> str:
    return _HUB_KEYS[0] if registry == DOCKER_HUB else registry


def _names(registry: str) -> tuple[str, ...]:
    return _HUB_KEYS if registry == DOCKER_HUB else (registry,)


def _helper_for(config: Mapping[str, Any], registry: str) -> str:
    """Return the helper's name for a registry: its own, else the general store; "" for none."""
    helpers = _section(config, "credHelpers")
    for name in _names(registry):
        if name in helpers:
            return str(helpers[name])
    return str(config.get("credsStore") or "")


def _key(text: str) -> str:
    """Return an ``auths`` key as host[:port][/path]: Docker also writes URLs with a version."""
    if "://" in text:
        parts = urlsplit(text)
        text = f"{parts.netloc}{parts.path}"
    text = text.rstrip("/")
    for version in ("/v1", "/v2"):
        text = text.removesuffix(version)
    return DOCKER_HUB if text in _HUB_KEYS else text


def _in_auths(file: Path, auths: Mapping[str, Any], repository: Repository) -> Credential | None:
    """Return the entry of the longest key that names the repository, a folder above it, or its registry."""
    by_key = {_key(text): value for text, value in auths.items()}
    parts = (repository.registry, *repository.path.split("/"))
    for count in range(len(parts), 0, -1):
        entry = by_key.get("/".join(parts[:count]))
        if isinstance(entry, dict) and (found := _credential(file, entry)) is not None:
            return found
    return None


def _credential(file: Path, entry: Mapping[str, Any]) -> Credential | None:
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if auth := entry.get("auth"):
        try:
            username, _, password = base64.b64decode(str(auth), validate=True).decode().partition(":")
        except (binascii.Error, ValueError) as error:
            raise SettingsError(f"read {file}: an 'auth' entry is not base64", variable="DOCKER_CONFIG") from error
    identity, token = str(entry.get("identitytoken") or ""), str(entry.get("registrytoken") or "")
    if not (password or identity or token):
        return None
    return Credential(username=username, password=password.rstrip("\0"), identity_token=identity, registry_token=token)
