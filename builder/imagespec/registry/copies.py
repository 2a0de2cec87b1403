"""An image under another name: its blobs mounted or sent where they are missing, its manifest written last."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

from imagespec.errors import RegistryError
from imagespec.names import Digest, Reference, Repository
from imagespec.oci import Descriptor, Manifest
from imagespec.registry import Registry

__all__ = ["copy_image"]


def copy_image(source: Registry, origin: Reference, target: Registry, name: Reference) -> Descriptor:
    """Write the image ``origin`` under ``name`` too, byte for byte, and return its descriptor; raise RegistryError."""
    manifest = source.read_manifest(origin)
    if manifest is None:
        action = f"copy {origin}"
        raise RegistryError(f"{action}: it is not there any more", action=action, hint="build again")
    if manifest.is_index:
        for child in manifest.manifests:
            part = Reference(origin.repository, None, child.digest)
            copy_image(source, part, target, Reference(name.repository, None, child.digest))
    elif name.repository != origin.repository:
        _copy_blobs(source, origin.repository, target, name.repository, manifest)
    return target.write_manifest(name, manifest)


def _copy_blobs(
    source: Registry, origin: Repository, target: Registry, repository: Repository, manifest: Manifest
) -> None:
    for blob in dict.fromkeys((manifest.config.digest, *(layer.digest for layer in manifest.layers))):
        described = next(one for one in (manifest.config, *manifest.layers) if one.digest == blob)
        if not (origin.registry == repository.registry and target.mount(repository, blob, origin)):
            target.write_blob(repository, described, _reader(source, origin, blob))


def _reader(source: Registry, repository: Repository, digest: Digest) -> Callable[[], BinaryIO]:
    return lambda: source.read_blob(repository, digest)
