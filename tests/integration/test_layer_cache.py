"""The layer cache in a registry, and what layers are compressed with."""

from __future__ import annotations

import gzip
import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Command
from tests.integration.images import layers, read

pytestmark = pytest.mark.integration


def build(imagespec: Command, folder: Path, **options: Any) -> tuple[str, str]:
    spec = {
        "name": "cached",
        "registry": imagespec.registry,
        "builder": "buildkit",
        "base_image": "python:3.11-slim-bookworm",
        "commands": [options.pop("command", "echo done > /done")],
        "builder_options": options,
    }
    (folder / "image.yaml").write_text(json.dumps(spec))
    done = imagespec("build", "image.yaml", cwd=folder)
    return done.stdout.strip(), done.stderr


def test_layers_are_compressed_fast_unless_told_otherwise(shared_imagespec: Command, tmp_path: Path) -> None:
    """A gzip header says 4 in its XFL byte for the fastest level (RFC 1952, section 2.3.1)."""
    unique = f"echo {uuid.uuid4()} > /one"
    reference, _ = build(shared_imagespec, tmp_path, command=unique)
    last = layers(reference)[-1]
    assert last["mediaType"].endswith("tar+gzip")
    data = read(reference, "blobs", last["digest"])
    assert b"one" in gzip.decompress(data)
    assert data[8] == 4
    for compression, ending in (("zstd", "tar+zstd"), ("uncompressed", "layer.v1.tar")):
        unique = f"echo {uuid.uuid4()} > /one"
        reference, _ = build(shared_imagespec, tmp_path, command=unique, compression=compression)
        assert layers(reference)[-1]["mediaType"].endswith(ending)


def test_the_layer_cache_goes_to_the_registry_and_another_engine_takes_it(
    shared_imagespec: Command, second_root: Path, tmp_path: Path
) -> None:
    """The other engine has built nothing yet, so what it need not build is what the registry has for it."""
    where = f"{shared_imagespec.registry}/layers:main"
    unique = f"echo {uuid.uuid4()} > /one"
    cache = {"cache_to": f"type=registry,ref={where},mode=max", "cache_from": [f"type=registry,ref={where}"]}
    _, said = build(shared_imagespec, tmp_path, command=unique, **cache)
    assert "exporting cache to registry" in said
    index = json.loads(read(f"{where}@", "manifests", "main"))
    stored = [one for one in index["manifests"] if one["mediaType"].endswith("tar+gzip")]
    assert len(stored) >= 3, "mode=max keeps the layers of every step"
    config = [one for one in index["manifests"] if "cacheconfig" in one["mediaType"]]
    assert len(config) == 1
    far = Command(
        env={**shared_imagespec.env, "DOCKER_HOST": f"unix://{second_root}/run/docker.sock"},
        registry=f"{shared_imagespec.registry}/far",
    )
    _, said = build(far, tmp_path, command=unique, cache_from=cache["cache_from"])
    assert "importing cache manifest from" in said
    steps = [line for line in said.splitlines() if line.startswith(("ok command:", "ok python", "ok user"))]
    assert len(steps) == 3
    assert [line for line in steps if not line.endswith(", cached")] == []
