"""Mirrors in front of a registry: a wrapper that looks them up first, and never writes to them."""

from __future__ import annotations

from typing import BinaryIO

from imagespec.errors import Denied, RegistryError, Unauthorized
from imagespec.names import Digest, Reference, Repository
from imagespec.oci import Descriptor, Manifest, Platform
from imagespec.registry import OpenBody, Registry
from imagespec.registry.hosts import Hosts

__all__ = ["MirroredRegistry", "locate"]


def locate(registry: Registry, hosts: Hosts, reference: Reference) -> Reference:
    """Return where ``reference`` can be pulled from: the first mirror that has it, else the reference itself.

    ``registry`` must be the one that the mirrors are reached through, not a MirroredRegistry. Raise RegistryError
    only for the last place: a mirror that cannot answer is passed over.
    """
    *mirrors, last = hosts.candidates(reference)
    for mirror in mirrors:
        if _quietly(registry, mirror) is not None:
            return mirror
    return last


def _quietly(registry: Registry, mirror: Reference) -> Descriptor | None:
    """Return what a mirror has; one that cannot tell has nothing, because the registry itself is asked next."""
    try:
        return registry.resolve(mirror)
    except RegistryError as error:
        if error.transient or isinstance(error, (Unauthorized, Denied)) or error.status is not None:
            return None
        raise


class MirroredRegistry:
    """``Registry`` over another one, whose look-ups go to the mirrors that the user declared."""

    def __init__(self, registry: Registry, hosts: Hosts) -> None:
        self._registry = registry
        self._hosts = hosts

    def resolve(self, reference: Reference, platforms: tuple[Platform, ...] = ()) -> Descriptor | None:
        """Return the descriptor from the first place that has it, None when the registry itself has not."""
        return self._registry.resolve(locate(self._registry, self._hosts, reference), platforms)

    def read_manifest(self, reference: Reference) -> Manifest | None:
        """Return the manifest from the first place that has it."""
        return self._registry.read_manifest(locate(self._registry, self._hosts, reference))

    def read_blob(self, repository: Repository, digest: Digest) -> BinaryIO:
        """Return a stream of the blob from the first place that gives it."""
        *mirrors, last = self._hosts.candidates(Reference(repository, None, digest))
        for mirror in mirrors:
            try:
                return self._registry.read_blob(mirror.repository, digest)
            except RegistryError:
                continue
        return self._registry.read_blob(last.repository, digest)

    def write_blob(self, repository: Repository, descriptor: Descriptor, body: OpenBody) -> bool:
        """Write to the registry itself."""
        return self._registry.write_blob(repository, descriptor, body)

    def mount(self, repository: Repository, digest: Digest, source: Repository) -> bool:
        """Mount in the registry itself."""
        return self._registry.mount(repository, digest, source)

    def write_manifest(self, reference: Reference, manifest: Manifest) -> Descriptor:
        """Write to the registry itself."""
        return self._registry.write_manifest(reference, manifest)
