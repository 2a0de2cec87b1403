"""Servers that the bench needs: a line that is 40 ms long, a registry that takes any blob and keeps none, a counter.

``python servers.py delay HOST:PORT SECONDS``, ``sink`` or ``count HOST:PORT`` prints its port and serves until it is
ended. The counter passes everything on to a registry; asked for ``/-/counts`` it answers itself: how many requests it
saw since it was last asked, and how many bytes their bodies had.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.request import urlopen

__all__ = ["Counter", "Traffic", "count_requests", "server", "traffic_of"]

_BLOCK_BYTES = 1 << 18
_COUNTS = "/-/counts"
_TLS = b"\x16"
_LENGTH = re.compile(rb"(?im)^content-length: *(\d+)")
_CHUNKED = re.compile(rb"(?im)^transfer-encoding:.*chunked")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What went to a registry: requests, and the bytes of their bodies."""

    requests: int
    bytes_pushed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """A counting server in front of a registry: ``host`` is to be named in the registry's place."""

    host: str

    def read(self) -> Traffic:
        """Return what was counted since the last time."""
        with urlopen(f"http://{self.host}{_COUNTS}", timeout=30) as answer:
            return Traffic(**json.load(answer))

    def second(self, run: Callable[[], object]) -> Traffic:
        """Return what the second of two runs sends, the first having filled registry and caches under this host."""
        run()
        self.read()
        run()
        return self.read()


def traffic_of(ours: Traffic, peer: Traffic | None = None) -> dict[str, int]:
    """Return what a row says of what both sides send."""
    told = {"bytes_pushed": ours.bytes_pushed, "requests": ours.requests}
    return told if peer is None else {**told, "peer_bytes_pushed": peer.bytes_pushed, "peer_requests": peer.requests}


@contextmanager
def count_requests(registry: str) -> Iterator[Counter]:
    """Run a counter in front of ``registry``, a host:port."""
    with server("count", registry) as host:
        yield Counter(host=host)


@contextmanager
def server(*arguments: str) -> Iterator[str]:
    """Run one of these servers in a process of its own; yield its host:port."""
    with subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """Pass bytes on, each ``delay_s`` after it came; what is under way does not hold up what follows."""
    loop = asyncio.get_running_loop()
    while block := await reader.read(_BLOCK_BYTES):
        if delay_s:
            loop.call_later(delay_s, writer.write, block)
        else:
            writer.write(block)
            await writer.drain()
    loop.call_later(delay_s, writer.close)


async def _delay(target: str, round_trip_s: float) -> asyncio.Server:
    host, _, port = target.rpartition(":")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port))
        await asyncio.sleep(round_trip_s)  # what making a connection takes on such a line
        await asyncio.gather(
            _pipe(reader, back, round_trip_s / 2), _pipe(there, writer, round_trip_s / 2), return_exceptions=True
        )

    return await asyncio.start_server(serve, "127.0.0.1", 0)


async def _sink() -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode("latin-1"):
                length = re.search(r"(?im)^content-length: *(\d+)", head)
                left = int(length[1]) if length else 0
                while left and (block := await reader.read(min(left, _BLOCK_BYTES))):
                    left -= len(block)
                writer.write(_answer(head.partition(" ")[0]))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0, limit=_BLOCK_BYTES)


class _Count:
    """Passes requests on, and counts them; requests that wait for ``100 Continue`` get it from the registry."""

    def __init__(self, target: str) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._requests = 0
        self._bytes = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(1)
        if first in (b"", _TLS):
            # An engine tries TLS first, and goes on without it when it is told at once that there is none.
            writer.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
            writer.close()
            return
        there, back = await asyncio.open_connection(self._host, self._port, limit=_BLOCK_BYTES)
        answers = asyncio.create_task(_pipe(there, writer, 0))
        try:
            while True:
                head = first + await reader.readuntil(b"\r\n\r\n")
                first = b""
                if head.split(b" ", 2)[1].decode() == _COUNTS:
                    writer.write(self._told())
                    break
                self._requests += 1
                back.write(head)
                await self._body(head, reader, back)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            back.close()
            await asyncio.wait([answers])
            writer.close()

    async def _body(self, head: bytes, reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        if _CHUNKED.search(head):
            while True:
                size = await reader.readuntil(b"\r\n")
                back.write(size)
                length = int(size.split(b";")[0], 16)
                self._bytes += length
                await _copy(reader, back, length + 2)
                if not length:
                    return
        length = _LENGTH.search(head)
        if length:
            self._bytes += int(length[1])
            await _copy(reader, back, int(length[1]))

    def _told(self) -> bytes:
        body = json.dumps({"requests": self._requests, "bytes_pushed": self._bytes}).encode()
        self._requests = self._bytes = 0
        return b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, length: int) -> None:
    while length:
        block = await reader.read(min(length, _BLOCK_BYTES))
        if not block:
            raise asyncio.IncompleteReadError(b"", length)
        length -= len(block)
        writer.write(block)
        await writer.drain()


def _answer(method: str) -> bytes:
    status = {"HEAD": 404, "POST": 202}.get(method, 201)
    return f"HTTP/1.1 {status} X\r\nLocation: /v2/x/y/blobs/uploads/1\r\nContent-Length: 0\r\n\r\n".encode()


async def _main(arguments: list[str]) -> None:
    if arguments[0] == "sink":
        started = await _sink()
    elif arguments[0] == "count":
        started = await asyncio.start_server(_Count(arguments[1]).serve, "127.0.0.1", 0, limit=_BLOCK_BYTES)
    else:
        started = await _delay(arguments[1], float(arguments[2]))
    print(started.sockets[0].getsockname()[1], flush=True)
    async with started:
        await started.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1:]))
