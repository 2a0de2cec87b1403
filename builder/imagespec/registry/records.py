"""The whole record of an image beside it in the registry, as an artifact that refers to it, where a label is too small.

Source: OCI image specification 1.1, "Guidelines for Artifact Usage" and "subject" (manifest.md).
"""

from __future__ import annotations

import gzip
import io
import json
from typing import Final

from imagespec.errors import ProtocolViolation
from imagespec.names import Digest, Reference, Repository
from imagespec.oci import OCI_MANIFEST, Descriptor, Manifest, canonical_json, digest_of
from imagespec.record import Record
from imagespec.registry import Registry, RegistryAdmin
from imagespec.registry.referrers import fallback_reference
from imagespec.values import dataclass

__all__ = ["RECORD_TYPE", "KeptRecord", "delete_with_records", "pull_record", "push_record"]

RECORD_TYPE: Final = "application/vnd.imagespec.record.v1+json"
_LAYER_TYPE: Final = f"{RECORD_TYPE}+gzip"
_EMPTY_TYPE: Final = "application/vnd.oci.empty.v1+json"
_EMPTY: Final = b"{}"
_CREATED: Final = "org.opencontainers.image.created"
_MAX_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRecord:
    """A record, and when its image was built as RFC 3339 text: the image itself does not tell."""

    record: Record
    created: str


def push_record(registry: Registry, repository: Repository, subject: Descriptor, kept: KeptRecord) -> Descriptor:
    """Write the record as a referrer of ``subject`` and return the artifact's descriptor; raise RegistryError."""
    data = gzip.compress(canonical_json(kept.record), mtime=0)
    config, layer = _described(_EMPTY, _EMPTY_TYPE), _described(data, _LAYER_TYPE)
    for descriptor, content in ((config, _EMPTY), (layer, data)):
        registry.write_blob(repository, descriptor, lambda content=content: io.BytesIO(content))  # type: ignore[misc]
    value = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": RECORD_TYPE,
        "config": config.to_json(),
        "layers": [layer.to_json()],
        "subject": Descriptor(
            media_type=subject.media_type, digest=subject.digest, size_bytes=subject.size_bytes
        ).to_json(),
        "annotations": {_CREATED: kept.created},
    }
    manifest = Manifest(OCI_MANIFEST, canonical_json(value))
    return registry.write_manifest(Reference(repository, None, manifest.descriptor.digest), manifest)


def pull_record(registry: Registry, admin: RegistryAdmin, repository: Repository, digest: Digest) -> KeptRecord | None:
    """Return the latest record that refers to an image, None where there is none; raise RegistryError."""
    listed = admin.referrers(repository, digest, RECORD_TYPE)
    latest = max(listed, key=lambda one: (one.annotations or {}).get(_CREATED, ""), default=None)
    manifest = registry.read_manifest(Reference(repository, None, latest.digest)) if latest is not None else None
    if manifest is None or not manifest.layers:
        return None
    with registry.read_blob(repository, manifest.layers[0].digest) as stream:
        data = stream.read(_MAX_BYTES)
    try:
        value = json.loads(gzip.decompress(data))
        record = {str(group): {str(k): str(v) for k, v in leaves.items()} for group, leaves in value.items()}
    except (OSError, EOFError, ValueError, AttributeError) as error:
        raise ProtocolViolation(f"read the record of {repository}@{digest}: it is not one of ours") from error
    return KeptRecord(record=record, created=str((manifest.value().get("annotations") or {}).get(_CREATED, "")))


def delete_with_records(registry: Registry, admin: RegistryAdmin, repository: Repository, digest: Digest) -> None:
    """Delete an image, then our records of it, and their list when it has no others; raise RegistryError."""
    refer = admin.referrers(repository, digest)
    admin.delete(Reference(repository, None, digest))
    records = [one for one in refer if one.artifact_type == RECORD_TYPE]
    for record in records:
        admin.delete(Reference(repository, None, record.digest))
    if records and len(records) == len(refer):
        listed = registry.resolve(fallback_reference(repository, digest))
        if listed is not None:
            admin.delete(Reference(repository, None, listed.digest))


def _described(data: bytes, media_type: str) -> Descriptor:
    return Descriptor(media_type=media_type, digest=digest_of(data), size_bytes=len(data))
