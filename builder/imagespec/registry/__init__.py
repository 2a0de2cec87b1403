"""The one protocol for everything that keeps images: a registry over HTTP, an OCI layout folder, a fake.

Source: OCI Distribution Specification 1.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, Protocol, TypeAlias

from imagespec.names import Digest, Reference, Repository
from imagespec.oci import Descriptor, Manifest, Platform

__all__ = ["OpenBody", "Registry", "RegistryAdmin", "Resolver"]

OpenBody: TypeAlias = Callable[[], BinaryIO]
"""Opens a blob's bytes from the start; called again when an upload is tried again."""


class Resolver(Protocol):
    """Says whether an image is there."""

    def resolve(self, reference: Reference, platforms: tuple[Platform, ...] = ()) -> Descriptor | None:
        """Return the descriptor of the manifest or index, or None when it is absent.

        With ``platforms``, raise WrongPlatform when the reference exists without one of them. Unknown is never
        answered: Unauthorized, Denied, TooManyRequests, RegistryUnreachable or ProtocolViolation is raised.
        """
        ...


class Registry(Resolver, Protocol):
    """Look up, read and write images. Every method raises RegistryError when the answer cannot be told."""

    def read_manifest(self, reference: Reference) -> Manifest | None:
        """Return the manifest or index with its exact bytes (digest verified), or None when it is absent."""
        ...

    def read_blob(self, repository: Repository, digest: Digest) -> BinaryIO:
        """Return a stream of the blob; reading to its end raises IntegrityError if it is not the digest's content.

        Raise RegistryError with status 404 when the blob is absent. The caller closes the stream.
        """
        ...

    def write_blob(self, repository: Repository, descriptor: Descriptor, body: OpenBody) -> bool:
        """Make sure that the blob is there; return whether its bytes had to be sent."""
        ...

    def mount(self, repository: Repository, digest: Digest, source: Repository) -> bool:
        """Return whether the blob is now in ``repository``, taken from ``source`` of the same registry."""
        ...

    def write_manifest(self, reference: Reference, manifest: Manifest) -> Descriptor:
        """Write the manifest under the reference's tag (or its digest) and return its verified descriptor."""
        ...


class RegistryAdmin(Protocol):
    """What a look around and a clean-up need, beside ``Registry``. Absence is an answer, everything else raises."""

    def ping(self, registry: str) -> None:
        """Return when ``registry`` (host[:port]) is one and lets us in; raise RegistryError."""
        ...

    def tags(self, repository: Repository) -> tuple[str, ...]:
        """Return the repository's tags, sorted; () when there is no such repository."""
        ...

    def referrers(self, repository: Repository, digest: Digest, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """Return the manifests whose subject is ``digest``, of one artifact type or of all."""
        ...

    def delete(self, reference: Reference) -> bool:
        """Delete the manifest (by digest, with all its tags) or the tag; return whether it was there."""
        ...
