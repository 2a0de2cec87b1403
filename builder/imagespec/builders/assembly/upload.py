"""Images into a registry: blobs side by side, only those that it lacks, then configs, then the manifest, last."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO, Final

from imagespec.builders.assembly.base import Image
from imagespec.builders.assembly.layers import Layer
from imagespec.builders.assembly.store import Store, key_of
from imagespec.events import BytesMoved, Emit
from imagespec.names import Reference, Repository
from imagespec.oci import OCI_CONFIG, Descriptor, Manifest, Platform, digest_of
from imagespec.oci import OCI_LAYER_GZIP as OCI_GZIP
from imagespec.registry import OpenBody, Registry

__all__ = ["Assembled", "Uploader", "manifest_of"]

_THREADS: Final = 8
_DOCKER_GZIP: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_DOCKER_TAR: Final = "application/vnd.docker.image.rootfs.diff.tar"
_OCI_TYPES: Final = {_DOCKER_GZIP: OCI_GZIP, _DOCKER_TAR: "application/vnd.oci.image.layer.v1.tar"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """One platform's image before it is anywhere: its base, the layers over it, and its config."""

    platform: Platform
    base: Image
    layers: tuple[Layer, ...]
    config: bytes


def manifest_of(image: Assembled) -> Manifest:
    """Return the image's manifest; layers of a base that is in Docker's format get the OCI types."""
    config = Descriptor(media_type=OCI_CONFIG, digest=digest_of(image.config), size_bytes=len(image.config))
    below = tuple(_typed(layer) for layer in image.base.layers)
    return Manifest.image(config=config, layers=(*below, *(layer.descriptor for layer in image.layers)))


def _typed(layer: Descriptor) -> Descriptor:
    media_type = _OCI_TYPES.get(layer.media_type, layer.media_type)
    return Descriptor(media_type=media_type, digest=layer.digest, size_bytes=layer.size_bytes)


class Uploader:
    """Writes images to one registry."""

    def __init__(self, registry: Registry, store: Store, emit: Emit, step: str) -> None:
        self._registry = registry
        self._store = store
        self._emit = emit
        self._step = step
        self._counting = threading.Lock()
        self._moved_bytes = 0

    def write(self, target: Reference, images: Sequence[Assembled]) -> Descriptor:
        """Write blobs, configs and manifests, and return the descriptor of what stands under ``target``."""
        repository = target.repository
        manifests = [manifest_of(image) for image in images]
        self._write_blobs(repository, images)
        if len(images) == 1:
            return self._registry.write_manifest(target, manifests[0])
        for manifest in manifests:
            self._registry.write_manifest(Reference(repository, None, manifest.descriptor.digest), manifest)
        listed = tuple(
            Descriptor(media_type=one.media_type, digest=one.descriptor.digest, size_bytes=len(one.data),
                       platform=image.platform)
            for one, image in zip(manifests, images, strict=True)
        )  # fmt: skip
        return self._registry.write_manifest(target, Manifest.index(listed))

    def _write_blobs(self, repository: Repository, images: Sequence[Assembled]) -> None:
        tasks: dict[str, Callable[[], None]] = {}
        for image in images:
            for layer in image.base.layers:
                tasks[str(layer.digest)] = _bind(self._write_base, repository, image.base, layer)
            for own in image.layers:
                tasks[str(own.descriptor.digest)] = _bind(self._write_own, repository, own)
            config = manifest_of(image).config
            tasks[str(config.digest)] = _bind(self._write, repository, config, _bytes_of(image.config))
        with ThreadPoolExecutor(_THREADS) as pool:
            for future in [pool.submit(task) for task in tasks.values()]:
                future.result()

    def _write_base(self, repository: Repository, base: Image, layer: Descriptor) -> None:
        if repository == base.repository and base.registry is self._registry:
            return
        if repository.registry == base.repository.registry and self._registry.mount(
            repository, layer.digest, base.repository
        ):
            return
        self._write(repository, layer, lambda: base.registry.read_blob(base.repository, layer.digest))

    def _write_own(self, repository: Repository, layer: Layer) -> None:
        """Write a layer of ours: from the repository that had it last, when that is in the same registry."""
        key = key_of("place", repository.registry, str(layer.descriptor.digest))
        place = self._store.record(key)
        digest = layer.descriptor.digest
        if isinstance(place, str) and place != repository.path:
            self._store.write_record(key, repository.path)
            if self._registry.mount(repository, digest, Repository(repository.registry, place)):
                return
        self._write(repository, layer.descriptor, layer.open)
        if place != repository.path:
            self._store.write_record(key, repository.path)

    def _write(self, repository: Repository, descriptor: Descriptor, body: OpenBody) -> None:
        if self._registry.write_blob(repository, descriptor, body):
            with self._counting:
                self._moved_bytes += descriptor.size_bytes
                moved = self._moved_bytes
            self._emit(BytesMoved(step=self._step, title="push", done_bytes=moved))


def _bind(function: Callable[..., None], *arguments: object) -> Callable[[], None]:
    return lambda: function(*arguments)


def _bytes_of(data: bytes) -> Callable[[], BinaryIO]:
    return lambda: io.BytesIO(data)
