"""The bench's counter: requests and the bytes of their bodies, passed on unchanged."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bench.servers import Traffic, count_requests


class _Registry(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(b"got " + self.path.encode())

    def do_PUT(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(body)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Registry) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_requests_and_bytes_of_bodies_are_counted_and_passed_on(registry: str) -> None:
    body = bytes(range(256)) * 5000
    with count_requests(registry) as counter:
        link = http.client.HTTPConnection(counter.host, timeout=10)
        answers = []
        link.request("GET", "/v2/x")
        answers.append(link.getresponse().read())
        link.request("PUT", "/y", body=body)
        answers.append(link.getresponse().read())
        link.request(
            "PUT", "/z", body=iter([body, b"end"]), encode_chunked=True, headers={"Transfer-Encoding": "chunked"}
        )
        answers.append(link.getresponse().read())
        link.close()
        assert answers == [b"got /v2/x", body, body + b"end"]
        assert counter.read() == Traffic(requests=3, bytes_pushed=2 * len(body) + 3)
        assert counter.read() == Traffic(requests=0, bytes_pushed=0)


def test_a_client_that_tries_tls_first_is_told_at_once_that_there_is_none(registry: str) -> None:
    with count_requests(registry) as counter:
        host, _, port = counter.host.partition(":")
        with socket.create_connection((host, int(port)), timeout=5) as link:
            link.sendall(b"\x16\x03\x01\x02\x00\x01")
            assert link.recv(100).startswith(b"HTTP/1.0 400")
        assert counter.read().requests == 0
