"""Images as a registry on loopback has them: manifests, blobs, and the entries of layers."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any
from urllib.request import Request, urlopen

ACCEPT = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"


def read(reference: str, kind: str, digest: str) -> bytes:
    """Return a manifest or a blob of the repository that ``reference`` (with a tag and a digest) names."""
    host, _, path = reference.partition("@")[0].rpartition(":")[0].partition("/")
    with urlopen(Request(f"http://{host}/v2/{path}/{kind}/{digest}", headers={"Accept": ACCEPT}), timeout=30) as answer:
        data: bytes = answer.read()
    return data


def layers(reference: str) -> list[dict[str, Any]]:
    """Return the descriptors of an image's layers."""
    found: list[dict[str, Any]] = json.loads(read(reference, "manifests", reference.partition("@")[2]))["layers"]
    return found


def entries(reference: str, layer: dict[str, Any]) -> list[str]:
    """Return the paths in a gzipped layer."""
    with tarfile.open(fileobj=io.BytesIO(read(reference, "blobs", layer["digest"])), mode="r:gz") as archive:
        return [member.name.removeprefix("./").rstrip("/") for member in archive]


def origins(reference: str) -> list[tuple[dict[str, Any], str]]:
    """Return an image's layers, each with the instruction that made it, as the history has it."""
    manifest = json.loads(read(reference, "manifests", reference.partition("@")[2]))
    history = json.loads(read(reference, "blobs", manifest["config"]["digest"]))["history"]
    made = [one.get("created_by", "") for one in history if not one.get("empty_layer")]
    return list(zip(manifest["layers"], made, strict=True))
