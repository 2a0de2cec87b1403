"""Manifests that refer to another one, where the registry has no list of them: the referrers tag schema.

Source: OCI Distribution Specification 1.1, "Referrers Tag Schema" and "Pushing Manifests with Subject".
"""

from __future__ import annotations

from collections.abc import Iterable

from imagespec.errors import ProtocolViolation
from imagespec.names import Digest, Reference, Repository
from imagespec.oci import Descriptor, Manifest
from imagespec.patterns import lazy_pattern

__all__ = ["fallback_reference", "is_fallback", "referrer", "subject_of", "with_referrer"]

_FALLBACK = lazy_pattern(r"sha(256-[0-9a-f]{64}|512-[0-9a-f]{64,})")


def fallback_reference(repository: Repository, digest: Digest) -> Reference:
    """Return the tag under which the referrers of ``digest`` are listed."""
    return Reference(repository, f"{digest.algorithm}-{digest.encoded}"[:128])


def is_fallback(tag: str) -> bool:
    """Return whether the tag names a list of referrers, not an image."""
    return _FALLBACK.fullmatch(tag) is not None


def subject_of(manifest: Manifest) -> Digest | None:
    """Return the digest of the manifest that this one refers to, or None."""
    subject = manifest.value().get("subject")
    return Descriptor.from_json(subject).digest if isinstance(subject, dict) else None


def referrer(manifest: Manifest) -> Descriptor:
    """Return the manifest's descriptor as a list of referrers has it, with artifact type and annotations."""
    value = manifest.value()
    config = value.get("config")
    artifact_type = value.get("artifactType") or (config.get("mediaType") if isinstance(config, dict) else "")
    plain = manifest.descriptor
    return Descriptor(
        media_type=plain.media_type,
        digest=plain.digest,
        size_bytes=plain.size_bytes,
        annotations=value.get("annotations") or {},
        artifact_type=str(artifact_type or ""),
    )


def with_referrer(index: Manifest | None, added: Descriptor) -> Manifest:
    """Return the list of referrers with one more, each once; raise ProtocolViolation if ``index`` is not an index."""
    if index is not None and not index.is_index:
        raise ProtocolViolation("list of referrers: its tag holds an image instead")
    listed: Iterable[Descriptor] = index.manifests if index is not None else ()
    return Manifest.index((*(entry for entry in listed if entry.digest != added.digest), added))
