"""An OCI image layout folder as a registry: what keeps images where there is neither registry nor engine.

Source: OCI Image Specification 1.1, ``image-layout.md``. Names are written as BuildKit writes them:
``io.containerd.image.name`` has the whole reference, ``org.opencontainers.image.ref.name`` the tag. Every file
appears complete under its name or not at all; the index is changed under a lock on the folder, so that several
processes may write at once. Blobs are shared by all repositories of the folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from imagespec.errors import IntegrityError, ProtocolViolation, RegistryError, RegistryUnreachable, WrongPlatform
from imagespec.names import Digest, Reference, Repository
from imagespec.oci import DOCKER_INDEX, OCI_INDEX, OCI_MANIFEST, Descriptor, Manifest, Platform, platforms_of
from imagespec.registry import OpenBody
from imagespec.registry.referrers import fallback_reference, referrer, subject_of, with_referrer

__all__ = ["LayoutRegistry"]

_FULL_NAME: Final = "io.containerd.image.name"
_REF_NAME: Final = "org.opencontainers.image.ref.name"
_BLOCK_BYTES: Final = 1 << 20
_TEMPORARY: Final = ".tmp-"
_VERSION: Final = b'{"imageLayoutVersion":"1.0.0"}'


class _VerifiedFile(io.RawIOBase):
    """A blob's file; reading to its end raises IntegrityError if it is not the digest's content."""

    def __init__(self, file: BinaryIO, digest: Digest) -> None:
        super().__init__()
        self._file = file
        self._digest = digest
        self._hash = hashlib.new(digest.algorithm)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        count = cast("io.FileIO", self._file).readinto(view) or 0
        self._hash.update(view[:count])
        if count == 0 and len(view) and self._hash.hexdigest() != self._digest.encoded:
            raise IntegrityError(f"read blob {self._digest}: the file has another content", hint="delete it")
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class LayoutRegistry:
    """``Registry`` and ``RegistryAdmin`` over the folder ``root``, which is made by the first write."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._tidied: set[Path] = set()

    def resolve(self, reference: Reference, platforms: tuple[Platform, ...] = ()) -> Descriptor | None:
        """Return the descriptor of the manifest under the tag or digest, None when it is absent."""
        with self._readable(f"look up {reference}"):
            manifest = self._find(reference)
        if manifest is None:
            return None
        if platforms:
            self._check_platforms(reference, manifest, platforms)
        return manifest.descriptor

    def read_manifest(self, reference: Reference) -> Manifest | None:
        """Return the manifest with its exact bytes, its digest verified, or None when it is absent."""
        with self._readable(f"read {reference}"):
            return self._find(reference)

    def read_blob(self, repository: Repository, digest: Digest) -> BinaryIO:
        """Return a stream of the blob that verifies its digest; raise RegistryError with status 404 when absent."""
        action = f"read blob {digest} of {repository}"
        with self._readable(action):
            try:
                file = self._path(digest).open("rb", buffering=0)
            except FileNotFoundError as error:
                raise RegistryError(
                    f"{action}: it is not there", action=action, status=404, codes=("BLOB_UNKNOWN",)
                ) from error
        return cast("BinaryIO", io.BufferedReader(_VerifiedFile(cast("BinaryIO", file), digest), _BLOCK_BYTES))

    def write_blob(self, repository: Repository, descriptor: Descriptor, body: OpenBody) -> bool:
        """Return whether the blob had to be written; raise IntegrityError when the body is not its content."""
        action = f"write blob {descriptor.digest} of {repository}"
        with self._readable(action):
            path = self._path(descriptor.digest)
            if path.exists() and path.stat().st_size == descriptor.size_bytes:
                return False
            self._prepare(path.parent)
            with body() as stream, self._appearing(path) as file:
                _copy(stream, file, descriptor, action)
        return True

    def mount(self, repository: Repository, digest: Digest, source: Repository) -> bool:
        """Return whether the folder has the blob: its repositories share them."""
        return self._path(digest).exists()

    def write_manifest(self, reference: Reference, manifest: Manifest) -> Descriptor:
        """Write the manifest, and its name into the folder's index; return its descriptor."""
        descriptor = manifest.descriptor
        if reference.digest is not None and reference.digest != descriptor.digest:
            raise IntegrityError(f"write {reference}: the manifest has {descriptor.digest}")
        with self._readable(f"write {reference}"):
            path = self._path(descriptor.digest)
            self._prepare(path.parent)
            with self._appearing(path) as file:
                file.write(manifest.data)
            with self._locked():
                if reference.tag:
                    self._name(reference, descriptor)
                if (subject := subject_of(manifest)) is not None:
                    self._list_referrer(fallback_reference(reference.repository, subject), manifest)
        return descriptor

    def _list_referrer(self, listed: Reference, manifest: Manifest) -> None:
        """Enter the manifest in the list of its subject's referrers; the lock is held."""
        index = with_referrer(self._find(listed), referrer(manifest))
        with self._appearing(self._path(index.descriptor.digest)) as file:
            file.write(index.data)
        self._name(listed, index.descriptor)

    def ping(self, registry: str) -> None:
        """Return: a folder needs nobody to answer."""

    def tags(self, repository: Repository) -> tuple[str, ...]:
        """Return the tags of ``repository`` in this folder, sorted."""
        prefix = f"{repository}:"
        with self._readable(f"list the tags of {repository}"):
            names = [_annotation(entry, _FULL_NAME) for entry in self._entries()]
        return tuple(sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix)))

    def referrers(self, repository: Repository, digest: Digest, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """Return the manifests whose subject is ``digest``, of one artifact type or of all."""
        index = self.read_manifest(fallback_reference(repository, digest))
        listed = index.manifests if index is not None and index.is_index else ()
        return tuple(one for one in listed if not artifact_type or one.artifact_type == artifact_type)

    def delete(self, reference: Reference) -> bool:
        """Take a tag, or every name of a digest, out of the index; return whether there was one. Blobs stay."""
        with self._readable(f"delete {reference}"), self._locked():
            entries = self._entries()
            kept = [entry for entry in entries if not _names(entry, reference)]
            if len(kept) != len(entries):
                self._write_index(kept)
        return len(kept) != len(entries)

    def _path(self, digest: Digest) -> Path:
        return self._root / "blobs" / digest.algorithm / digest.encoded

    def _prepare(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        marker = self._root / "oci-layout"
        if not marker.exists():
            with self._appearing(marker) as file:
                file.write(_VERSION)

    @contextlib.contextmanager
    def _appearing(self, path: Path) -> Iterator[BinaryIO]:
        """Give a file to write that appears under ``path`` when all went well, and not at all otherwise."""
        folder = path.parent
        if folder not in self._tidied:
            self._tidied.add(folder)
            _remove_abandoned(folder)
        with _temporary(folder) as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).chmod(0o644)
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        folder = os.open(self._root, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def _readable(self, action: str) -> Iterator[None]:
        """Turn what the file system refuses into an error that names the folder."""
        try:
            yield
        except OSError as error:
            raise RegistryUnreachable(
                f"{action}: {self._root}: {error.strerror or error}", action=action, hint="check the folder"
            ) from error

    def _entries(self) -> list[dict[str, Any]]:
        try:
            value = json.loads((self._root / "index.json").read_bytes())
            return [dict(entry) for entry in value["manifests"] or ()]  # Go writes an empty list as null
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError) as error:
            raise ProtocolViolation(f"read {self._root}: its index.json is not an image index") from error

    def _name(self, reference: Reference, descriptor: Descriptor) -> None:
        """Make the name stand for ``descriptor`` alone; the lock is held."""
        full = f"{reference.repository}:{reference.tag}"
        kept = [entry for entry in self._entries() if _annotation(entry, _FULL_NAME) != full]
        named = {**descriptor.to_json(), "annotations": {_FULL_NAME: full, _REF_NAME: reference.tag}}
        self._write_index([*kept, named])

    def _write_index(self, entries: list[dict[str, Any]]) -> None:
        value = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        with self._appearing(self._root / "index.json") as file:
            file.write(json.dumps(value, indent=1).encode())

    def _find(self, reference: Reference) -> Manifest | None:
        digest = reference.digest
        media_type = ""
        if digest is None:
            entry = self._named(reference)
            if entry is None:
                return None
            described = Descriptor.from_json(entry)
            digest, media_type = described.digest, described.media_type
        try:
            data = self._path(digest).read_bytes()
        except FileNotFoundError as error:
            if reference.digest is not None:
                return None
            raise ProtocolViolation(f"look up {reference}: the folder's index names it, but it is gone") from error
        return Manifest(media_type or _media_type(data), data).verify(digest)

    def _named(self, reference: Reference) -> dict[str, Any] | None:
        """Return the index entry of a tag: by its whole name, else (other tools' layouts) by its tag."""
        full = f"{reference.repository}:{reference.tag}"
        entries = self._entries()
        for entry in entries:
            if _annotation(entry, _FULL_NAME) == full:
                return entry
        for entry in entries:
            if not _annotation(entry, _FULL_NAME) and _annotation(entry, _REF_NAME) in (reference.tag, full):
                return entry
        return None

    def _check_platforms(self, reference: Reference, manifest: Manifest, wanted: tuple[Platform, ...]) -> None:
        if manifest.is_index:
            found = platforms_of(manifest)
        else:
            with self.read_blob(reference.repository, manifest.config.digest) as stream:
                found = (Platform.from_json(json.loads(stream.read())),)
        missing = [platform for platform in wanted if platform not in found]
        if missing:
            raise WrongPlatform(
                f"look up {reference}: it has {', '.join(map(str, found)) or 'no platform'}, "
                f"not {', '.join(map(str, missing))}",
                wanted=tuple(map(str, wanted)),
                found=tuple(map(str, found)),
                action=f"look up {reference}",
            )


def _temporary(folder: Path) -> BinaryIO:
    """Return a new file that is held by a lock, which tells that somebody still writes it."""
    while True:
        path = folder / f"{_TEMPORARY}{os.urandom(8).hex()}"
        file = path.open("xb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists():
                return file
        except BlockingIOError:
            # Another process takes it for abandoned: it was there, and not held, for a moment.
            pass
        file.close()


def _remove_abandoned(folder: Path) -> None:
    """Remove what processes left that were killed while they wrote."""
    for path in folder.glob(f"{_TEMPORARY}*"):
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _annotation(entry: dict[str, Any], key: str) -> str:
    annotations = entry.get("annotations")
    return str(annotations.get(key, "")) if isinstance(annotations, dict) else ""


def _names(entry: dict[str, Any], reference: Reference) -> bool:
    if reference.digest is not None:
        prefix = f"{reference.repository}:"
        return entry.get("digest") == str(reference.digest) and _annotation(entry, _FULL_NAME).startswith(prefix)
    return _annotation(entry, _FULL_NAME) == f"{reference.repository}:{reference.tag}"


def _media_type(data: bytes) -> str:
    """Return the type of a manifest asked for by digest, from its own words."""
    try:
        value = json.loads(data)
    except ValueError as error:
        raise ProtocolViolation("read manifest: not JSON") from error
    if not isinstance(value, dict):
        raise ProtocolViolation("read manifest: not a JSON object")
    default = OCI_INDEX if "manifests" in value else OCI_MANIFEST
    media_type = str(value.get("mediaType", default))
    return media_type if media_type != DOCKER_INDEX or "manifests" in value else default


def _copy(stream: BinaryIO, file: BinaryIO, descriptor: Descriptor, action: str) -> None:
    """Copy the body and check it against its descriptor."""
    digest = hashlib.new(descriptor.digest.algorithm)
    size = 0
    while block := stream.read(_BLOCK_BYTES):
        digest.update(block)
        size += len(block)
        file.write(block)
    if size != descriptor.size_bytes or digest.hexdigest() != descriptor.digest.encoded:
        raise IntegrityError(
            f"{action}: the content has {size} bytes and another digest than its descriptor says",
            hint="it changed while it was read; build again",
        )
