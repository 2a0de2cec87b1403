"""Docker Hub as a source of base images: whether it answers, and mirroring an image into a layout."""

from __future__ import annotations

import json
import os
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from testbed.common import TestbedError
from testbed.layout import INDEXES, MANIFESTS, Json, Layout

_TIMEOUT_S = 4.0


def _address() -> str:
    return os.environ.get("IMAGESPEC_TESTBED_HUB", "https://registry-1.docker.io")


def answers() -> bool:
    """Whether Docker Hub can be reached from here, found out within a few seconds."""
    try:
        with urllib.request.urlopen(f"{_address()}/v2/", timeout=_TIMEOUT_S):
            return True
    except urllib.error.HTTPError as error:
        return error.code == 401
    except OSError:
        return False


def mirror(repository: str, tag: str, architecture: str, layout: Layout) -> None:
    """Copies the image for one architecture, byte for byte."""
    source = _Source(repository)
    body, media_type = source.manifest(tag)
    if media_type in INDEXES:
        body, media_type = source.manifest(_choose(json.loads(body), repository, tag, architecture))
    manifest = json.loads(body)
    for blob in [manifest["config"], *manifest["layers"]]:
        source.fetch_blob(blob["digest"], layout.blob(blob["digest"]))
    top = layout.put(body, media_type, platform={"architecture": architecture, "os": "linux"})
    layout.finish(top)


def _choose(index: Json, repository: str, tag: str, architecture: str) -> str:
    for entry in index["manifests"]:
        platform = entry.get("platform", {})
        if (platform.get("os"), platform.get("architecture")) == ("linux", architecture):
            return str(entry["digest"])
    raise TestbedError(f"Docker Hub has no {repository}:{tag} for linux/{architecture}")


class _Source:
    """One repository of Docker Hub, read anonymously."""

    def __init__(self, repository: str) -> None:
        self._repository = repository
        self._headers: dict[str, str] = {}

    def manifest(self, name: str) -> tuple[bytes, str]:
        accept = ", ".join((*INDEXES, *MANIFESTS))
        with self._open(f"manifests/{name}", {"Accept": accept}) as response:
            return response.read(), response.headers.get_content_type()

    def fetch_blob(self, digest: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._open(f"blobs/{digest}", {}) as response, open(path, "wb") as target:
            shutil.copyfileobj(response, target)

    def _open(self, what: str, headers: dict[str, str]) -> urllib.request._UrlopenRet:
        url = f"{_address()}/v2/{self._repository}/{what}"
        try:
            return self._request(url, headers)
        except urllib.error.HTTPError as error:
            challenge = error.headers.get("WWW-Authenticate", "")
            if error.code != 401 or not challenge.startswith("Bearer "):
                raise TestbedError(f"Docker Hub answered {error.code} to {url}") from error
        self._headers = {"Authorization": f"Bearer {self._token(challenge)}"}
        return self._request(url, headers)

    def _request(self, url: str, headers: dict[str, str]) -> urllib.request._UrlopenRet:
        request = urllib.request.Request(url, headers=headers)
        for key, value in self._headers.items():
            request.add_unredirected_header(key, value)  # blobs are redirected to another host
        return urllib.request.urlopen(request, timeout=60)

    def _token(self, challenge: str) -> str:
        fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        realm = fields.pop("realm")
        with urllib.request.urlopen(f"{realm}?{urllib.parse.urlencode(fields)}", timeout=30) as response:
            answer = json.load(response)
        return str(answer.get("token") or answer["access_token"])
