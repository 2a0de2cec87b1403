"""A registry in memory: passes the contract suite, so tests of what stands on ``Registry`` can trust it."""

from __future__ import annotations

import io
import json
import threading
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from imagespec.errors import IntegrityError, RegistryError, WrongPlatform
from imagespec.names import Digest, Reference, Repository
from imagespec.oci import Descriptor, Manifest, Platform, digest_of, platforms_of
from imagespec.registry import OpenBody

__all__ = ["FakeRegistry"]


@dataclass
class _Contents:
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    manifests: dict[Digest, Manifest] = field(default_factory=dict)
    tags: dict[str, Digest] = field(default_factory=dict)


class _Checked(io.BytesIO):
    """Bytes whose end raises IntegrityError when they are not the digest's."""

    def __init__(self, data: bytes, digest: Digest) -> None:
        super().__init__(data)
        self._good = digest_of(data) == digest

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if not self._good and (size is None or size < 0 or (size and not data)):
            raise IntegrityError("read blob: what came has another digest")
        return data


class FakeRegistry:
    """``Registry`` in memory. ``calls`` lists what was asked, as (method, text); ``error`` is raised by every call."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.error: Exception | None = None
        self._lock = threading.Lock()
        self._repositories: dict[Repository, _Contents] = {}

    def _enter(self, method: str, what: object) -> None:
        with self._lock:
            self.calls.append((method, str(what)))
        if self.error is not None:
            raise self.error

    def _of(self, repository: Repository) -> _Contents:
        with self._lock:
            return self._repositories.setdefault(repository, _Contents())

    def _find(self, reference: Reference) -> Manifest | None:
        contents = self._of(reference.repository)
        digest = reference.digest or contents.tags.get(reference.tag or "latest")
        return contents.manifests.get(digest) if digest else None

    def resolve(self, reference: Reference, platforms: tuple[Platform, ...] = ()) -> Descriptor | None:
        self._enter("resolve", reference)
        manifest = self._find(reference)
        if manifest is None:
            return None
        if platforms:
            self._check(reference, manifest, platforms)
        return manifest.descriptor

    def _check(self, reference: Reference, manifest: Manifest, wanted: tuple[Platform, ...]) -> None:
        if manifest.is_index:
            found = platforms_of(manifest)
        else:
            config: Any = json.loads(self._of(reference.repository).blobs[manifest.config.digest])
            found = (Platform.from_json(config),)
        if not set(wanted) <= set(found):
            raise WrongPlatform(
                f"look up {reference}: it has {', '.join(map(str, found))}, not {', '.join(map(str, wanted))}",
                wanted=tuple(map(str, wanted)),
                found=tuple(map(str, found)),
            )

    def read_manifest(self, reference: Reference) -> Manifest | None:
        self._enter("read_manifest", reference)
        return self._find(reference)

    def read_blob(self, repository: Repository, digest: Digest) -> BinaryIO:
        self._enter("read_blob", f"{repository}@{digest}")
        data = self._of(repository).blobs.get(digest)
        if data is None:
            raise RegistryError(f"read blob {digest} of {repository}: it is not there", status=404)
        return _Checked(data, digest)

    def write_blob(self, repository: Repository, descriptor: Descriptor, body: OpenBody) -> bool:
        self._enter("write_blob", f"{repository}@{descriptor.digest}")
        blobs = self._of(repository).blobs
        if descriptor.digest in blobs:
            return False
        with body() as stream:
            data = stream.read()
        if digest_of(data) != descriptor.digest or len(data) != descriptor.size_bytes:
            raise IntegrityError(f"write blob {descriptor.digest}: the content has another digest")
        blobs[descriptor.digest] = data
        return True

    def mount(self, repository: Repository, digest: Digest, source: Repository) -> bool:
        self._enter("mount", f"{repository}@{digest} from {source}")
        data = self._of(source).blobs.get(digest)
        if data is None or source.registry != repository.registry:
            return False
        self._of(repository).blobs[digest] = data
        return True

    def write_manifest(self, reference: Reference, manifest: Manifest) -> Descriptor:
        self._enter("write_manifest", reference)
        descriptor = manifest.descriptor
        if reference.digest is not None and reference.digest != descriptor.digest:
            raise IntegrityError(f"write {reference}: the manifest has {descriptor.digest}")
        contents = self._of(reference.repository)
        contents.manifests[descriptor.digest] = manifest
        if reference.tag:
            contents.tags[reference.tag] = descriptor.digest
        return descriptor

    def corrupt(self, repository: Repository, digest: Digest, data: bytes) -> None:
        """Put other bytes in a blob's place."""
        self._of(repository).blobs[digest] = data

    def forget(self, reference: Reference) -> None:
        """Take a tag away, as a retention rule does."""
        self._of(reference.repository).tags.pop(reference.tag or "latest", None)
