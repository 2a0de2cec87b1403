"""A registry that misbehaves by script: a real socket, raw bytes, and a record of what was asked."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

__all__ = ["Conversation", "Move", "Scripted", "SlidingClock", "answer", "cut", "raw", "stall", "trickle"]


class Conversation:
    """One request on one connection, for a move to act on; ``body`` is what has come of it."""

    def __init__(self, sock: socket.socket, head: bytes, rest: bytes) -> None:
        line, *fields = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = line.split(" ", 2)
        self.headers = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in fields)}
        self._sock = sock
        self._rest = rest
        self.body = b""

    @property
    def length(self) -> int:
        return int(self.headers.get("content-length", "0"))

    def receive(self, size_bytes: int | None = None) -> None:
        """Read the body up to ``size_bytes`` of it, or to its end."""
        wanted = self.length if size_bytes is None else min(size_bytes, self.length)
        parts = [self.body, self._rest[: wanted - len(self.body)]]
        have = sum(map(len, parts))
        while have < wanted:
            block = self._sock.recv(min(1 << 16, wanted - have))
            if not block:
                break
            parts.append(block)
            have += len(block)
        self.body = b"".join(parts)

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def reset(self) -> None:
        """End the connection with RST, as a crash does."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()


Move: TypeAlias = Callable[[Conversation], bool]
"""Acts on a request; returns whether the connection goes on."""


def answer(status: int, headers: Mapping[str, str] | None = None, body: bytes = b"", *, length: int = -1) -> Move:
    """Answer properly; ``length`` is a Content-Length that lies."""

    def act(talk: Conversation) -> bool:
        talk.receive()
        size = length if length >= 0 else len(body)
        fields = {"Content-Length": str(size), **(headers or {})}
        head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n"
        talk.send(head.encode("latin-1") + (b"" if talk.method == "HEAD" else body))
        return size == len(body) or talk.method == "HEAD"

    return act


def raw(data: bytes) -> Move:
    """Send these bytes and close."""

    def act(talk: Conversation) -> bool:
        talk.receive()
        talk.send(data)
        return False

    return act


def cut(after_bytes: int = 0, *, reset: bool = True) -> Move:
    """Take so many bytes of the body, and end the connection without an answer."""

    def act(talk: Conversation) -> bool:
        talk.receive(after_bytes)
        if reset:
            talk.reset()
        return False

    return act


def stall(seconds: float = 30.0) -> Move:
    """Say nothing until the other side gives up, or for so long."""

    def act(talk: Conversation) -> bool:
        talk.receive()
        _wait_for_end(talk, seconds)
        return False

    return act


def trickle(data: bytes, *, every_s: float = 0.02) -> Move:
    """Send byte after byte, so that no single read ever times out."""

    def act(talk: Conversation) -> bool:
        talk.receive()
        for byte in data:
            talk.send(bytes([byte]))
            time.sleep(every_s)
        return False

    return act


def _wait_for_end(talk: Conversation, seconds: float) -> None:
    talk._sock.settimeout(seconds)
    with contextlib.suppress(OSError):
        talk._sock.recv(1)


class Scripted:
    """Serves ``moves`` one after another, request by request, whatever the connection; then ``then`` for ever."""

    def __init__(self, moves: Iterable[Move] = (), then: Move | None = None, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._moves = list(moves)
        self._then = then or answer(500, {}, b"the script is over")
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._socks: set[socket.socket] = set()
        self.asked: list[Conversation] = []
        self.connections = 0

    @property
    def host(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self._server.getsockname()[1]}"

    def __enter__(self) -> Scripted:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        with self._lock:
            socks = list(self._socks)
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            with self._lock:
                self._socks.add(sock)
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.enter_context(sock)
            if self._tls is not None:
                sock = stack.enter_context(self._tls.wrap_socket(sock, server_side=True))
                with self._lock:
                    self._socks.add(sock)
            rest = b""
            while True:
                while b"\r\n\r\n" not in rest:
                    block = sock.recv(1 << 16)
                    if not block:
                        return
                    rest += block
                head, _, rest = rest.partition(b"\r\n\r\n")
                talk = Conversation(sock, head, rest)
                if not self._next(talk)(talk):
                    return
                rest = rest[talk.length :]

    def _next(self, talk: Conversation) -> Move:
        with self._lock:
            self.asked.append(talk)
            return self._moves.pop(0) if self._moves else self._then


class SlidingClock:
    """Real time plus what was slept: nothing waits, and everything is counted."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def now(self) -> float:
        """Return seconds, as time.monotonic does."""
        return time.monotonic() + sum(self.slept)

    def sleep(self, seconds: float) -> None:
        """Let the clock go on by ``seconds``."""
        with self._lock:
            self.slept.append(seconds)
