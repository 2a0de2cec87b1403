"""Descriptors, manifests, indexes and image configs, byte for byte as the registry has them.

Source: OCI Image Specification 1.1 (``descriptor.md``, ``manifest.md``, ``image-index.md``, ``config.md``) and
Docker's Image Manifest Version 2, Schema 2, which registries still serve.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from imagespec.errors import IntegrityError, ProtocolViolation, SpecError
from imagespec.names import Digest
from imagespec.patterns import lazy_pattern
from imagespec.values import dataclass, field

__all__ = [
    "DOCKER_INDEX",
    "DOCKER_MANIFEST",
    "INDEX_TYPES",
    "MANIFEST_TYPES",
    "OCI_CONFIG",
    "OCI_INDEX",
    "OCI_LAYER_GZIP",
    "OCI_LAYER_TAR",
    "OCI_LAYER_ZSTD",
    "OCI_MANIFEST",
    "Descriptor",
    "Manifest",
    "Platform",
    "canonical_json",
    "digest_of",
    "is_content_of",
    "platforms_of",
]

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER_TAR: Final = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD: Final = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"

MANIFEST_TYPES: Final = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEX_TYPES: Final = (OCI_INDEX, DOCKER_INDEX)

_PLATFORM_PART = lazy_pattern(r"[a-z0-9_]+")

# BuildKit stores attestations in an index under this platform; they are not images (buildkit docs/attestations).
_ATTESTATION_OS: Final = "unknown"


def digest_of(data: bytes) -> Digest:
    """Return the sha256 digest of ``data``."""
    return Digest("sha256", hashlib.sha256(data).hexdigest())


def is_content_of(digest: Digest, data: bytes) -> bool:
    """Return whether ``data`` has this digest; False for an algorithm that cannot be checked here."""
    if digest.algorithm not in ("sha256", "sha384", "sha512"):
        return False
    return hashlib.new(digest.algorithm, data).hexdigest() == digest.encoded


def canonical_json(value: Any) -> bytes:
    """Return ``value`` as JSON with sorted keys and no spaces: the same value gives the same bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


LINUX_ARCHITECTURES: Final = (
    *("386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle"),
    *("ppc64", "ppc64le", "riscv64", "s390x"),
)
"""Go's names of the architectures that Linux runs on, as image configs have them (config.md, "architecture")."""


@dataclass(frozen=True, slots=True, order=True)
class Platform:
    """What an image runs on: ``linux/amd64``, ``linux/arm/v7`` (image-index.md, "platform")."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Return the platform that ``os/architecture[/variant]`` spells, aliases normalised; raise SpecError."""
        parts = text.strip().lower().split("/")
        if len(parts) not in (2, 3) or not all(_PLATFORM_PART.fullmatch(part) for part in parts):
            raise SpecError("platform: not os/architecture[/variant]", path="platform", hint="for example linux/amd64")
        os, architecture = parts[0], parts[1]
        variant = parts[2] if len(parts) == 3 else ""
        architecture = {"x86_64": "amd64", "aarch64": "arm64", "armhf": "arm"}.get(architecture, architecture)
        if architecture == "arm64" and variant == "v8":
            variant = ""
        if architecture == "arm" and not variant:
            variant = "v7"
        return cls(os, architecture, variant)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Platform:
        """Return the platform of a descriptor or a config, aliases normalised."""
        parts = [str(value.get("os", "")), str(value.get("architecture", "")), str(value.get("variant", "") or "")]
        if not parts[0] or not parts[1]:
            return cls(*parts)
        return cls.parse("/".join(parts if parts[2] else parts[:2]))

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What a piece of content is, how large, and its digest (descriptor.md). ``size_bytes`` is of the content."""

    media_type: str
    digest: Digest
    size_bytes: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str = ""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Descriptor:
        """Return the descriptor that a manifest or index holds; raise ProtocolViolation when it is not one."""
        try:
            platform = value.get("platform")
            return cls(
                media_type=str(value["mediaType"]),
                digest=Digest.parse(str(value["digest"])),
                size_bytes=int(value["size"]),
                platform=Platform.from_json(platform) if platform else None,
                annotations=dict(value.get("annotations") or {}),
                artifact_type=str(value.get("artifactType") or ""),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProtocolViolation(f"descriptor: not valid: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """Return the descriptor as it stands in a manifest."""
        value: dict[str, Any] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size_bytes}
        if self.platform is not None:
            value["platform"] = {"os": self.platform.os, "architecture": self.platform.architecture}
            if self.platform.variant:
                value["platform"]["variant"] = self.platform.variant
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        if self.artifact_type:
            value["artifactType"] = self.artifact_type
        return value


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or an index: its media type and its exact bytes, from which everything else follows."""

    media_type: str
    data: bytes

    @classmethod
    def image(
        cls, *, config: Descriptor, layers: tuple[Descriptor, ...], annotations: Mapping[str, str] = {}
    ) -> Manifest:
        """Return an OCI image manifest (manifest.md)."""
        value: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config.to_json(),
            "layers": [layer.to_json() for layer in layers],
        }
        if annotations:
            value["annotations"] = dict(annotations)
        return cls(OCI_MANIFEST, canonical_json(value))

    @classmethod
    def index(cls, manifests: tuple[Descriptor, ...], annotations: Mapping[str, str] = {}) -> Manifest:
        """Return an OCI image index (image-index.md)."""
        value: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [manifest.to_json() for manifest in manifests],
        }
        if annotations:
            value["annotations"] = dict(annotations)
        return cls(OCI_INDEX, canonical_json(value))

    @property
    def descriptor(self) -> Descriptor:
        """The descriptor of this manifest itself."""
        return Descriptor(media_type=self.media_type, digest=digest_of(self.data), size_bytes=len(self.data))

    @property
    def is_index(self) -> bool:
        """Whether this is an index over manifests."""
        return self.media_type in INDEX_TYPES

    def value(self) -> dict[str, Any]:
        """Return the parsed JSON object; raise ProtocolViolation when the bytes are not one."""
        try:
            value = json.loads(self.data)
        except ValueError as error:
            raise ProtocolViolation(f"manifest: not JSON: {error}") from error
        if not isinstance(value, dict):
            raise ProtocolViolation("manifest: not a JSON object")
        return value

    @property
    def config(self) -> Descriptor:
        """The config's descriptor of an image manifest."""
        return Descriptor.from_json(self._part("config", dict))

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        """The layers of an image manifest, base first."""
        return tuple(Descriptor.from_json(layer) for layer in self._part("layers", list))

    @property
    def manifests(self) -> tuple[Descriptor, ...]:
        """The manifests of an index, in its order."""
        return tuple(Descriptor.from_json(manifest) for manifest in self._part("manifests", list))

    def _part(self, key: str, kind: type) -> Any:
        part = self.value().get(key)
        if not isinstance(part, kind):
            raise ProtocolViolation(f"manifest: no '{key}' in {self.media_type}")
        return part

    def verify(self, digest: Digest) -> Manifest:
        """Return self if the bytes have this digest; raise IntegrityError."""
        if not is_content_of(digest, self.data):
            raise IntegrityError(f"manifest: its bytes have {digest_of(self.data)}, not {digest}")
        return self


def platforms_of(index: Manifest) -> tuple[Platform, ...]:
    """Return the platforms of an index's images, attestations left out."""
    return tuple(
        manifest.platform
        for manifest in index.manifests
        if manifest.platform is not None and manifest.platform.os != _ATTESTATION_OS
    )
