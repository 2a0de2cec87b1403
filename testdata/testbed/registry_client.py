"""Pushing a layout to a registry, over plain HTTP on loopback, with nothing but the standard library."""

from __future__ import annotations

import base64
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import IO

from testbed.common import TestbedError
from testbed.layout import INDEXES, MANIFESTS, Json, Layout

#: A proxy has no business between us and loopback.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """A registry of ours: ``host`` is ``127.0.0.1:PORT``; user and password where it wants them."""

    host: str
    username: str | None = None
    password: str | None = None


def answers(registry: Registry) -> bool:
    """Whether the registry is up and lets us in."""
    try:
        return _send(registry, "GET", "/v2/")[0] == 200
    except OSError:
        return False


def has(registry: Registry, repository: str, tag: str, digest: str) -> bool:
    """Whether the registry has this very image under the tag."""
    accept = {"Accept": ", ".join((*INDEXES, *MANIFESTS))}
    status, headers = _send(registry, "HEAD", f"/v2/{repository}/manifests/{tag}", headers=accept)
    return status == 200 and headers.get("docker-content-digest") == digest


def push(layout: Layout, registry: Registry, repository: str, tag: str) -> None:
    """Uploads the image and everything it consists of."""
    _push_manifest(layout, registry, repository, layout.top(), tag)


def _push_manifest(layout: Layout, registry: Registry, repository: str, descriptor: Json, name: str) -> None:
    content = layout.read(descriptor)
    if descriptor["mediaType"] in INDEXES:
        for child in content["manifests"]:
            _push_manifest(layout, registry, repository, child, child["digest"])
    else:
        for blob in [content["config"], *content["layers"]]:
            _push_blob(layout, registry, repository, blob)
    body = layout.blob(descriptor["digest"]).read_bytes()
    headers = {"Content-Type": descriptor["mediaType"]}
    status, _ = _send(registry, "PUT", f"/v2/{repository}/manifests/{name}", body=body, headers=headers)
    _expect(status, 201, registry, f"manifest {name} of {repository}")


def _push_blob(layout: Layout, registry: Registry, repository: str, descriptor: Json) -> None:
    digest = descriptor["digest"]
    if _send(registry, "HEAD", f"/v2/{repository}/blobs/{digest}")[0] == 200:
        return
    status, answer = _send(registry, "POST", f"/v2/{repository}/blobs/uploads/", body=b"")
    _expect(status, 202, registry, f"upload to {repository}")
    where = urllib.parse.urljoin(f"http://{registry.host}/", answer["location"])
    where += ("&" if "?" in where else "?") + urllib.parse.urlencode({"digest": digest})
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(descriptor["size"])}
    with open(layout.blob(digest), "rb") as body:
        status, _ = _send(registry, "PUT", where, body=body, headers=headers)
    _expect(status, 201, registry, f"blob {digest} of {repository}")


def _expect(status: int, wanted: int, registry: Registry, what: str) -> None:
    if status != wanted:
        raise TestbedError(f"the registry at {registry.host} answered {status} to the {what}; see its log in run/")


def _send(
    registry: Registry,
    method: str,
    where: str,
    *,
    body: bytes | IO[bytes] | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, str]]:
    """(status, headers in lower case); OSError when nobody answers."""
    url = urllib.parse.urljoin(f"http://{registry.host}/", where)
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    if registry.username is not None:
        token = base64.b64encode(f"{registry.username}:{registry.password}".encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    try:
        with _opener.open(request, timeout=60) as response:
            return response.status, {k.lower(): v for k, v in response.headers.items()}
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}
