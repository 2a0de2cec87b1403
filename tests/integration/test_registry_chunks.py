"""Uploads in pieces to a real registry, behind a proxy that limits one body and cuts a connection in the middle."""

from __future__ import annotations

import hashlib
import http.client
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import pytest

from imagespec.names import Digest, Repository
from imagespec.oci import OCI_LAYER_TAR, Descriptor
from imagespec.registry.http import HttpRegistry

pytestmark = pytest.mark.integration

LIMIT_BYTES = 20 << 20
SIZE_BYTES = 40 << 20


@contextmanager
def proxy(registry: str, cut_chunk: int) -> Iterator[tuple[str, list[str]]]:
    """Stand in front of ``registry``; the chunk of this number reaches it by half, and its connection is cut."""
    seen: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            seen.append(f"{self.command} {length}")
            if length > LIMIT_BYTES:
                self.answer(413, [], b"")
                return
            chunks = sum(one.startswith("PATCH") for one in seen)
            if self.command == "PATCH" and chunks == cut_chunk:
                self.half(body)
                self.close_connection = True
                return
            upstream = http.client.HTTPConnection(registry, timeout=60)
            upstream.request(self.command, self.path, body, dict(self.headers))
            reply = upstream.getresponse()
            data = reply.read()
            self.answer(reply.status, reply.getheaders(), data)
            upstream.close()

        do_HEAD = do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = pass_on  # noqa: N815

        def half(self, body: bytes) -> None:
            upstream = http.client.HTTPConnection(registry, timeout=60)
            upstream.putrequest("PATCH", self.path, skip_host=True)
            for name, value in self.headers.items():
                upstream.putheader(name, value)
            upstream.endheaders()
            upstream.send(body[: len(body) // 2])
            upstream.close()

        def answer(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            length = next((value for name, value in headers if name.lower() == "content-length"), str(len(data)))
            self.send_header("Content-Length", length if self.command == "HEAD" else str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}", seen
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("cut_chunk", [0, 2], ids=["whole", "cut in the middle"])
def test_a_real_registry_takes_a_blob_in_chunks(registry_bed: dict[str, Any], cut_chunk: int) -> None:
    data = hashlib.shake_256(uuid4().bytes).digest(SIZE_BYTES)
    digest = Digest("sha256", hashlib.sha256(data).hexdigest())
    descriptor = Descriptor(media_type=OCI_LAYER_TAR, digest=digest, size_bytes=SIZE_BYTES)
    path = f"chunks/{uuid4().hex}"
    with proxy(registry_bed["registry"], cut_chunk) as (door, seen), HttpRegistry() as registry:
        assert registry.write_blob(Repository.parse(f"{door}/{path}"), descriptor, lambda: io.BytesIO(data))
    assert sum(one.startswith("PATCH") for one in seen) >= 3
    with HttpRegistry() as direct:
        stream = direct.read_blob(Repository.parse(f"{registry_bed['registry']}/{path}"), digest)
        with stream:
            assert stream.read() == data
