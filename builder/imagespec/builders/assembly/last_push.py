"""What was pushed to a repository lately: as long as such a manifest is there, every layer that it names is.

Source: OCI Distribution Specification 1.1, "Pushing Manifests": a registry takes a manifest when it has its blobs, and
what it keeps a manifest for it keeps too.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from imagespec.builders.assembly.store import Store, key_of
from imagespec.errors import InvalidReference
from imagespec.names import Digest, Reference, Repository
from imagespec.oci import Manifest
from imagespec.registry import Registry

__all__ = ["LastPush"]

# Images of several names, and of several platforms, may take turns in one repository.
_KEPT: Final = 4
# One question in place of one other saves nothing.
_WORTH_ASKING: Final = 2


class LastPush:
    """The last manifests pushed to one repository from this machine."""

    def __init__(self, store: Store, registry: Registry, repository: Repository) -> None:
        self._store = store
        self._registry = registry
        self._repository = repository
        self._key = key_of("last push", repository.registry, repository.path)

    def layers(self, wanted: AbstractSet[str]) -> AbstractSet[str]:
        """Return those of the wanted layers, as digests, that one look-up shows to be there; raise RegistryError."""
        covered = [(wanted & set(layers), digest) for digest, layers in self._known()]
        there, digest = max(covered, key=lambda one: len(one[0]), default=(set(), ""))
        if len(there) < _WORTH_ASKING:
            return frozenset()
        asked = Reference(self._repository, None, Digest.parse(digest))
        return there if self._registry.resolve(asked) is not None else frozenset()

    def keep(self, manifests: Sequence[Manifest]) -> None:
        """Remember manifests that the registry has taken, and the layers of each."""
        new = {str(one.descriptor.digest): [str(layer.digest) for layer in one.layers] for one in manifests}
        known = {digest: layers for digest, layers in self._known() if digest not in new}
        self._store.write_record(self._key, [*new.items(), *known.items()][:_KEPT])

    def forget(self) -> None:
        """Remember nothing of this repository: it lacks what it should have."""
        self._store.write_record(self._key, [])

    def _known(self) -> list[tuple[str, list[str]]]:
        kept: Any = self._store.record(self._key)
        try:
            return [(str(Digest.parse(digest)), [str(layer) for layer in layers]) for digest, layers in kept or ()]
        except (InvalidReference, TypeError, ValueError):
            return []
