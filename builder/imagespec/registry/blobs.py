"""Blobs on their way: a stream that verifies and resumes, and an upload that survives being cut.

Source: OCI Distribution Specification 1.1, "Pulling blobs" and "Pushing blobs".
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from imagespec.errors import ImageSpecError, InputChanged, IntegrityError, ProtocolViolation, RegistryError
from imagespec.names import Digest, Repository
from imagespec.oci import Descriptor
from imagespec.registry import OpenBody, api
from imagespec.registry.answers import Answer, content_digest, uploaded_bytes
from imagespec.registry.transport import Attempts, Transport

if TYPE_CHECKING:
    from imagespec.registry.connections import Reply

__all__ = ["BlobStream", "Upload"]

_BLOCK_BYTES = 1 << 20
_CHUNK_BYTES = 16 << 20


class BlobStream(io.RawIOBase):
    """A blob's bytes; cut connections are resumed, and the end raises IntegrityError if the digest does not match."""

    def __init__(self, transport: Transport, repository: Repository, digest: Digest) -> None:
        super().__init__()
        self._transport = transport
        self._repository = repository
        self._digest = digest
        self._hash = hashlib.new(digest.algorithm)
        self._position = 0
        self._resumed_at = 0
        self._request = api.get_blob(repository, digest)
        self._attempts = transport.attempts()
        self._reply: Reply | None = self._ask()
        length = self._reply.headers.get("content-length", "")
        self._size_bytes = int(length) if length.isdigit() else None
        self._attempts = transport.attempts(self._size_bytes or 1 << 40)
        self._reply.connection.set_deadline(self._attempts.deadline)

    def _ask(self) -> Reply:
        """Return an answer that stands at the current position, asked as often as the attempts allow."""
        while True:
            try:
                self._request = api.get_blob(self._repository, self._digest, start=self._position)
                reply = self._transport.open(self._request, self._attempts)
                try:
                    self._skip(reply)
                except BaseException:
                    self._transport.finish(reply)
                    raise
                return reply
            except RegistryError as error:
                self._attempts.after(error)

    def _skip(self, reply: Reply) -> None:
        """Bring ``reply`` to the current position: registries may ignore Range, or answer another one."""
        if reply.status == 206:
            start = reply.headers.get("content-range", "").removeprefix("bytes ").partition("-")[0]
            if start != str(self._position):
                raise ProtocolViolation(f"{self._request.action}: another range came than was asked for", status=206)
            return
        left = self._position
        scratch = memoryview(bytearray(_BLOCK_BYTES))
        while left:
            count = self._transport.read(self._request, reply, scratch[: min(left, _BLOCK_BYTES)])
            if not count:
                raise IntegrityError(f"{self._request.action}: it became shorter")
            left -= count

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` and return the number of bytes, 0 at the end; raise RegistryError or IntegrityError."""
        view = memoryview(buffer).cast("B")
        while self._reply is not None and len(view):
            try:
                count = self._transport.read(self._request, self._reply, view)
            except RegistryError as error:
                self._reply = None
                if self._position - self._resumed_at >= _BLOCK_BYTES:
                    self._attempts.renew()
                self._resumed_at = self._position
                self._attempts.after(error)
                self._reply = self._ask()
                continue
            if count == 0:
                self._end()
                return 0
            self._hash.update(view[:count])
            self._position += count
            return count
        return 0

    def _end(self) -> None:
        assert self._reply is not None
        self._transport.finish(self._reply)
        self._reply = None
        if self._hash.hexdigest() != self._digest.encoded:
            raise IntegrityError(f"{self._request.action}: what came has another digest")

    def close(self) -> None:
        """Let go of the connection."""
        reply, self._reply = getattr(self, "_reply", None), None
        if reply is not None:
            self._transport.finish(reply)
        super().close()


class _Source:
    """A blob's content to send: read once from its start, opened anew only to go back."""

    def __init__(self, descriptor: Descriptor, body: OpenBody, action: str) -> None:
        self._descriptor = descriptor
        self._body = body
        self._action = action
        self._stream: BinaryIO | None = None
        self._position = 0
        self._hash = hashlib.new(descriptor.digest.algorithm)

    def blocks(self, start: int, size_bytes: int) -> Iterator[bytes]:
        """Yield the bytes from ``start``; raise IntegrityError before the blob's last one if they are not its content.

        What is skipped is hashed too: content that changed never completes an upload.
        """
        if self._stream is None or self._position > start:
            self._open()
        while self._position < start:
            self._next(start - self._position)
        end = start + size_bytes
        if self._descriptor.size_bytes == 0:
            self._check()
        while self._position < end:
            yield self._next(end - self._position)

    def close(self) -> None:
        """Close the content."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _open(self) -> None:
        self.close()
        with self._readable():
            self._stream = self._body()
        self._position = 0
        self._hash = hashlib.new(self._descriptor.digest.algorithm)

    def _next(self, limit_bytes: int) -> bytes:
        assert self._stream is not None
        with self._readable():
            block = self._stream.read(min(_BLOCK_BYTES, limit_bytes))
        if not block:
            raise self._changed("is shorter than its descriptor says")
        self._hash.update(block)
        self._position += len(block)
        if self._position == self._descriptor.size_bytes:
            self._check()
        return block

    def _check(self) -> None:
        assert self._stream is not None
        if self._stream.read(1):
            raise self._changed("is longer than its descriptor says")
        if self._hash.hexdigest() != self._descriptor.digest.encoded:
            raise self._changed("has another digest than its descriptor says")

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        """Keep what goes wrong with the content apart from what goes wrong with the registry."""
        try:
            yield
        except OSError as error:
            path = str(error.filename or "")
            raise InputChanged(f"{self._action}: the content cannot be read: {error}", path=path) from error

    def _changed(self, what: str) -> IntegrityError:
        return IntegrityError(f"{self._action}: the content {what}", hint="it changed while it was read; build again")


class Upload:
    """One blob on its way into a repository."""

    def __init__(
        self, transport: Transport, repository: Repository, descriptor: Descriptor, body: OpenBody, attempts: Attempts
    ) -> None:
        self._transport = transport
        self._repository = repository
        self._descriptor = descriptor
        self._action = f"upload blob {descriptor.digest} to {repository}"
        self._source = _Source(descriptor, body, self._action)
        self._attempts = attempts
        self._location = ""
        self._start = 0
        self._chunk_bytes = 0

    def run(self) -> None:
        """Send the blob: whole, then from where a cut upload stands, then anew; raise when the attempts are used up."""
        try:
            while not self._sent():
                if self._is_there():
                    break
                self._resume()
        except ImageSpecError:  # not on Ctrl-C, which must not wait for a registry
            self._drop()
            raise
        finally:
            self._source.close()

    def _sent(self) -> bool:
        """Return whether the blob was sent; False when another try may help, after the wait before it."""
        try:
            self._try()
        except RegistryError as error:
            self._recover(error)
            return False
        return True

    def _try(self) -> None:
        if not self._location:
            answer = self._once(api.start_upload(self._repository))
            self._moved(answer)
            if self._chunk_bytes:
                self._chunk_bytes = max(self._chunk_bytes, _least_chunk(answer))
        while self._chunk_bytes and self._start < self._descriptor.size_bytes:
            self._send_chunk(min(self._chunk_bytes, self._descriptor.size_bytes - self._start))
        size = self._descriptor.size_bytes - self._start
        request = api.send_whole(self._repository, self._location, self._descriptor, size_bytes=size)
        if self._start and size:
            request = request.with_header("Content-Range", f"{self._start}-{self._descriptor.size_bytes - 1}")
        answer = self._transport.once(request, self._attempts, lambda: self._source.blocks(self._start, size))
        self._check(request, answer)

    def _send_chunk(self, size_bytes: int) -> None:
        request = api.send_chunk(self._repository, self._location, start=self._start, size_bytes=size_bytes)
        answer = self._transport.once(request, self._attempts, lambda: self._source.blocks(self._start, size_bytes))
        self._moved(answer)
        arrived = uploaded_bytes(answer) or self._start + size_bytes
        if not self._start < arrived <= self._start + size_bytes:
            raise ProtocolViolation(f"{self._action}: the registry says that {arrived} bytes have arrived")
        self._start = arrived

    def _check(self, request: api.Request, answer: Answer) -> None:
        told = content_digest(request, answer)
        wanted = self._descriptor.digest
        if told is not None and told.algorithm == wanted.algorithm and told != wanted:
            raise IntegrityError(f"{self._action}: the registry stored {told}")

    def _recover(self, error: RegistryError) -> None:
        """Prepare another try after ``error``, or raise it."""
        if error.status == 413 and not self._chunk_bytes:  # a proxy's limit on one body: smaller ones pass
            self._drop()
            self._chunk_bytes = _CHUNK_BYTES
            return
        session_is_bad = bool(self._location) and error.status in (400, 404, 416)
        self._attempts.after(error, even_if_final=session_is_bad)
        if session_is_bad:
            self._drop()

    def _is_there(self) -> bool:
        """Return whether only the answer was lost: the blob may be complete."""
        if not self._location:
            return False
        try:
            answer = self._once(api.head_blob(self._repository, self._descriptor.digest, push=True))
        except RegistryError:
            return False
        return answer.status == 200

    def _resume(self) -> None:
        """Find out where the upload stands; start anew where the registry cannot tell."""
        if not self._location:
            return
        try:
            answer = self._once(api.upload_status(self._repository, self._location))
        except RegistryError:
            self._drop()
            return
        arrived = uploaded_bytes(answer)
        if arrived is None or arrived > self._descriptor.size_bytes:
            self._drop()
            return
        if arrived - self._start >= _BLOCK_BYTES:
            self._attempts.renew()
        self._location = answer.header("location") or self._location
        self._start = arrived

    def _once(self, request: api.Request) -> Answer:
        return self._transport.once(request, self._attempts)

    def _moved(self, answer: Answer) -> None:
        """Go on at the place that the registry names, which may change with every answer."""
        location = answer.header("location")
        if not location:
            raise ProtocolViolation(f"{self._action}: the registry names no place for it", status=answer.status)
        self._location = location

    def _drop(self) -> None:
        """Leave nothing half sent behind, as far as the registry listens."""
        location, self._location, self._start = self._location, "", 0
        if location:
            with contextlib.suppress(ImageSpecError):  # why it is dropped is the error to show
                self._once(api.cancel_upload(self._repository, location))


def _least_chunk(answer: Answer) -> int:
    text = answer.header("oci-chunk-min-length").strip()
    return int(text) if text.isdigit() else 0
