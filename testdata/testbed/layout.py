"""OCI image layouts: written from a root file system's tar, read, and pushed to a registry.

The same tar gives the same bytes, so that an image has one digest on every machine.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
INDEXES = (INDEX, "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFESTS = (MANIFEST, "application/vnd.docker.distribution.manifest.v2+json")

#: What everything we make is dated: 1 January 2025.
EPOCH_S = 1735689600
_CREATED = "2025-01-01T00:00:00Z"
_CHUNK_BYTES = 1 << 20

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """A small file put into the layer."""

    path: str
    text: str
    mode: int = 0o644


class _HashedGzip(io.RawIOBase):
    """Takes a tar, writes it gzipped (level 1: these layers only travel over loopback), knows both digests."""

    def __init__(self, target: IO[bytes]) -> None:
        super().__init__()
        self._target = target
        self._deflate = zlib.compressobj(1, zlib.DEFLATED, -15)
        self._crc = 0
        self._length = 0
        self._plain = hashlib.sha256()
        self._packed = hashlib.sha256()
        self.size_bytes = 0
        self._emit(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._plain.update(data)
        self._crc = zlib.crc32(data, self._crc)
        self._length += len(data)
        self._emit(self._deflate.compress(data))
        return len(data)

    def finish(self) -> tuple[str, str]:
        """(digest of the gzip, digest of the tar)"""
        self._emit(self._deflate.flush())
        self._emit(self._crc.to_bytes(4, "little") + (self._length & 0xFFFFFFFF).to_bytes(4, "little"))
        return f"sha256:{self._packed.hexdigest()}", f"sha256:{self._plain.hexdigest()}"

    def _emit(self, data: bytes) -> None:
        self._packed.update(data)
        self._target.write(data)
        self.size_bytes += len(data)


@dataclass(frozen=True, slots=True)
class Layout:
    """A folder with ``oci-layout``, ``index.json`` and ``blobs/``, holding one image under one tag."""

    folder: Path

    def blob(self, digest: str) -> Path:
        return self.folder / "blobs" / digest.replace(":", "/", 1)

    def top(self) -> Json:
        """The descriptor of the image: a manifest, or an index of manifests."""
        index = json.loads((self.folder / "index.json").read_text(encoding="utf-8"))
        descriptor: Json = index["manifests"][0]
        return descriptor

    def unnamed_top(self) -> Json:
        return {key: value for key, value in self.top().items() if key != "annotations"}

    def read(self, descriptor: Json) -> Json:
        content: Json = json.loads(self.blob(descriptor["digest"]).read_bytes())
        return content

    def put(self, data: bytes, media_type: str, **more: Any) -> Json:
        """Stores the bytes, returns their descriptor."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        path = self.blob(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data), **more}

    def put_json(self, value: Json, media_type: str, **more: Any) -> Json:
        return self.put(json.dumps(value, separators=(",", ":")).encode(), media_type, **more)

    def put_layer(self, tar: IO[bytes], keep: Callable[[str], bool], extras: Iterable[Extra]) -> tuple[Json, str]:
        """Stores the files of a tar as a layer; returns its descriptor and its diff ID."""
        folder = self.folder / "blobs/sha256"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as packed:
            sink = _HashedGzip(packed)
            _rewrite(tar, sink, keep, extras)
            digest, diff_id = sink.finish()
        os.chmod(packed.name, 0o644)
        os.replace(packed.name, self.blob(digest))
        return {"mediaType": LAYER, "digest": digest, "size": sink.size_bytes}, diff_id

    def finish(self, top: Json) -> None:
        """Writes the two files that make the folder a layout."""
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [top]}
        (self.folder / "index.json").write_text(json.dumps(index, separators=(",", ":")), encoding="utf-8")
        (self.folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}', encoding="utf-8")

    def set_name(self, tag: str) -> None:
        """Names the image, as tools want it that take an image out of a layout by its tag."""
        self.finish({**self.top(), "annotations": {"org.opencontainers.image.ref.name": tag}})


def put_image(layout: Layout, layer: Json, diff_id: str, config: Mapping[str, Any], architecture: str) -> Json:
    """Stores configuration and manifest of an image of one layer; returns the manifest's descriptor."""
    image = {
        "created": _CREATED,
        "architecture": architecture,
        "os": "linux",
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": _CREATED, "created_by": "imagespec test-bed: mmdebstrap"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": layout.put_json(image, CONFIG),
        "layers": [layer],
    }
    platform = {"architecture": architecture, "os": "linux"}
    return layout.put_json(manifest, MANIFEST, platform=platform)


def put_index(parts: Sequence[Layout], layout: Layout) -> None:
    """Fills the layout with one image of several architectures, out of layouts of one each."""
    for part in parts:
        for blob in (part.folder / "blobs/sha256").iterdir():
            target = layout.folder / "blobs/sha256" / blob.name
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                os.link(blob, target)
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [part.unnamed_top() for part in parts]}
    layout.finish(layout.put_json(index, INDEX))


def _rewrite(tar: IO[bytes], sink: _HashedGzip, keep: Callable[[str], bool], extras: Iterable[Extra]) -> None:
    """Copies the wanted members, without "./" and names of users, and adds the extra files."""
    with (
        tarfile.open(fileobj=tar, mode="r|") as source,
        tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_CHUNK_BYTES) as target,
    ):
        for member in source:
            name = member.name.removeprefix("./").rstrip("/")
            if name in ("", ".") or not keep(name):
                continue
            member.name, member.uname, member.gname = name, "", ""
            member.mtime = EPOCH_S if member.isdir() else min(int(member.mtime), EPOCH_S)
            member.pax_headers = {k: v for k, v in member.pax_headers.items() if k.startswith("SCHILY.xattr.")}
            if member.islnk():
                member.linkname = member.linkname.removeprefix("./")
            target.addfile(member, source.extractfile(member) if member.isreg() else None)
        for extra in extras:
            data = extra.text.encode()
            entry = tarfile.TarInfo(extra.path)
            entry.size, entry.mode, entry.mtime = len(data), extra.mode, EPOCH_S
            target.addfile(entry, io.BytesIO(data))
