"""HTTP/1.1 on the wire: any cut of the stream is told from an end, any split of it makes no difference."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imagespec.registry.wire import Body, MalformedAnswer, Source, head_of, request_head

BODY = b"0123456789" * 20
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\nX-A: 1\r\nx-a: 2\r\nX-B: long\r\n value\r\n\r\n" + BODY
CHUNKED = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64;x=y\r\n"
    + BODY[:100]
    + b"\r\n64\r\n"
    + BODY[100:]
    + b"\r\n0\r\nTrailer: x\r\n\r\n"
)


def _source(data: bytes, piece: int) -> Callable[[memoryview], int]:
    left = [data]

    def receive(buffer: memoryview) -> int:
        count = min(piece, len(buffer), len(left[0]))
        buffer[:count] = left[0][:count]
        left[0] = left[0][count:]
        return count

    return receive


@pytest.mark.parametrize("data", [LENGTH, CHUNKED], ids=["length", "chunked"])
@given(piece=st.integers(1, 400))
def test_pieces_make_no_difference(data: bytes, piece: int) -> None:
    source = Source(_source(data, piece))
    body = Body(source, head_of(source), "GET")
    assert body.read(1000) == BODY
    assert body.ended
    assert body.head.keeps_alive
    assert not source.has_more


def test_headers_are_joined() -> None:
    head = head_of(Source(_source(LENGTH, 9)))
    assert head.headers == {"content-length": "200", "x-a": "1, 2", "x-b": "long value"}


@pytest.mark.parametrize("data", [LENGTH, CHUNKED], ids=["length", "chunked"])
def test_every_cut_is_noticed(data: bytes) -> None:
    for cut in range(len(data)):
        source = Source(_source(data[:cut], 50))
        with pytest.raises((ConnectionResetError, MalformedAnswer)):
            Body(source, head_of(source), "GET").read(1000)


@given(st.binary(max_size=300), st.integers(1, 50))
@example(b"HTTP/1.0 200\n\n", 1)
@example(b"HTTP/1.0 200\nx", 1)
def test_nonsense_ends(data: bytes, piece: int) -> None:
    try:
        head = head_of(Source(_source(data, piece)))
    except (ConnectionResetError, MalformedAnswer):
        return
    # RFC 9112, 2.2: a line may end without a carriage return. What is found by chance is an answer then.
    assert re.match(rb"HTTP/1\.[01] [1-9][0-9]{2}[ \r\n]", data)
    assert re.search(rb"\n\r?\n", data)
    assert head.status >= 200


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    source = Source(_source(b"HTTP/1.1 200 OK\r\n\r\nabc", 5))
    body = Body(source, head_of(source), "GET")
    assert body.read(100) == b"abc"
    assert not body.head.keeps_alive


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_answers_without_a_body(method: str, status: int) -> None:
    source = Source(_source(f"HTTP/1.1 {status} OK\r\nContent-Length: 9\r\n\r\n".encode(), 99))
    body = Body(source, head_of(source), method)
    assert body.read(100) == b""
    assert body.head.keeps_alive


@pytest.mark.parametrize("line", [b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 200\r\nConnection: Close\r\n"])
def test_connections_that_end(line: bytes) -> None:
    assert not head_of(Source(_source(line + b"\r\n", 99))).keeps_alive


@pytest.mark.parametrize(
    ("target", "value"),
    [("/a b", "x"), ("/a\r\nX: y", "x"), ("/é", "x"), ("/a", "x\r\nY: z"), ("/a", "x\n"), ("/a", "é"), ("/a\0", "x")],
)
def test_a_request_cannot_be_forged(target: str, value: str) -> None:
    with pytest.raises(MalformedAnswer):
        request_head("GET", target, {"X": value})


def test_a_request() -> None:
    assert request_head("GET", "/a?b", {"Host": "h", "X": "y"}) == b"GET /a?b HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n"
