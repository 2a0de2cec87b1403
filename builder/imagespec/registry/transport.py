"""Sends requests: authorization, redirects, and the one place where anything is tried again.

Nothing else in the package sleeps or repeats: an operation of several requests shares one ``Attempts``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import TypeAlias
from urllib.parse import quote, urljoin, urlsplit

from imagespec.errors import (
    Cancelled,
    ImageSpecError,
    ProtocolViolation,
    RegistryError,
    RegistryUnreachable,
    RegistryUntrusted,
)
from imagespec.patterns import lazy_pattern
from imagespec.registry.answers import Answer, failure, redacted, wait_s
from imagespec.registry.api import Request
from imagespec.registry.auth import CredentialSource, refused
from imagespec.registry.connections import Connection, Connections, Reply
from imagespec.registry.hosts import Limits, Network, Origin, is_private
from imagespec.registry.tokens import Authorization, Authorizer
from imagespec.registry.wire import MalformedAnswer
from imagespec.values import replace

__all__ = ["Attempts", "OpenBlocks", "Transport"]

OpenBlocks: TypeAlias = Callable[[], Iterable[bytes]]
"""Gives the blocks of a request's body, from its start, each time it is called."""

_MAX_BODY_BYTES = 32 << 20
_MAX_REDIRECTS = 5
_MAX_IDLE = 64
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_USER_AGENT = "imagespec"
_CONNECTION_ERRORS = (OSError, MalformedAnswer)
# OpenSSL names its own sources around what it has to say.
_SSL_SOURCE = lazy_pattern(r"^\[[A-Z0-9_: ]+\] | \(_ssl\.c:\d+\)$")
_FINAL_TLS_ERRORS = ("CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER")


class Attempts:
    """What one operation may still spend: attempts and seconds."""

    def __init__(
        self,
        limits: Limits,
        size_bytes: int,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        jitter: Callable[[], float],
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self.count = 1
        self.deadline = clock() + self._limits.operation_s + size_bytes / self._limits.slowest_bytes_s

    def renew(self) -> None:
        """Count anew: the last attempt brought something. The time allowed stays what it was."""
        self.count = 1

    def after(self, error: RegistryError, *, even_if_final: bool = False) -> None:
        """Wait as long as ``error`` calls for; raise it when asking again cannot help or is not allowed any more.

        ``even_if_final`` says that the next attempt will be another one, which the same answer does not concern.
        """
        wait = wait_s(
            self._limits,
            attempt=self.count,
            remaining_s=self.deadline - self._clock(),
            jitter=self._jitter(),
            error=error,
            transient=error.transient or even_if_final,
        )
        if wait is None:
            raise error
        self._sleep(wait)
        self.count += 1


class Transport:
    """Requests in, answers out, over pooled connections with the right credentials."""

    def __init__(
        self,
        *,
        network: Network,
        credentials: CredentialSource,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] | None = None,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        self.network = network
        self._clock = clock
        self._closing = threading.Event()
        self._sleep = sleep if sleep is not None else self._pause
        self._jitter = jitter or _random
        self._connections = Connections(network, clock)
        self._authorizer = Authorizer(network.hosts, credentials, clock)
        self._homes: dict[str, Origin] = {}
        self._gates: dict[str, threading.BoundedSemaphore] = {}
        self._gates_lock = threading.Lock()

    def _pause(self, seconds: float) -> None:
        self._closing.wait(seconds)

    def close(self) -> None:
        """Break off everything under way; nothing can be asked afterwards."""
        self._closing.set()
        self._connections.close()

    def attempts(self, size_bytes: int = 0) -> Attempts:
        """Return the allowance of a new operation that moves ``size_bytes`` bytes."""
        return Attempts(self.network.limits, size_bytes, self._clock, self._sleep, self._jitter)

    def attempts_to_settle(self) -> Attempts:
        """Return the allowance for reading back what was written."""
        limits = replace(self.network.limits, attempts=self.network.limits.settle_attempts)
        return Attempts(limits, 0, self._clock, self._sleep, self._jitter)

    def exchange(self, request: Request, attempts: Attempts | None = None) -> Answer:
        """Return the complete answer to ``request``, one of its expected statuses, after as many attempts as allowed.

        Raise the RegistryError that any other answer, or none, means.
        """
        attempts = attempts or self.attempts()
        while True:
            try:
                return self.once(request, attempts)
            except RegistryError as error:
                if not request.repeatable:
                    raise
                attempts.after(error)

    def once(self, request: Request, attempts: Attempts, blocks: OpenBlocks | None = None) -> Answer:
        """Return the answer to ``request`` sent once (twice when the registry asks who we are); raise RegistryError."""
        with self._gate(request.registry):
            reply, sent = self._authorized(request, attempts.deadline, blocks)
            answer = self._complete(request, reply)
        if answer.status not in request.expected:
            raise failure(request, answer, str(reply.connection.origin) + request.target, _secrets(sent))
        return answer

    def open(self, request: Request, attempts: Attempts) -> Reply:
        """Return the answer to ``request`` with its body unread, sent once, redirects followed; raise RegistryError."""
        reply, sent = self._authorized(request, attempts.deadline, None)
        if reply.status in request.expected:
            return reply
        answer = self._complete(request, reply)
        raise failure(request, answer, str(reply.connection.origin) + request.target, _secrets(sent))

    def read(self, request: Request, reply: Reply, buffer: memoryview) -> int:
        """Fill ``buffer`` from an open answer and return the number of bytes, 0 at the end; raise RegistryError."""
        try:
            return reply.read_into(buffer)
        except _CONNECTION_ERRORS as error:
            self.finish(reply)
            raise self._unreachable(request, reply.connection.origin, error) from error

    def finish(self, reply: Reply) -> None:
        """Let go of an open answer: its connection is kept when the body was read to the end."""
        if reply.is_reusable:
            self._connections.give_back(reply.connection, _MAX_IDLE)
        else:
            self._connections.drop(reply.connection)

    def _home(self, registry: str) -> Origin:
        """Return where ``registry`` is spoken to; worked out once."""
        home = self._homes.get(registry)
        if home is None:
            home = self._homes[registry] = self.network.hosts.origin(registry)
        return home

    def _gate(self, registry: str) -> threading.BoundedSemaphore:
        with self._gates_lock:
            if registry not in self._gates:
                limit = self.network.hosts.of(registry).concurrency
                self._gates[registry] = threading.BoundedSemaphore(limit)
            return self._gates[registry]

    def _authorized(
        self, request: Request, deadline: float, blocks: OpenBlocks | None
    ) -> tuple[Reply, Authorization | None]:
        def fetch(asking: Request) -> Answer:
            return self._fetch(asking, deadline)

        sent = self._authorizer.present(request, fetch)
        reply = self._follow(request, deadline, blocks, sent)
        for _ in range(2):  # a second time for a token that was remembered, but ended early
            if reply.status != 401:
                break
            refusal = self._complete(request, reply)
            known, sent = sent, self._authorizer.renew(request, refusal, sent, fetch)
            reply = self._follow(request, deadline, blocks, sent)
            if reply.status == 401 and known is None:
                raise refused(request, self._complete(request, reply), had_credential=True)
        return reply, sent

    def _fetch(self, asking: Request, deadline: float) -> Answer:
        """Return the answer of a token service, whatever it is; raise what another attempt may help."""
        origin, path = Origin.of_url(asking.target), _path_of(asking.target)
        answer = self._complete(asking, self._send(asking, origin, path, deadline, None, {}))
        if answer.status not in asking.expected and (error := failure(asking, answer, asking.target)).transient:
            raise error
        return answer

    def _follow(
        self, request: Request, deadline: float, blocks: OpenBlocks | None, authorization: Authorization | None
    ) -> Reply:
        home = self._home(request.registry)
        url = f"{home}{request.target}"
        if not (request.target.startswith("/v2/") and request.target.isascii()):  # a place that the registry named
            url = self._absolute(request, home, request.target)
        for _ in range(_MAX_REDIRECTS + 1):
            origin = Origin.of_url(url)
            headers = {"Authorization": authorization.header} if authorization and origin == home else {}
            reply = self._send(request, origin, _path_of(url), deadline, blocks, headers)
            location = reply.headers.get("location", "")
            if not location or reply.status not in (_REDIRECTS if request.method in ("GET", "HEAD") else {307, 308}):
                return reply
            self._complete(request, reply)
            url = self._absolute(request, home, urljoin(url, location))
        raise ProtocolViolation(f"{request.action}: more than {_MAX_REDIRECTS} redirects", url=redacted(url))

    def _absolute(self, request: Request, home: Origin, target: str) -> str:
        """Return ``target`` as a URL that may be asked; raise ProtocolViolation for a way down in safety.

        A registry behind a proxy that ends TLS often names itself with http: it is asked with its own scheme.
        """
        url = quote(urljoin(f"{home}/", target), safe="%/:=&?~#+!$,;'@()*[]")
        origin = Origin.of_url(url)
        if home.scheme == "https" and origin.scheme == "http" and origin.host == home.host:
            return f"{home}{_path_of(url)}"
        if origin.scheme == "http" and not self.network.hosts.may_be_plain(origin):
            raise ProtocolViolation(f"{request.action}: sent on to {origin}, which is not https", url=redacted(url))
        if origin != home and is_private(origin.host) and not is_private(home.host):
            raise ProtocolViolation(f"{request.action}: sent on to a private address, {origin}", url=redacted(url))
        return url

    def _send(
        self,
        request: Request,
        origin: Origin,
        path: str,
        deadline: float,
        blocks: OpenBlocks | None,
        extra: dict[str, str],
    ) -> Reply:
        """Return the head of the answer; a kept-alive connection that turns out to be dead is replaced at once."""
        headers = {"User-Agent": _USER_AGENT, **dict(request.headers), **extra}
        if request.body:
            headers["Content-Length"] = str(len(request.body))
        fresh = False
        while True:
            connection = self._connect(request, origin, deadline, fresh=fresh)
            try:
                body = blocks() if blocks is not None else request.body
                return self._round_trip(connection, request, path, headers, body)
            except _CONNECTION_ERRORS as error:
                self._connections.drop(connection)
                if connection.fresh or not request.repeatable or isinstance(error, TimeoutError):
                    raise self._unreachable(request, origin, error) from error
                fresh = True
            except BaseException:
                self._connections.drop(connection)
                raise

    def _round_trip(
        self,
        connection: Connection,
        request: Request,
        path: str,
        headers: dict[str, str],
        body: bytes | Iterable[bytes],
    ) -> Reply:
        try:
            connection.send(request.method, path, headers, body)
        except (BrokenPipeError, ConnectionResetError):
            if isinstance(body, bytes):
                raise
            # the registry may have answered (401, 413) and closed before it had read everything
        return connection.answer(request.method)

    def _connect(self, request: Request, origin: Origin, deadline: float, *, fresh: bool) -> Connection:
        if self._closing.is_set():
            raise Cancelled(f"{request.action}: stopped")
        ca_file = self.network.hosts.of(request.registry).ca_file
        try:
            return self._connections.take(origin, ca_file, deadline, fresh=fresh)
        except _CONNECTION_ERRORS as error:
            raise self._unreachable(request, origin, error) from error

    def _complete(self, request: Request, reply: Reply) -> Answer:
        """Return the whole answer, its connection given back; raise ProtocolViolation when its body has no end."""
        try:
            body = reply.read(_MAX_BODY_BYTES + 1)
        except _CONNECTION_ERRORS as error:
            raise self._unreachable(request, reply.connection.origin, error) from error
        finally:
            self.finish(reply)
        if len(body) > _MAX_BODY_BYTES:
            raise ProtocolViolation(f"{request.action}: the answer has more than {_MAX_BODY_BYTES >> 20} MB")
        return Answer(status=reply.status, headers=reply.headers, body=body)

    def _unreachable(self, request: Request, origin: Origin, error: BaseException) -> ImageSpecError:
        if self._closing.is_set():
            return Cancelled(f"{request.action}: stopped")
        kind: type[RegistryError] = RegistryUnreachable
        if isinstance(error, MalformedAnswer):
            kind = ProtocolViolation
        elif any(sign in str(error) for sign in _FINAL_TLS_ERRORS):
            kind = RegistryUntrusted
        return kind(
            f"{request.action}: no answer from {origin}: {_why(error)}",
            action=request.action,
            url=str(origin),
            hint=_way_out(origin, error),
        )


def _random() -> float:
    import random

    return random.random()


def _secrets(sent: Authorization | None) -> tuple[str, ...]:
    return sent.secrets if sent else ()


def _path_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    system = error.strerror if isinstance(error, OSError) else None
    text = _SSL_SOURCE.sub("", system or str(error)).strip() or type(error).__name__
    return text[0].lower() + text[1:] if text.isprintable() else type(error).__name__


def _way_out(origin: Origin, error: BaseException) -> str:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "name the site's CA bundle in IMAGESPEC_CA_BUNDLE, or in the registry's 'ca' setting"
    if "WRONG_VERSION_NUMBER" in text or "record layer failure" in text:
        return f"it speaks plain HTTP: list {origin.authority} in IMAGESPEC_INSECURE if that is meant"
    return "check the name, the network and the proxy settings"
