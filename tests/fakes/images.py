"""Images to write, small and different each time."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import BinaryIO

from imagespec.names import Repository
from imagespec.oci import OCI_CONFIG, OCI_LAYER_TAR, Descriptor, Manifest, Platform, canonical_json, digest_of
from imagespec.registry import OpenBody, Registry

__all__ = ["body", "described", "write_image"]


def described(data: bytes, media_type: str = OCI_LAYER_TAR) -> Descriptor:
    """Return the descriptor of ``data``."""
    return Descriptor(media_type=media_type, digest=digest_of(data), size_bytes=len(data))


def body(data: bytes) -> OpenBody:
    """Return what opens ``data`` from its start."""
    opened: Callable[[], BinaryIO] = lambda: io.BytesIO(data)  # noqa: E731
    return opened


def write_image(registry: Registry, repository: Repository, platform: str = "linux/amd64") -> Manifest:
    """Write an image's blobs and return its manifest, still to be written."""
    wanted = Platform.parse(platform)
    layer = os.urandom(100)
    value = {"os": wanted.os, "architecture": wanted.architecture, "variant": wanted.variant, "x": layer.hex()}
    config = canonical_json(value)
    for data in (layer, config):
        registry.write_blob(repository, described(data), body(data))
    return Manifest.image(config=described(config, OCI_CONFIG), layers=(described(layer),))
