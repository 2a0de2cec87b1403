"""A gate in front of a real registry: passes requests on, but refuses, cuts or holds those that a rule names."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from typing_extensions import Self

__all__ = ["CUT", "Gate", "Refusal", "Rule"]

_HOP = ("connection", "keep-alive", "transfer-encoding", "host")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What the registry answers instead: a status, an error code and words, or nothing at all (``is_cut``)."""

    status: int = 0
    code: str = ""
    message: str = "no"
    is_cut: bool = False


CUT = Refusal(is_cut=True)

Rule = Callable[[str, str], Refusal | None]
"""From method and path; it may wait, and is asked by several threads at once."""


class Gate:
    """``host`` is where it listens; ``seen`` are the requests, as ``METHOD path``; ``inner`` is the real registry."""

    def __init__(self, inner: str, rule: Rule = lambda method, path: None) -> None:
        self.inner = inner
        self.seen: list[str] = []
        self.rule = rule
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Also for what is no HTTP: clients that try TLS first know a plain registry by its status line.
            default_request_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

        for method in ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"):
            setattr(Handler, f"do_{method}", lambda asked: gate.serve(asked))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self, asked: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        body = _body(asked)
        self.seen.append(f"{asked.command} {asked.path}")
        refusal = self.rule(asked.command, asked.path)
        if refusal is None:
            self._pass_on(asked, body)
        elif refusal.is_cut:
            asked.close_connection = True
            with contextlib.suppress(OSError):
                asked.connection.shutdown(socket.SHUT_RDWR)
        else:
            text = json.dumps({"errors": [{"code": refusal.code, "message": refusal.message}]}).encode()
            _answer(asked, refusal.status, [("Content-Type", "application/json")], text)

    def _pass_on(self, asked: BaseHTTPRequestHandler, body: bytes) -> None:
        connection = http.client.HTTPConnection(self.inner, timeout=60)
        # The registry builds addresses from the name it is asked under: that must stay ours.
        headers = {name: value for name, value in asked.headers.items() if name.lower() not in _HOP}
        connection.request(asked.command, asked.path, body, headers | {"Host": self.host})
        answer = connection.getresponse()
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP]
        _answer(asked, answer.status, kept, answer.read())
        connection.close()


def _answer(asked: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, Any]], body: bytes) -> None:
    asked.send_response(status)
    for name, value in headers:
        asked.send_header(name, value)
    if not any(name.lower() == "content-length" for name, _ in headers):
        asked.send_header("Content-Length", str(len(body)))
    asked.end_headers()
    if asked.command != "HEAD":
        asked.wfile.write(body)


def _body(asked: BaseHTTPRequestHandler) -> bytes:
    if asked.headers.get("Transfer-Encoding", "") != "chunked":
        return asked.rfile.read(int(asked.headers.get("Content-Length") or 0))
    parts = []
    while size := int(asked.rfile.readline().split(b";")[0], 16):
        parts.append(asked.rfile.read(size))
        asked.rfile.readline()
    asked.rfile.readline()
    return b"".join(parts)
