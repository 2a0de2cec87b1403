"""Whether an image is what its manifest says, and whether engines can unpack it as it was meant: for everyone's tests.

Sources: OCI Image Specification 1.1, ``descriptor.md``, ``config.md`` (``diff_ids``, ``history``) and ``layer.md``.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import io
import json
import posixpath
import tarfile
from collections.abc import Collection, Iterator
from typing import Any, BinaryIO, Final, NamedTuple, cast

from imagespec.errors import IntegrityError
from imagespec.names import Reference, Repository
from imagespec.oci import Descriptor, Manifest, is_content_of
from imagespec.registry import Registry
from imagespec.values import dataclass, field

__all__ = ["check_image", "problems_of"]

_CHUNK_BYTES: Final = 1 << 20
_WHITEOUT: Final = ".wh."
# What an engine gives a folder that no layer describes.
_IMPLIED: Final = (0o755, 0, 0)


class _Path(NamedTuple):
    kind: bytes
    owned: tuple[int, int, int]
    """Mode, uid and gid."""


@dataclass(slots=True)
class _Seen:
    """The file system as far as the layers have built it."""

    paths: dict[str, _Path] = field(default_factory=dict)


def check_image(
    registry: Registry, reference: Reference, *, base_layers: int = 0, changed: Collection[str] = ()
) -> None:
    """Return when the image has no problem; raise IntegrityError naming all of them. Arguments as ``problems_of``."""
    found = problems_of(registry, reference, base_layers=base_layers, changed=changed)
    if found:
        raise IntegrityError(f"image {reference}: " + "; ".join(found))


def problems_of(
    registry: Registry, reference: Reference, *, base_layers: int = 0, changed: Collection[str] = ()
) -> tuple[str, ...]:
    """Return what is wrong with an image, or with every image of an index; () when nothing is.

    The first ``base_layers`` layers are somebody else's: only their digests are checked. Folders of theirs keep their
    mode and owner, but for those named in ``changed`` (paths without a leading '/').
    """
    manifest = registry.read_manifest(reference)
    if manifest is None:
        return (f"{reference} is not there",)
    if not manifest.is_index:
        return tuple(_image(registry, reference.repository, manifest, base_layers, set(changed)))
    found = []
    for listed in manifest.manifests:
        image = registry.read_manifest(Reference(reference.repository, None, listed.digest))
        if image is None or len(image.data) != listed.size_bytes:
            found.append(f"{listed.digest} of the index is not there, or has another size")
            continue
        found += [f"{listed.platform}: {problem}" for problem in
                  _image(registry, reference.repository, image, base_layers, set(changed))]  # fmt: skip
    return tuple(found)


def _image(
    registry: Registry, repository: Repository, manifest: Manifest, base_layers: int, changed: set[str]
) -> Iterator[str]:
    with registry.read_blob(repository, manifest.config.digest) as stream:
        data = stream.read()
    if len(data) != manifest.config.size_bytes or not is_content_of(manifest.config.digest, data):
        yield "its config is not the content that the manifest names"
        return
    config = json.loads(data)
    diff_ids = config.get("rootfs", {}).get("diff_ids", [])
    layers = manifest.layers
    if len(diff_ids) != len(layers):
        yield f"it has {len(layers)} layers and {len(diff_ids)} diff IDs"
        return
    filled = [one for one in config.get("history", ()) if not one.get("empty_layer")]
    if config.get("history") and len(filled) != len(layers):
        yield f"its history tells of {len(filled)} layers, it has {len(layers)}"
    seen = _Seen()
    for number, (layer, diff_id) in enumerate(zip(layers, diff_ids, strict=True)):
        checked = None if number < base_layers else changed
        for problem in _layer(registry, repository, layer, diff_id, seen, checked):
            yield f"layer {number}: {problem}"


def _layer(
    registry: Registry, repository: Repository, layer: Descriptor, diff_id: str, seen: _Seen, changed: set[str] | None
) -> Iterator[str]:
    with registry.read_blob(repository, layer.digest) as blob:
        packed = _Hashed(blob)
        with _unpacked(packed, layer.media_type) as stream:
            content = _Hashed(stream)
            with tarfile.open(fileobj=cast("BinaryIO", content), mode="r|") as archive:
                members = list(archive)
            _drain(content)
        _drain(packed)
    if packed.size_bytes != layer.size_bytes or packed.digest != str(layer.digest):
        yield "its blob has another digest or size than its descriptor"
    if content.digest != diff_id:
        yield f"its content is {content.digest}, not the diff ID {diff_id}"
    yield from _members(members, seen, changed)


def _members(members: list[tarfile.TarInfo], seen: _Seen, changed: set[str] | None) -> Iterator[str]:
    own: set[str] = set()
    for member in members:
        path = posixpath.normpath(member.name)
        if changed is not None:
            if member.name.startswith("/") or ".." in member.name.split("/"):
                yield f"{member.name!r} leads out of the image"
            if path in own:
                yield f"{path!r} is in it twice"
        own.add(path)
    if changed is not None:
        yield from _parents(own, seen)
    for member in members:
        path = posixpath.normpath(member.name)
        if changed is not None:
            yield from _replaced(path, member, seen, changed)
        _apply(path, member, seen)


def _parents(own: set[str], seen: _Seen) -> Iterator[str]:
    """Yield folders of lower layers that this layer does not describe, and so resets, or links that it replaces."""
    told: set[str] = set()
    for path in sorted(own):
        folder = posixpath.dirname(path)
        while folder and folder not in told:
            told.add(folder)
            below = seen.paths.get(folder)
            if below is not None and folder not in own:
                if below.kind != tarfile.DIRTYPE:
                    yield f"{path!r} lies under {folder!r}, which is no folder"
                elif below.owned != _IMPLIED:
                    yield f"{folder!r} has {_shown(below)} below, and is not described"
            folder = posixpath.dirname(folder)


def _replaced(path: str, member: tarfile.TarInfo, seen: _Seen, changed: set[str]) -> Iterator[str]:
    below = seen.paths.get(path)
    if below is None or not member.isdir():
        return
    if below.kind == tarfile.SYMTYPE:
        yield f"{path!r} is a link below, and a folder here"
    elif below.kind == tarfile.DIRTYPE and below.owned != _owned(member) and path not in changed:
        yield f"{path!r} has {_shown(below)} below, and other mode or owner here"


def _apply(path: str, member: tarfile.TarInfo, seen: _Seen) -> None:
    folder, name = posixpath.split(path)
    if name.startswith(_WHITEOUT):
        gone = posixpath.join(folder, name[len(_WHITEOUT) :])
        for one in [one for one in seen.paths if one == gone or one.startswith(f"{gone}/")]:
            del seen.paths[one]
        return
    kind = member.type if member.type in (tarfile.DIRTYPE, tarfile.SYMTYPE) else tarfile.REGTYPE
    seen.paths[path] = _Path(kind, _owned(member))


def _owned(member: tarfile.TarInfo) -> tuple[int, int, int]:
    return member.mode & 0o7777, member.uid, member.gid


def _shown(path: _Path) -> str:
    mode, uid, gid = path.owned
    return f"mode {mode:04o} and owner {uid}:{gid}"


class _Hashed(io.RawIOBase):
    """A stream that is hashed and counted while it is read."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._hash.update(data)
        self.size_bytes += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _unpacked(packed: _Hashed, media_type: str) -> Any:
    if media_type.endswith("gzip"):
        return gzip.GzipFile(fileobj=packed, mode="rb")
    if media_type.endswith("zstd"):
        decompressor = importlib.import_module("zstandard").ZstdDecompressor()
        return decompressor.stream_reader(packed, read_across_frames=True)
    return io.BufferedReader(packed, _CHUNK_BYTES)


def _drain(stream: Any) -> None:
    while stream.read(_CHUNK_BYTES):
        pass
