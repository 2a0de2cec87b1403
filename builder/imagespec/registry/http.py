"""A registry over HTTP, as ``Registry``: OCI Distribution Specification 1.1 and what came before it."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from typing import BinaryIO, Final, cast

from imagespec.errors import (
    IntegrityError,
    ProtocolViolation,
    RegistryError,
    TooManyRequests,
    Unauthorized,
    WrongPlatform,
)
from imagespec.names import Digest, Reference, Repository
from imagespec.oci import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_CONFIG,
    Descriptor,
    Manifest,
    Platform,
    is_content_of,
    platforms_of,
)
from imagespec.registry import OpenBody, api
from imagespec.registry.answers import Answer, content_digest, failure, is_absent
from imagespec.registry.auth import Anonymous, CredentialSource
from imagespec.registry.blobs import BlobStream, Upload
from imagespec.registry.hosts import Network
from imagespec.registry.referrers import fallback_reference, referrer, subject_of, with_referrer
from imagespec.registry.transport import Attempts, Transport
from imagespec.values import replace

__all__ = ["HttpRegistry"]

_MAX_CONFIG_BYTES = 16 << 20
# Error codes of the OCI Distribution Specification 1.1 for a manifest that names a blob which is not there.
_UNSEEN_BLOB: Final = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"})


class HttpRegistry:
    """Every registry that can be reached over HTTP; thread-safe. ``close`` breaks off what is under way.

    ``clock`` and ``sleep`` are in seconds, ``jitter`` returns a number in [0, 1).
    """

    def __init__(
        self,
        *,
        network: Network | None = None,
        credentials: CredentialSource | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] | None = None,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        self._transport = Transport(
            network=network or Network(),
            credentials=credentials or Anonymous(),
            clock=clock,
            sleep=sleep,
            jitter=jitter,
        )
        self._absent: set[Reference] = set()

    @property
    def transport(self) -> Transport:
        """What sends the requests, for the operations that are not of ``Registry``."""
        return self._transport

    def close(self) -> None:
        """Close all connections; requests under way end with Cancelled."""
        self._transport.close()

    def __enter__(self) -> HttpRegistry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def resolve(self, reference: Reference, platforms: tuple[Platform, ...] = ()) -> Descriptor | None:
        """Return the manifest's descriptor, or None when it is absent: one HEAD, more where that leaves a doubt."""
        attempts = self._transport.attempts()
        # What was absent is asked for with GET, which settles it alone where it is absent still.
        descriptor = None if reference in self._absent else self._head(reference, attempts)
        if descriptor is None or (platforms and descriptor.media_type in INDEX_TYPES):
            manifest = self._manifest(reference, attempts)
            if manifest is None:
                self._absent.add(reference)
                return None
            self._absent.discard(reference)
            descriptor = manifest.descriptor
            self._check_platforms(reference, manifest, platforms, attempts)
        elif platforms:
            manifest = self._manifest(reference.with_digest(descriptor.digest), attempts)
            if manifest is None:  # deleted meanwhile
                return None
            self._check_platforms(reference, manifest, platforms, attempts)
        return descriptor

    def _head(self, reference: Reference, attempts: Attempts) -> Descriptor | None:
        request = api.head_manifest(reference)
        try:
            return _described(request, reference, self._transport.exchange(request, attempts))
        except RegistryError as error:
            if not _is_unexplained(request, error):
                raise
            return None  # an answer to HEAD has no body, hence no code: GET tells what it meant

    def _check_platforms(
        self, reference: Reference, manifest: Manifest, wanted: tuple[Platform, ...], attempts: Attempts
    ) -> None:
        if not wanted:
            return
        found = platforms_of(manifest) if manifest.is_index else (self._platform(reference, manifest, attempts),)
        missing = [platform for platform in wanted if platform not in found]
        if missing:
            has = ", ".join(map(str, found)) or "no platform"
            raise WrongPlatform(
                f"look up {reference}: it has {has}, not {', '.join(map(str, missing))}",
                wanted=tuple(map(str, wanted)),
                found=tuple(map(str, found)),
                action=f"look up {reference}",
            )

    def _platform(self, reference: Reference, manifest: Manifest, attempts: Attempts) -> Platform:
        config = manifest.config
        if config.size_bytes > _MAX_CONFIG_BYTES:
            raise ProtocolViolation(f"look up {reference}: its config has {config.size_bytes} bytes")
        request = api.get_blob(reference.repository, config.digest)
        data = self._transport.exchange(request, attempts).body
        if not is_content_of(config.digest, data):
            raise IntegrityError(f"look up {reference}: its config has another digest than its manifest says")
        try:
            return Platform.from_json(json.loads(data))
        except (ValueError, AttributeError) as error:
            raise ProtocolViolation(f"look up {reference}: its config is not valid: {error}") from error

    def read_manifest(self, reference: Reference) -> Manifest | None:
        """Return the manifest or index, its digest verified, or None when it is absent."""
        return self._manifest(reference, self._transport.attempts())

    def _manifest(self, reference: Reference, attempts: Attempts) -> Manifest | None:
        request = api.get_manifest(reference)
        asking = replace(request, expected=request.expected | {404})
        answer = self._transport.exchange(asking, attempts)
        if answer.status == 404:
            if is_absent(answer):
                return None
            raise failure(request, answer, request.target)
        return _received(request, reference, answer)

    def read_blob(self, repository: Repository, digest: Digest) -> BinaryIO:
        """Return a buffered stream of the blob that verifies its digest and resumes where it was cut."""
        stream = BlobStream(self._transport, repository, digest)
        return cast("BinaryIO", io.BufferedReader(stream, 1 << 20))

    def write_blob(self, repository: Repository, descriptor: Descriptor, body: OpenBody) -> bool:
        """Return whether the blob had to be sent: it is looked up first, unless it is a config, and then uploaded.

        A config is one image's own, and sending it costs hardly more than the question.
        """
        attempts = self._transport.attempts(descriptor.size_bytes)
        if descriptor.media_type != OCI_CONFIG and self._has_blob(repository, descriptor.digest, attempts):
            return False
        Upload(self._transport, repository, descriptor, body, attempts).run()
        return True

    def _has_blob(self, repository: Repository, digest: Digest, attempts: Attempts) -> bool:
        request = api.head_blob(repository, digest, push=True)
        answer = self._transport.exchange(request, attempts)
        if answer.status == 200:
            told = content_digest(request, answer)
            if told is not None and told.algorithm == digest.algorithm and told != digest:
                raise ProtocolViolation(f"{request.action}: the registry has {told} in its place", status=200)
        return answer.status == 200

    def mount(self, repository: Repository, digest: Digest, source: Repository) -> bool:
        """Return whether the registry took the blob over from ``source``; a session opened instead is dropped."""
        if source.registry != repository.registry:
            return False
        attempts = self._transport.attempts()
        try:
            answer = self._transport.exchange(api.start_upload(repository, digest, source), attempts)
        except RegistryError as error:
            if error.status in (400, 401, 403, 404, 405):  # not allowed to read the source, or no mounts: send it
                return False
            raise
        if answer.status == 201:
            return True
        location = answer.header("location")
        if location:
            self._drop(repository, location, attempts)
        return False

    def _drop(self, repository: Repository, location: str, attempts: Attempts) -> None:
        try:
            self._transport.once(api.cancel_upload(repository, location), attempts)
        except RegistryError:
            return  # sessions end by themselves; the mount's answer stands

    def write_manifest(self, reference: Reference, manifest: Manifest) -> Descriptor:
        """Write the manifest, wait until the registry serves it, and return its descriptor."""
        descriptor = manifest.descriptor
        if reference.digest is not None and reference.digest != descriptor.digest:
            raise IntegrityError(f"write {reference}: the manifest has {descriptor.digest}")
        request = api.put_manifest(reference, manifest)
        answer = self._put(request)
        told = content_digest(request, answer)
        if told is not None and told.algorithm == "sha256" and told != descriptor.digest:
            raise IntegrityError(f"write {reference}: the registry stored {told}, not {descriptor.digest}")
        self._absent.discard(reference)
        written = replace(reference, digest=None) if reference.tag else reference.with_digest(descriptor.digest)
        self._verify(written, descriptor)
        subject = subject_of(manifest)
        if subject is not None and not answer.header("oci-subject"):
            self._list_referrer(reference.repository, subject, manifest)
        return descriptor

    def _put(self, request: api.Request) -> Answer:
        """Return the answer to a manifest, sent again while the registry does not see a blob of it.

        A registry may lose sight of a blob for the moment in which somebody else uploads or mounts the same one:
        distribution writes a repository's link to it anew, and an empty link is an invalid digest and no blob.
        """
        settling = self._transport.attempts_to_settle()
        while True:
            try:
                return self._transport.exchange(request, self._transport.attempts())
            except RegistryError as error:
                if not _UNSEEN_BLOB.intersection(error.codes):
                    raise
                settling.after(error, even_if_final=True)

    def _list_referrer(self, repository: Repository, subject: Digest, manifest: Manifest) -> None:
        """Enter the manifest in the list that a registry without referrers keeps under a tag."""
        listed = fallback_reference(repository, subject)
        self.write_manifest(listed, with_referrer(self.read_manifest(listed), referrer(manifest)))

    def _verify(self, reference: Reference, descriptor: Descriptor) -> None:
        """Return once the registry serves what was written: not every one reads its own writes at once."""
        attempts = self._transport.attempts_to_settle()
        while True:
            found = self.resolve(reference)
            if found is not None and found.digest == descriptor.digest:
                return
            seen = "nothing" if found is None else str(found.digest)
            attempts.after(_Unsettled(f"write {reference}: the registry serves {seen}, not {descriptor.digest}"))


class _Unsettled(RegistryError):
    """A write that cannot be read yet."""

    transient = True


def _is_unexplained(request: api.Request, error: RegistryError) -> bool:
    """Return whether ``error`` is this request's own answer, of a status that a body would say more about."""
    own = error.action == request.action and error.status is not None
    return own and not isinstance(error, (Unauthorized, TooManyRequests))


def _described(request: api.Request, reference: Reference, answer: Answer) -> Descriptor | None:
    """Return the descriptor that the headers of a HEAD give, or None when they leave something out."""
    digest = content_digest(request, answer)
    size = answer.header("content-length").strip()
    if digest is None or not size.isdigit() or answer.media_type not in (*INDEX_TYPES, *MANIFEST_TYPES):
        return None
    if reference.digest is not None and digest.algorithm != reference.digest.algorithm:
        return None
    if reference.digest is not None and digest != reference.digest:
        raise ProtocolViolation(f"{request.action}: the registry answered for {digest}", status=200)
    return Descriptor(media_type=answer.media_type, digest=digest, size_bytes=int(size))


def _received(request: api.Request, reference: Reference, answer: Answer) -> Manifest:
    """Return the manifest of an answer, checked against every digest that was asked for or told."""
    media_type = answer.media_type
    if media_type not in (*INDEX_TYPES, *MANIFEST_TYPES):
        raise ProtocolViolation(
            f"{request.action}: the answer is {media_type or 'of no type'}, not a manifest",
            status=answer.status,
            hint="images in Docker's schema 1 are not supported" if "manifest.v1" in media_type else "",
        )
    manifest = Manifest(media_type, answer.body)
    for digest in (reference.digest, content_digest(request, answer)):
        if digest is not None and not is_content_of(digest, answer.body):
            raise IntegrityError(f"{request.action}: its bytes are not {digest}")
    manifest.value()
    return manifest
