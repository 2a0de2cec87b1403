"""Kept-alive connections, pooled by origin: the only place where sockets are opened.

They speak HTTP/1.1 through ``wire``; TLS, proxies and time limits are made here.
"""

from __future__ import annotations

import base64
import contextlib
import select
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from imagespec.registry.hosts import Network, Origin
from imagespec.registry.wire import Body, Source, head_of, request_head

if TYPE_CHECKING:
    import ssl

__all__ = ["Connection", "Connections", "Reply"]

_SMALL_BYTES = 64 * 1024


class Connection:
    """One connection to an origin; ``fresh`` until its first answer has come."""

    def __init__(self, origin: Origin, read_s: float, clock: Callable[[], float]) -> None:
        self._read_s = read_s
        self._clock = clock
        self._deadline = 0.0
        self._sock: socket.socket | None = None
        self._source = Source(self._receive_into)
        self.origin = origin
        self.fresh = True
        self.absolute_targets = False
        self.proxy_headers: Mapping[str, str] = {}

    def set_deadline(self, deadline: float) -> None:
        """End every wait from now on at ``deadline`` of the clock."""
        self._deadline = deadline

    def _armed(self, limit_s: float) -> socket.socket:
        """Return the socket with its time limit set; raise TimeoutError when the deadline is over."""
        remaining = self._deadline - self._clock()
        if remaining <= 0:
            raise TimeoutError("the time for the whole operation is over")
        if self._sock is None:
            raise ConnectionAbortedError("the connection is closed")
        self._sock.settimeout(min(limit_s, remaining))
        return self._sock

    def _receive_into(self, buffer: memoryview) -> int:
        return self._armed(self._read_s).recv_into(buffer)

    def connect(self, address: Origin, connect_s: float) -> None:
        """Open the socket to ``address``, the origin itself or a proxy; raise OSError."""
        # As text, a name is taken for an international one first, and the tables for those are loaded.
        host = address.host.encode() if address.host.isascii() else address.host
        found = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM)
        until = self._clock() + min(connect_s, self._deadline - self._clock())
        error: OSError = TimeoutError("the time for the whole operation is over")
        for left, (family, kind, protocol, _, target) in zip(range(len(found), 0, -1), found, strict=True):
            self._sock = socket.socket(family, kind, protocol)
            try:
                # addresses share the time, so that a dead first one leaves some for the others
                self._armed((until - self._clock()) / left).connect(target)
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return
            except OSError as raised:
                error = raised
                self.close()
        raise error

    def tunnel(self, headers: Mapping[str, str]) -> None:
        """Let the proxy at the other end connect us to the origin; raise OSError when it does not."""
        host = f"[{self.origin.host}]" if ":" in self.origin.host else self.origin.host
        target = f"{host}:{self.origin.port}"
        self._armed(self._read_s).sendall(request_head("CONNECT", target, {"Host": target, **headers}))
        head = head_of(self._source)
        if head.status != 200:
            raise ConnectionRefusedError(f"the proxy answered {head.status} instead of connecting")

    def secure(self, context: ssl.SSLContext, connect_s: float) -> None:
        """Speak TLS from now on; raise OSError (ssl.SSLError) when the other side cannot or is not trusted."""
        self._sock = context.wrap_socket(self._armed(connect_s), server_hostname=self.origin.host)

    def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes | Iterable[bytes]) -> None:
        """Send a request; raise OSError. ``headers`` must have Content-Length when there is a body."""
        url = f"{self.origin}{target}" if self.absolute_targets else target
        head = request_head(method, url, {"Host": self.origin.authority, **headers, **self.proxy_headers})
        for block in [body] if isinstance(body, bytes) else body:
            if head and len(block) < _SMALL_BYTES:  # in one piece, which wakes the other side once
                block, head = head + block, b""
            elif head:
                self._armed(self._read_s).sendall(head)
                head = b""
            self._armed(self._read_s).sendall(block)
        if head:
            self._armed(self._read_s).sendall(head)

    def answer(self, method: str) -> Reply:
        """Return the answer's head, its body still to be read; raise OSError or MalformedAnswer."""
        return Reply(self, Body(self._source, head_of(self._source), method))

    def is_dropped(self) -> bool:
        """Return whether the other side closed it, or sent something nobody asked for."""
        if self._sock is None or self._source.has_more:
            return True
        try:
            poll = select.poll()
            poll.register(self._sock, select.POLLIN)
            return bool(poll.poll(0))
        except (OSError, ValueError):
            return True

    def shut(self) -> None:
        """Wake up whoever waits on the socket: their call ends with an error."""
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket."""
        if self._sock is not None:
            self._sock.close()


class Reply:
    """An answer whose body is read by the caller, and then given back with its connection."""

    def __init__(self, connection: Connection, body: Body) -> None:
        self._body = body
        self.connection = connection
        self.status = body.head.status
        self.headers = body.head.headers

    def read_into(self, buffer: memoryview) -> int:
        """Fill ``buffer`` from the body and return the number of bytes, 0 at its end; raise on a body cut short."""
        return self._body.read_into(buffer)

    def read(self, limit_bytes: int) -> bytes:
        """Return the body, at most ``limit_bytes`` of it; raise on a body that is cut short."""
        return self._body.read(limit_bytes)

    @property
    def is_reusable(self) -> bool:
        """Whether the body was read to its end and the connection may serve another request."""
        return self._body.ended and self._body.head.keeps_alive


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
        connection = Connection(origin, self._network.limits.read_s, self._clock)
        connection.set_deadline(deadline)
        with self._lock:
            if self._closed:
                raise ConnectionAbortedError("the registry client is closed")
            self._live.add(connection)
        try:
            self._open(connection, ca_file)
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

    def _open(self, connection: Connection, ca_file: str | None) -> None:
        origin, connect_s = connection.origin, self._network.limits.connect_s
        proxy = self._network.proxies.of(origin)
        connection.connect(Origin.of_url(proxy) if proxy else origin, connect_s)
        if proxy and origin.scheme == "https":
            connection.tunnel(_proxy_headers(proxy))
        elif proxy:
            connection.absolute_targets = True
            connection.proxy_headers = _proxy_headers(proxy)
        if origin.scheme == "https":
            connection.secure(self._context(ca_file), connect_s)

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
