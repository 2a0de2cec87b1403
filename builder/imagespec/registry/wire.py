"""HTTP/1.1 as far as a registry needs it: the head of a request, the head and the body of an answer.

Written for this place, because the standard library's client spends most of its time on headers, takes half a head
for a whole one, and does not tell a body that was cut short. Source: RFC 9112.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from imagespec.patterns import lazy_pattern
from imagespec.values import dataclass

__all__ = ["Body", "Head", "MalformedAnswer", "Source", "head_of", "request_head"]

_BLOCK_BYTES: Final = 64 * 1024
_MAX_LINE_BYTES: Final = 64 * 1024
_MAX_LINES: Final = 200
_STATUS = lazy_pattern(rb"HTTP/1\.([01]) ([1-5]\d\d)(?: |\r?\n)")
_UNSAFE = lazy_pattern(r"[\x00-\x1f\x7f]")


class MalformedAnswer(Exception):
    """What came, or what we were told to ask for, is not HTTP/1.1."""


class Source:
    """Bytes of a connection, with the few that were read ahead."""

    def __init__(self, receive_into: Callable[[memoryview], int]) -> None:
        self._receive_into = receive_into
        self._ahead = b""

    @property
    def has_more(self) -> bool:
        """Whether something was read ahead."""
        return bool(self._ahead)

    def line(self) -> bytes:
        """Return the next line with its end; what there is when the connection ends before that."""
        while (end := self._ahead.find(b"\n")) < 0:
            if len(self._ahead) > _MAX_LINE_BYTES:
                raise MalformedAnswer("a line of the answer has no end")
            scratch = memoryview(bytearray(_BLOCK_BYTES))
            count = self._receive_into(scratch)
            if not count:
                end = len(self._ahead)
                break
            self._ahead += bytes(scratch[:count])
        if end > _MAX_LINE_BYTES:
            raise MalformedAnswer("a line of the answer is too long")
        line, self._ahead = self._ahead[: end + 1], self._ahead[end + 1 :]
        return line

    def read_into(self, buffer: memoryview) -> int:
        """Fill ``buffer`` with what comes next and return the number of bytes, 0 when the connection has ended."""
        if not self._ahead:
            return self._receive_into(buffer)
        count = min(len(buffer), len(self._ahead))
        buffer[:count] = self._ahead[:count]
        self._ahead = self._ahead[count:]
        return count


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Status and headers (lower-case names; repeated ones joined by commas), and whether the connection stays open."""

    status: int
    headers: Mapping[str, str]
    keeps_alive: bool


def request_head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Return the bytes of a request's head; raise MalformedAnswer for a target or value that would forge another."""
    if not target.isascii() or " " in target or _UNSAFE.search(target):
        raise MalformedAnswer("the place that was named is no URL")
    lines = [f"{method} {target} HTTP/1.1"]
    for name, value in headers.items():
        if not value.isascii() or _UNSAFE.search(value):
            raise MalformedAnswer(f"the value for {name} is no header")
        lines.append(f"{name}: {value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def head_of(source: Source) -> Head:
    """Return the head of the next answer, interim ones skipped; raise MalformedAnswer or ConnectionResetError."""
    for _ in range(10):
        head = _one_head(source)
        if head.status >= 200:
            return head
    raise MalformedAnswer("there are only interim answers")


def _one_head(source: Source) -> Head:
    line = source.line()
    if not line:
        raise ConnectionResetError("the connection was closed without an answer")
    match = _STATUS.match(line)
    if match is None and (line.endswith(b"\n") or not line.startswith(b"HTTP/1")):
        raise MalformedAnswer("the answer is not HTTP/1.1")
    headers = _headers(source, line)
    if match is None:
        raise ConnectionResetError("the answer ended within its head")
    closes = "close" in headers.get("connection", "").lower()
    return Head(status=int(match[2]), headers=headers, keeps_alive=match[1] == b"1" and not closes)


def _headers(source: Source, line: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    name = ""
    for _ in range(_MAX_LINES):
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the answer ended within its head")
        line = source.line()
        if line in (b"\r\n", b"\n"):
            return headers
        text = line.decode("latin-1").rstrip("\r\n")
        if text[:1] in (" ", "\t") and name:  # a value that goes on in the next line
            headers[name] += " " + text.strip()
            continue
        name, _, value = text.partition(":")
        name = name.strip().lower()
        headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
    raise MalformedAnswer("the answer has too many header lines")


class Body:
    """The body of an answer, read as its head says: so many bytes, in chunks, or until the connection ends."""

    def __init__(self, source: Source, head: Head, method: str) -> None:
        self._source = source
        self._chunked = False
        self._left: int | None = None
        self.head = head
        self.ended = method == "HEAD" or head.status in (204, 304)
        length = head.headers.get("content-length", "")
        if "chunked" in head.headers.get("transfer-encoding", "").lower():
            self._chunked, self._left = True, 0
        elif length:
            sizes = {part.strip() for part in length.split(",")}
            if len(sizes) != 1 or not length.split(",")[0].strip().isdecimal():
                raise MalformedAnswer("the length of the answer is not a number")
            self._left = int(sizes.pop())
            self.ended = self.ended or self._left == 0
        elif not self.ended:
            self.head = Head(status=head.status, headers=head.headers, keeps_alive=False)

    def read(self, limit_bytes: int) -> bytes:
        """Return the rest of the body, at most ``limit_bytes`` of it."""
        parts: list[bytes] = []
        size = 0
        scratch = memoryview(bytearray(_BLOCK_BYTES)) if not self.ended else memoryview(b"")
        while size < limit_bytes and (count := self.read_into(scratch[: limit_bytes - size])):
            parts.append(bytes(scratch[:count]))
            size += count
        return b"".join(parts)

    def read_into(self, buffer: memoryview) -> int:
        """Fill ``buffer`` and return the number of bytes, 0 at the end; raise ConnectionResetError on a cut body."""
        if self.ended or not len(buffer):
            return 0
        if self._chunked and self._left == 0 and not self._next_chunk():
            return 0
        count = self._source.read_into(buffer if self._left is None else buffer[: self._left])
        if self._left is None:
            self.ended = count == 0
            return count
        if not count:
            raise ConnectionResetError(f"the answer ended {self._left} bytes early")
        self._left -= count
        if self._chunked:
            if self._left == 0:
                self._line()
        else:
            self.ended = self._left == 0
        return count

    def _next_chunk(self) -> bool:
        """Return whether there is another chunk; at the last one read the trailer too."""
        size = self._line().partition(b";")[0].strip()
        if re.fullmatch(rb"[0-9a-fA-F]{1,16}", size) is None:
            raise MalformedAnswer("a chunk of the answer has no size")
        self._left = int(size, 16)
        if self._left:
            return True
        while self._line().strip():
            pass
        self.ended = True
        return False

    def _line(self) -> bytes:
        line = self._source.line()
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the answer ended between its chunks")
        return line
