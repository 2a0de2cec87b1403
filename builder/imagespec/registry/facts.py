"""What an image says of itself: the labels and the time in its config."""

from __future__ import annotations

import json
from collections.abc import Mapping

from imagespec.errors import ProtocolViolation
from imagespec.names import Reference
from imagespec.oci import Platform
from imagespec.registry import Registry
from imagespec.values import dataclass, field

__all__ = ["ImageFacts", "facts_of"]

_MAX_CONFIG_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """Labels, and the time of creation as RFC 3339 text ("" where there is none); config.md of the OCI image spec."""

    labels: Mapping[str, str] = field(default_factory=dict)
    created: str = ""


def facts_of(registry: Registry, reference: Reference, platform: Platform | None = None) -> ImageFacts | None:
    """Return what the image says of itself, or None when it is absent; of an index, what that of ``platform`` says.

    Without ``platform`` the first one's.
    """
    manifest = registry.read_manifest(reference)
    if manifest is not None and manifest.is_index:
        known = (one for one in manifest.manifests if one.platform and one.platform.os != "unknown")
        first = next((one for one in known if platform in (None, one.platform)), None)
        if first is None:
            return ImageFacts()
        manifest = registry.read_manifest(Reference(reference.repository, None, first.digest))
    if manifest is None:
        return None
    with registry.read_blob(reference.repository, manifest.config.digest) as stream:
        data = stream.read(_MAX_CONFIG_BYTES)
    try:
        config = json.loads(data)
    except ValueError as error:
        raise ProtocolViolation(f"read {reference}: its config is not JSON") from error
    return ImageFacts(labels=(config.get("config") or {}).get("Labels") or {}, created=str(config.get("created", "")))
