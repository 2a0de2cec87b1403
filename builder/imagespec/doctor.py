"""A look at everything a build needs on this machine: one finding each, with the fix where something is wrong."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from enum import Enum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from imagespec.builders.engine_check import ENGINE_HINT, last_line
from imagespec.builders.host_uv import host_uv
from imagespec.compose import Composition
from imagespec.errors import ImageSpecError, InvalidReference, SettingsError
from imagespec.names import DOCKER_HUB, Repository
from imagespec.registry import api
from imagespec.registry.credentials import FileCredentials
from imagespec.values import dataclass

__all__ = ["Finding", "State", "examine"]

_LOW_DISK_BYTES: Final = 5 << 30
_CLOCK_SKEW_S: Final = 120.0
_PROXY_TIMEOUT_S: Final = 3.0


class State(Enum):
    """How a thing stands: fine, worth knowing, or in the way of a build."""

    OK = "ok"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at; ``fix`` says what to do and is "" where nothing needs doing."""

    subject: str
    state: State
    detail: str
    fix: str = ""


def examine(composition: Composition, registries: tuple[str, ...]) -> Iterator[Finding]:
    """Yield a finding for each thing a build needs; ``registries`` are hosts that are asked too."""
    yield from _engine(composition)
    yield from _uv()
    yield _certificates(composition)
    yield from _proxies(composition)
    yield from (_disk(name, folder) for name, folder in _folders(composition))
    if not registries:
        fix = "name yours, as in: imagespec doctor ghcr.io"
        detail = "none was asked, so neither credentials nor the clock were looked at"
        yield Finding(subject="registry", state=State.NOTE, detail=detail, fix=fix)
    for registry in registries:
        yield from _registry(composition, registry)


def _engine(composition: Composition) -> Iterator[Finding]:
    from python_on_whales import ClientNotFoundError, DockerClient
    from python_on_whales.exceptions import DockerException

    client = DockerClient(client_type="docker")
    try:
        has_buildx = client.buildx.is_installed()
    except ClientNotFoundError:
        fix = "install Docker's client, or build without an engine: --builder daemonless"
        yield Finding(subject="docker client", state=State.BAD, detail="not on the PATH", fix=fix)
        return
    detail, fix = ("there is a buildx plugin", "") if has_buildx else ("no buildx plugin", "install docker-buildx")
    yield Finding(subject="buildx", state=State.OK if has_buildx else State.BAD, detail=detail, fix=fix)
    try:
        server = client.version().server
    except DockerException as error:
        detail = last_line(error.stderr) or "no answer"
        yield Finding(subject="engine", state=State.BAD, detail=detail, fix=ENGINE_HINT)
        return
    where = composition.settings.docker_host or "the client's context"
    version = server.version if server else None
    yield Finding(subject="engine", state=State.OK, detail=f"{version or 'unknown version'} at {where}")


def _uv() -> Iterator[Finding]:
    try:
        path = host_uv()
    except FileNotFoundError:
        yield Finding(subject="uv", state=State.BAD, detail="not found", fix="pip install --force-reinstall uv")
        return
    yield Finding(subject="uv", state=State.OK, detail=path)


def _certificates(composition: Composition) -> Finding:
    bundle = composition.settings.ca_bundle
    if bundle is None:
        return Finding(subject="CA bundle", state=State.OK, detail="the system's own; none is set")
    try:
        context = ssl.create_default_context(cafile=str(bundle))
    except (OSError, ssl.SSLError) as error:
        fix = "name a PEM file with SSL_CERT_FILE or IMAGESPEC_CA_BUNDLE"
        return Finding(subject="CA bundle", state=State.BAD, detail=f"{bundle}: {error}", fix=fix)
    count = context.cert_store_stats()["x509_ca"]
    if not count:
        return Finding(subject="CA bundle", state=State.BAD, detail=f"{bundle}: no certificates", fix="name a PEM file")
    return Finding(subject="CA bundle", state=State.OK, detail=f"{bundle}: {count} certificates, given to build steps")


def _proxies(composition: Composition) -> Iterator[Finding]:
    proxies = composition.settings.proxies
    used = {name: value for name, value in (("http", proxies.http), ("https", proxies.https)) if value}
    if not used:
        yield Finding(subject="proxies", state=State.OK, detail="none is set")
        return
    for url in dict.fromkeys(used.values()):
        parts = urlsplit(url)
        host, port = str(parts.hostname), parts.port or 80
        kinds = " and ".join(name for name, value in used.items() if value == url)
        try:
            with socket.create_connection((host, port), timeout=_PROXY_TIMEOUT_S):
                detail = f"{kinds} through {host}:{port}, which answers; given to build steps"
        except OSError as error:
            fix = f"start it, or correct or unset {' and '.join(f'{name}_PROXY'.upper() for name in used)}"
            detail = f"{kinds} through {host}:{port}, which does not answer: {error.strerror or error}"
            yield Finding(subject="proxies", state=State.BAD, detail=detail, fix=fix)
            continue
        around = f"; not for {', '.join(proxies.no_proxy)}" if proxies.no_proxy else ""
        yield Finding(subject="proxies", state=State.OK, detail=detail + around)


def _folders(composition: Composition) -> Iterator[tuple[str, Path]]:
    yield "cache folder", composition.settings.cache_dir
    yield "image store", composition.settings.store_dir


def _disk(subject: str, folder: Path) -> Finding:
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(there, os.W_OK):
        fix = "make it writable, or set IMAGESPEC_CACHE and IMAGESPEC_STORE to other folders"
        return Finding(subject=subject, state=State.BAD, detail=f"{folder} cannot be written", fix=fix)
    free = shutil.disk_usage(there).free
    detail = f"{folder}, {free / 2**30:.1f} GiB free"
    if free < _LOW_DISK_BYTES:
        return Finding(subject=subject, state=State.NOTE, detail=detail, fix="free some space: docker system prune")
    return Finding(subject=subject, state=State.OK, detail=detail)


def _registry(composition: Composition, host: str) -> Iterator[Finding]:
    subject = f"registry {host}"
    try:
        repository = Repository.parse(f"{host}/imagespec")
        credential = FileCredentials(composition.settings.credential_files).credential(repository)
    except InvalidReference as error:
        yield Finding(subject=subject, state=State.BAD, detail=str(error), fix=error.hint)
        return
    except (ImageSpecError, SettingsError) as error:
        yield Finding(subject=f"credentials for {host}", state=State.BAD, detail=str(error), fix=error.hint)
        return
    detail = "found" if credential else "none: it is asked anonymously"
    fix = "" if credential else f"if it wants some: docker login {'' if repository.registry == DOCKER_HUB else host}"
    yield Finding(
        subject=f"credentials for {host}", state=State.OK if credential else State.NOTE, detail=detail, fix=fix
    )
    yield from _answering(composition, repository, subject, time.time)


def _answering(
    composition: Composition, repository: Repository, subject: str, now_s: Callable[[], float]
) -> Iterator[Finding]:
    try:
        answer = composition.http.transport.exchange(api.ping(repository.registry))
    except ImageSpecError as error:
        yield Finding(subject=subject, state=State.BAD, detail=str(error), fix=error.hint)
        return
    yield Finding(subject=subject, state=State.OK, detail="answers, and lets us in")
    date = answer.headers.get("date")
    if not date:
        return
    skew_s = abs(now_s() - parsedate_to_datetime(date).timestamp())
    state = State.OK if skew_s < _CLOCK_SKEW_S else State.NOTE
    fix = "" if state is State.OK else "set the clock: tokens and certificates depend on it"
    yield Finding(subject="clock", state=state, detail=f"{skew_s:.0f} s from the registry's", fix=fix)
