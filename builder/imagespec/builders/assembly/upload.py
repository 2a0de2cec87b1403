"""Images into a registry: blobs side by side, only those that it lacks, then configs, then the manifest, last."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import BinaryIO, Final

from imagespec.builders.assembly.base import Image, keep_base
from imagespec.builders.assembly.deliveries import Blob, deliveries_of
from imagespec.builders.assembly.last_push import LastPush
from imagespec.builders.assembly.layers import Layer
from imagespec.builders.assembly.store import Store, key_of
from imagespec.errors import Denied, IntegrityError, RegistryError
from imagespec.events import BytesMoved, Emit
from imagespec.names import Reference, Repository
from imagespec.oci import OCI_CONFIG, Descriptor, Manifest, Platform, digest_of
from imagespec.oci import OCI_LAYER_GZIP as OCI_GZIP
from imagespec.registry import OpenBody, Registry
from imagespec.values import dataclass, replace
from imagespec.workers import Workers

__all__ = ["PUSH", "Assembled", "Uploader", "manifest_of"]

_THREADS: Final = 8
PUSH: Final = "push"
# What registries answer to a manifest whose blobs they lack.
_REFUSED: Final = (400, 404, 422)
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
    """Writes images to one repository; a context manager, since blobs are sent while others are still made."""

    def __init__(self, registry: Registry, repository: Repository, store: Store, emit: Emit) -> None:
        self._registry = registry
        self._repository = repository
        self._store = store
        self._emit = emit
        self._lock = threading.Lock()
        self._moved_bytes = 0
        self._workers = Workers(_THREADS)
        self._sent: set[str] = set()
        self._deliveries = deliveries_of(store)

    def __enter__(self) -> Uploader:
        self._workers.__enter__()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._workers.__exit__(kind)

    def send_base(self, base: Image) -> None:
        """Begin to bring the base's layers to the repository: not at all, by mounts, or blob by blob."""
        for layer in base.layers:
            self._send(layer, _bound(self._base_layer, base, layer))

    def send_layer(self, layer: Layer) -> None:
        """Begin to bring one of our layers to the repository."""
        self._send(layer.descriptor, _bound(self._own_layer, layer))

    def write(self, target: Reference, images: Sequence[Assembled]) -> Descriptor:
        """Write what is still missing, wait for all of it, and return what stands under ``target`` then."""
        manifests = [manifest_of(image) for image in images]
        self._send_configs(images, manifests)
        last = LastPush(self._store, self._registry, self._repository)
        layers = {str(layer.descriptor.digest) for image in images for layer in image.layers}
        with self._lock:
            unsent = {layer for layer in layers - self._sent if not self._deliveries.has(self._blob_here(layer))}
        there = last.layers(unsent)
        try:
            written = self._write(target, images, manifests, there)
        except RegistryError as error:
            # A registry that lost blobs which it had: all of them are looked up one by one, and sent.
            if error.status not in _REFUSED or isinstance(error, Denied):
                raise
            last.forget()
            self._forget(manifests)
            written = self._write(target, images, manifests, frozenset())
        last.keep(manifests)
        self._deliveries.note(self._blob_here(str(written.digest)))
        for image, manifest in zip(images, manifests, strict=True):
            keep_base(self._store, manifest, json.loads(image.config))
        return written

    def _forget(self, manifests: Sequence[Manifest]) -> None:
        named = {str(one.digest) for manifest in manifests for one in (manifest.config, *manifest.layers)}
        self._deliveries.forget(self._blob_here(digest) for digest in named)
        with self._lock:
            self._sent -= named

    def _write(
        self, target: Reference, images: Sequence[Assembled], manifests: Sequence[Manifest], there: AbstractSet[str]
    ) -> Descriptor:
        for image in images:
            self.send_base(image.base)
            for layer in image.layers:
                if str(layer.descriptor.digest) not in there:
                    self.send_layer(layer)
        self._send_configs(images, manifests)
        self._workers.wait()
        if len(images) == 1:
            return self._registry.write_manifest(target, manifests[0])
        for manifest in manifests:
            self._registry.write_manifest(Reference(self._repository, None, manifest.descriptor.digest), manifest)
        listed = [
            replace(manifest.descriptor, platform=image.platform)
            for manifest, image in zip(manifests, images, strict=True)
        ]
        return self._registry.write_manifest(target, Manifest.index(tuple(listed)))

    def _send_configs(self, images: Sequence[Assembled], manifests: Sequence[Manifest]) -> None:
        for image, manifest in zip(images, manifests, strict=True):
            self._send(manifest.config, _bound(self._blob, manifest.config, _bytes_of(image.config)))

    def _send(self, descriptor: Descriptor, task: Callable[[], None]) -> None:
        name = str(descriptor.digest)
        with self._lock:
            if name not in self._sent:
                self._sent.add(name)
                self._workers.submit(_bound(self._deliveries.bring, self._blob_here(name), task))

    def _blob_here(self, digest: str) -> Blob:
        return Blob(self._registry, self._repository, digest)

    def _base_layer(self, base: Image, layer: Descriptor) -> None:
        here, there = self._repository, base.repository
        if here == there and base.registry is self._registry:
            return
        if here.registry == there.registry and self._registry.mount(here, layer.digest, there):
            return
        self._blob(layer, lambda: base.registry.read_blob(there, layer.digest))

    def _own_layer(self, layer: Layer) -> None:
        """Write a layer of ours: from the repository that had it last, when that is in the same registry."""
        here, digest = self._repository, layer.descriptor.digest
        key = key_of("place", here.registry, str(digest))
        place = self._store.record(key)
        mounted = (
            isinstance(place, str)
            and place != here.path
            and self._registry.mount(here, digest, Repository(here.registry, place))
        )
        if not mounted:
            try:
                self._blob(layer.descriptor, layer.open)
            except IntegrityError:
                # It has changed on this disk; without it the layer is made again.
                self._store.drop("layers", digest.encoded)
                self._blob(layer.descriptor, layer.open)
        if place != here.path:
            self._store.write_record(key, here.path)

    def _blob(self, descriptor: Descriptor, body: OpenBody) -> None:
        if self._registry.write_blob(self._repository, descriptor, body):
            with self._lock:
                self._moved_bytes += descriptor.size_bytes
                self._emit(BytesMoved(step=PUSH, title=f"push to {self._repository}", done_bytes=self._moved_bytes))


def _bound(function: Callable[..., None], *arguments: object) -> Callable[[], None]:
    return lambda: function(*arguments)


def _bytes_of(data: bytes) -> Callable[[], BinaryIO]:
    return lambda: io.BytesIO(data)
