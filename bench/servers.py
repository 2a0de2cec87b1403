"""Two servers the bench needs: a line that is 40 ms long, and a registry that takes any blob and keeps none."""

from __future__ import annotations

import asyncio
import re
import sys

_BLOCK_BYTES = 1 << 18


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """Pass bytes on, each ``delay_s`` after it came; what is under way does not hold up what follows."""
    loop = asyncio.get_running_loop()
    while block := await reader.read(_BLOCK_BYTES):
        loop.call_later(delay_s, writer.write, block)
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


def _answer(method: str) -> bytes:
    status = {"HEAD": 404, "POST": 202}.get(method, 201)
    return f"HTTP/1.1 {status} X\r\nLocation: /v2/x/y/blobs/uploads/1\r\nContent-Length: 0\r\n\r\n".encode()


async def _main(arguments: list[str]) -> None:
    server = await (_sink() if arguments[0] == "sink" else _delay(arguments[1], float(arguments[2])))
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1:]))
