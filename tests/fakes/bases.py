"""Base images in memory: a few files that look like Debian with Python, in layers of the test's choice."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagespec.builders.assembly.base import Image
from imagespec.builders.assembly.file_system import FileSystem, FileSystems
from imagespec.builders.assembly.store import Store
from imagespec.names import Reference, Repository
from imagespec.oci import (
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER_GZIP,
    Manifest,
    Platform,
    canonical_json,
    digest_of,
)
from imagespec.registry import Registry
from imagespec.tarball import FILE, FOLDER, LINK, TarEntry, tar_bytes
from imagespec.values import replace
from tests.fakes.images import body, described
from tests.fakes.registry import FakeRegistry

REPOSITORY = Repository("registry.test", "base")
DOCKER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
LATEST = Reference(REPOSITORY, "latest")
Content = tuple[TarEntry, bytes]


def file(path: str, data: bytes = b"", mode: int = 0o644, uid: int = 0) -> Content:
    return TarEntry(path, FILE, mode, uid, uid, len(data)), data


def folder(path: str, mode: int = 0o755, uid: int = 0) -> Content:
    return TarEntry(path, FOLDER, mode, uid, uid), b""


def link(path: str, target: str) -> Content:
    return TarEntry(path, LINK, 0o777, target=target), b""


DEBIAN = [
    link("bin", "usr/bin"),
    link("lib", "usr/lib"),
    folder("etc"),
    file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh"),
    file("etc/group", b"root:x:0:\n"),
    folder("home", 0o751),
    folder("root", 0o700),
    file("root/.profile", b"profile\n", 0o600),
    folder("tmp", 0o1777),
    folder("usr"),
    folder("usr/bin"),
    link("usr/bin/python3", "python3.11"),
    file("usr/bin/python3.11", b"\x7fELF\x003.11.2\x00", 0o755),
    folder("usr/lib"),
    file("usr/lib/libc.so.6", b"\0GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.\n"),
]


def image(
    registry: Registry,
    *layers: list[Content],
    run_time: Mapping[str, Any] = {},
    docker: bool = False,
    reference: Reference = LATEST,
    platform: str = "linux/amd64",
) -> Image:
    """Write an image of these layers, in Docker's format if asked for, and return it."""
    repository, runs_on = reference.repository, Platform.parse(platform)
    descriptors, diff_ids = [], []
    for entries in layers:
        data = tar_bytes(entries)
        packed = gzip.compress(data, mtime=0)
        media_type = DOCKER_GZIP if docker else OCI_LAYER_GZIP
        descriptors.append(described(packed, media_type))
        diff_ids.append(str(digest_of(data)))
        registry.write_blob(repository, descriptors[-1], body(packed))
    config = {
        "os": runs_on.os,
        "architecture": runs_on.architecture,
        "config": dict(run_time),
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    data = canonical_json(config)
    described_config = described(data, DOCKER_CONFIG if docker else OCI_CONFIG)
    registry.write_blob(repository, described_config, body(data))
    manifest = Manifest.image(config=described_config, layers=tuple(descriptors))
    if docker:
        value = manifest.value() | {"mediaType": DOCKER_MANIFEST}
        manifest = Manifest(DOCKER_MANIFEST, canonical_json(value))
    registry.write_manifest(reference, manifest)
    return Image(registry=registry, repository=repository, manifest=manifest, config=config)


def index_of(registry: Registry, reference: Reference, images: Mapping[str, Image]) -> None:
    """Write an index of images by platform."""
    listed = tuple(
        replace(one.manifest.descriptor, platform=Platform.parse(platform)) for platform, one in images.items()
    )
    registry.write_manifest(reference, Manifest.index(listed))


def files_of(tmp_path: Path, *layers: list[Content]) -> FileSystem:
    store = Store(tmp_path / "store")
    try:
        return FileSystems(store).read(image(FakeRegistry(), *layers), lambda layer: None)
    finally:
        store.close()
