"""Kept-alive HTTP/1.1 connections, pooled by origin: the only place where sockets are opened.

The standard library's client is used as it is: it is a third faster than urllib3 here and half as long to import,
and its socket is at hand, so that a deadline holds for an answer that trickles in byte by byte.
"""

from __future__ import annotations

import base64
import contextlib
import io
import select
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

from imagespec.registry.hosts import Network, Origin

if TYPE_CHECKING:
    import http.client
    import ssl

__all__ = ["Connection", "Connections", "Reply"]

_BLOCK_BYTES = 1 << 20


class _DeadlineReader(io.RawIOBase):
    """Reads a socket; each read waits at most ``read_s`` seconds, all together end at the connection's deadline."""

    def __init__(self, connection: Connection, sock: socket.socket) -> None:
        self._connection = connection
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._connection.arm(self._sock)
        count = self._raw.readinto(buffer)
        self.ended = count == 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _DeadlineSocket:
    """What ``http.client.HTTPResponse`` needs of a socket: a file to read from."""

    def __init__(self, reader: _DeadlineReader) -> None:
        self._reader = reader

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._reader, 64 * 1024)


class Connection:
    """One connection to an origin; ``fresh`` until its first answer has come."""

    def __init__(
        self, client: http.client.HTTPConnection, origin: Origin, read_s: float, clock: Callable[[], float]
    ) -> None:
        self._client = client
        self._read_s = read_s
        self._clock = clock
        self._deadline = 0.0
        self._sock: socket.socket | None = None
        self._reader: _DeadlineReader | None = None
        self.origin = origin
        self.fresh = True
        self.absolute_targets = False
        self.proxy_headers: Mapping[str, str] = {}
        client.response_class = cast("Any", self._response)

    def _response(self, sock: socket.socket, *_: Any, method: str | None = None) -> http.client.HTTPResponse:
        import http.client

        self._reader = _DeadlineReader(self, sock)
        return http.client.HTTPResponse(cast("Any", _DeadlineSocket(self._reader)), method=method)

    def set_deadline(self, deadline: float) -> None:
        """End every wait from now on at ``deadline`` of the clock."""
        self._deadline = deadline

    def arm(self, sock: socket.socket | None) -> None:
        """Give the next read or write on ``sock`` its time limit; raise TimeoutError when the deadline is over."""
        remaining = self._deadline - self._clock()
        if sock is None or remaining <= 0:
            raise TimeoutError("the time for the whole operation is over")
        sock.settimeout(min(self._read_s, remaining))

    def connect(self) -> None:
        """Open the socket (and TLS); raise OSError."""
        self._client.connect()
        self._sock = self._client.sock

    def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes | Iterable[bytes]) -> None:
        """Send a request; raise OSError. ``headers`` must have Content-Length when ``body`` is an iterable."""
        self.arm(self._sock)
        path = f"{self.origin}{target}" if self.absolute_targets else target
        self._client.putrequest(method, path, skip_accept_encoding=True)
        for name, value in {**headers, **self.proxy_headers}.items():
            self._client.putheader(name, value)
        if isinstance(body, bytes):
            self._client.endheaders(body or None)
            return
        self._client.endheaders()
        for block in body:
            self.arm(self._sock)
            self._client.send(block)

    def answer(self) -> Reply:
        """Return the answer's head, its body still to be read; raise OSError or http.client.HTTPException."""
        response = self._client.getresponse()
        if self._reader is not None and self._reader.ended:  # the library takes half a head for a whole one
            response.close()
            raise ConnectionResetError("the answer ended within its head")
        return Reply(response, self)

    def is_dropped(self) -> bool:
        """Return whether the other side closed it, or sent something nobody asked for."""
        try:
            poll = select.poll()
            poll.register(self._client.sock, select.POLLIN)
            return bool(poll.poll(0))
        except (OSError, ValueError, TypeError, AttributeError):
            return True

    def shut(self) -> None:
        """Wake up whoever waits on the socket: their call ends with an error."""
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket."""
        self._client.close()


class Reply:
    """An answer whose body is read by the caller, who must ``close`` it or read it to its end."""

    def __init__(self, response: http.client.HTTPResponse, connection: Connection) -> None:
        self._response = response
        self._left_bytes = response.length
        self.connection = connection
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}

    def read_into(self, buffer: memoryview) -> int:
        """Fill ``buffer`` from the body and return the number of bytes, 0 at its end; raise on a body cut short."""
        count = self._response.readinto(buffer)
        self._account(count, asked=len(buffer))
        return count

    def read(self, size_bytes: int) -> bytes:
        """Return up to ``size_bytes`` of the body, less only at its end; raise on a body that is cut short."""
        data = self._response.read(size_bytes)
        self._account(len(data), asked=size_bytes)
        if self._left_bytes and len(data) < size_bytes:
            self._account(0, asked=1)
        return data

    def _account(self, count: int, *, asked: int) -> None:
        if self._left_bytes is None:
            return
        self._left_bytes -= count
        if count == 0 and asked and self._left_bytes > 0:
            raise ConnectionResetError(f"the answer ended {self._left_bytes} bytes early")

    @property
    def is_reusable(self) -> bool:
        """Whether the body was read to its end and the connection may serve another request."""
        return self._response.isclosed() and not self._response.will_close

    def close(self) -> None:
        """Let go of the body."""
        self._response.close()


class Connections:
    """The pool: at most as many idle connections to an origin as its registry's ``concurrency`` says."""

    def __init__(self, network: Network, clock: Callable[[], float]) -> None:
        self._network = network
        self._clock = clock
        self._lock = threading.Lock()
        self._idle: dict[Origin, list[Connection]] = {}
        self._live: set[Connection] = set()
        self._contexts: dict[str | None, ssl.SSLContext] = {}
        self._closed = False

    def take(self, origin: Origin, ca_file: str | None, deadline: float, *, fresh: bool = False) -> Connection:
        """Return a connection to ``origin``, idle or new; raise OSError when it cannot be made by ``deadline``."""
        while not fresh and (connection := self._pop(origin)) is not None:
            if not connection.is_dropped():
                connection.set_deadline(deadline)
                return connection
            self.drop(connection)
        connection = self._new(origin, ca_file, deadline - self._clock())
        connection.set_deadline(deadline)
        with self._lock:
            if self._closed:
                raise ConnectionAbortedError("the registry client is closed")
            self._live.add(connection)
        try:
            connection.connect()
        except BaseException:
            self.drop(connection)
            raise
        return connection

    def _pop(self, origin: Origin) -> Connection | None:
        with self._lock:
            idle = self._idle.get(origin)
            return idle.pop() if idle else None

    def give_back(self, connection: Connection, keep: int) -> None:
        """Keep ``connection`` for the next request, up to ``keep`` of its origin."""
        connection.fresh = False
        with self._lock:
            idle = self._idle.setdefault(connection.origin, [])
            if not self._closed and len(idle) < keep:
                idle.append(connection)
                return
        self.drop(connection)

    def drop(self, connection: Connection) -> None:
        """Close a connection that is of no more use."""
        with self._lock:
            self._live.discard(connection)
        connection.close()

    def close(self) -> None:
        """Close every idle connection and break off every busy one; no new one can be made."""
        with self._lock:
            self._closed = True
            idle = [connection for pool in self._idle.values() for connection in pool]
            busy = self._live - set(idle)
            self._idle.clear()
        for connection in busy:
            connection.shut()
        for connection in idle:
            self.drop(connection)

    def _new(self, origin: Origin, ca_file: str | None, remaining_s: float) -> Connection:
        import http.client

        limits = self._network.limits
        timeout = min(limits.connect_s, remaining_s)
        if timeout <= 0:
            raise TimeoutError("the time for the whole operation is over")
        proxy = self._network.proxies.of(origin)
        address = Origin.of_url(proxy) if proxy else origin
        client: http.client.HTTPConnection
        if origin.scheme == "https":
            client = http.client.HTTPSConnection(
                address.host, address.port, timeout=timeout, blocksize=_BLOCK_BYTES, context=self._context(ca_file)
            )
        else:
            client = http.client.HTTPConnection(address.host, address.port, timeout=timeout, blocksize=_BLOCK_BYTES)
        connection = Connection(client, origin, limits.read_s, self._clock)
        if proxy and origin.scheme == "https":
            client.set_tunnel(origin.host, origin.port, headers=_proxy_headers(proxy))
        elif proxy:
            connection.absolute_targets = True
            connection.proxy_headers = _proxy_headers(proxy)
        return connection

    def _context(self, ca_file: str | None) -> ssl.SSLContext:
        """Return the TLS settings for one extra CA bundle; loading one takes long, so it is done once."""
        import ssl

        with self._lock:
            if ca_file not in self._contexts:
                context = ssl.create_default_context()
                for extra in {ca_file, self._network.ca_file} - {None}:
                    context.load_verify_locations(cafile=extra)
                self._contexts[ca_file] = context
            return self._contexts[ca_file]


def _proxy_headers(proxy: str) -> dict[str, str]:
    parts = urlsplit(proxy)
    if not parts.username:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair).decode()}"}
