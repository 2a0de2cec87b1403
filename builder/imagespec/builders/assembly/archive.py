"""An image as one file that ``docker load`` and ``podman load`` take, and the way of that file into a local engine.

Formats: OCI Image Specification, ``image-layout.md``, and beside it Docker's ``manifest.json``, which engines without
the containerd image store read. An archive has one platform.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

from imagespec.builders.assembly.store import Store
from imagespec.errors import EngineError, EngineUnavailable, IntegrityError, Unsupported
from imagespec.names import Digest, Reference
from imagespec.oci import OCI_INDEX, Descriptor, Manifest, canonical_json
from imagespec.registry import Registry
from imagespec.tarball import END, FOLDER, TarEntry, header, padding

__all__ = ["load", "write_archive"]

_CHUNK_BYTES: Final = 1 << 20
_LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
_TIME_LIMIT_S: Final = 600


def write_archive(registry: Registry, reference: Reference, file: BinaryIO) -> Descriptor:
    """Write the image under ``reference`` to ``file`` and return its descriptor; raise Unsupported for an index."""
    manifest = registry.read_manifest(reference)
    if manifest is None:
        raise IntegrityError(f"archive {reference}: it is not there")
    if manifest.is_index:
        raise Unsupported(
            f"archive {reference}: it has several platforms, an archive has one",
            builder="daemonless",
            field="platform",
            hint="build it for one platform, or push it to a registry",
        )
    for folder in ("blobs", "blobs/sha256"):
        file.write(header(TarEntry(folder, FOLDER, 0o755)))
    blobs = {blob.digest: blob for blob in (manifest.config, *manifest.layers)}
    for digest in sorted(blobs):
        with registry.read_blob(reference.repository, digest) as stream:
            _write(file, _blob(digest), blobs[digest].size_bytes, iter(lambda: stream.read(_CHUNK_BYTES), b""))
    own = manifest.descriptor
    texts = {_blob(own.digest): manifest.data, "index.json": _index(manifest, reference)}
    texts |= {"manifest.json": _docker_manifest(manifest, reference), "oci-layout": _LAYOUT}
    for path, data in texts.items():
        _write(file, path, len(data), iter([data]))
    file.write(END)
    return own


def load(registry: Registry, reference: Reference, store: Store, docker_host: str) -> None:
    """Load the image into the engine at ``docker_host`` ("" is the usual one); raise EngineError."""
    import docker
    import requests
    from docker.errors import DockerException

    temporary = store.temporary()
    try:
        with temporary.open("wb", buffering=_CHUNK_BYTES) as out:
            write_archive(registry, reference, out)
        client = (
            docker.DockerClient(base_url=docker_host, timeout=_TIME_LIMIT_S)
            if docker_host
            else docker.from_env(timeout=_TIME_LIMIT_S)
        )
        try:
            with temporary.open("rb") as archive:
                client.images.load(archive)
        finally:
            client.close()
    except requests.RequestException as error:
        raise EngineUnavailable(
            f"load {reference}: no engine answers", hint="start Docker, or set a registry"
        ) from error
    except DockerException as error:
        raise EngineError(f"load {reference}: the engine answered: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _blob(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.encoded}"


def _index(manifest: Manifest, reference: Reference) -> bytes:
    names = {"io.containerd.image.name": _named(reference), "org.opencontainers.image.ref.name": reference.tag or ""}
    entry = {**manifest.descriptor.to_json(), "annotations": names}
    return canonical_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]})


def _docker_manifest(manifest: Manifest, reference: Reference) -> bytes:
    layers = [_blob(layer.digest) for layer in manifest.layers]
    value = {"Config": _blob(manifest.config.digest), "RepoTags": [_named(reference)], "Layers": layers}
    return canonical_json([value])


def _named(reference: Reference) -> str:
    return f"{reference.repository}:{reference.tag or 'latest'}"


def _write(file: BinaryIO, path: str, size: int, chunks: Iterator[bytes]) -> None:
    file.write(header(TarEntry(path, size_bytes=size)))
    for chunk in chunks:
        file.write(chunk)
    file.write(padding(size))
