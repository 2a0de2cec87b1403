"""The layers of images: which blobs they are, and how large."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from imagespec.errors import ImageSpecError
from imagespec.names import Reference
from imagespec.registry import Registry
from imagespec.workers import results

__all__ = ["Layers", "layers_of", "layers_of_each"]

Layers = tuple[tuple[str, int], ...]
"""(digest, size in bytes) of each layer, the lowest first."""

_AT_ONCE = 8


def layers_of(registry: Registry, reference: Reference) -> Layers:
    """Return the image's layers, of all its platforms, () when it is not there; raise RegistryError."""
    manifest = registry.read_manifest(reference)
    if manifest is None:
        return ()
    if manifest.is_index:
        parts = [Reference(reference.repository, None, child.digest) for child in manifest.manifests]
        return tuple(layer for part in parts for layer in layers_of(registry, part))
    return tuple((str(layer.digest), layer.size_bytes) for layer in manifest.layers)


def layers_of_each(
    asked: Iterable[tuple[Registry, Reference]],
) -> Iterator[tuple[Reference, Layers | ImageSpecError]]:
    """Yield the layers of each image, several asked for at once, or the error that stands in their place."""
    yield from results([partial(_answer, one) for one in asked], _AT_ONCE)


def _answer(asked: tuple[Registry, Reference]) -> tuple[Reference, Layers | ImageSpecError]:
    try:
        return asked[1], layers_of(*asked)
    except ImageSpecError as error:
        return asked[1], error
