"""A package index of the tests' own (PEP 503) over HTTP, with a password if asked for, and wheels to put in it."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

__all__ = ["PackageIndex", "make_wheel", "public_index", "serving"]


@dataclass(frozen=True)
class PackageIndex:
    """What is served: ``requests`` are the lines ``METHOD /path status`` so far."""

    url: str
    folder: Path
    requests: list[str] = field(default_factory=list)

    @property
    def host(self) -> str:
        return self.url.split("/")[2]


def public_index() -> str:
    """Return the address that pip itself has for the public index."""
    code = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def make_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    requires: tuple[str, ...] = (),
    files: Mapping[str, str] = {},
    is_deflated: bool = False,
) -> Path:
    """Write a pure wheel whose module says its name and version; ``files`` are added to it."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    contents = {
        f"{module}.py": f"WHO = '{name} {version}'\n",
        **files,
        f"{info}/METADATA": metadata + "".join(f"Requires-Dist: {one}\n" for one in requires),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"{info}/RECORD"
    lines = []
    wheel = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED if is_deflated else zipfile.ZIP_STORED) as archive:
        for path, text in contents.items():
            archive.writestr(path, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            lines.append(f"{path},sha256={digest},{len(text.encode())}\n")
        archive.writestr(record, "".join([*lines, f"{record},,\n"]))
    return wheel


@contextmanager
def serving(folder: Path, *, login: tuple[str, str] | None = None) -> Iterator[PackageIndex]:
    """Serve the files of ``folder`` on loopback: ``/simple/NAME/`` lists them, ``/files/…`` gives any of them."""
    expected = "Basic " + base64.b64encode(":".join(login).encode()).decode() if login else None
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            if expected and self.headers.get("Authorization") != expected:
                self._send(401, b"", "text/plain")
                return
            parts = unquote(self.path).strip("/").split("/")
            if parts[0] == "simple" and len(parts) == 2:
                page = _page(folder, parts[1])
                self._send(200 if page else 404, page.encode(), "text/html")
            elif parts[0] == "files" and (folder / "/".join(parts[1:])).is_file():
                self._send(200, (folder / "/".join(parts[1:])).read_bytes(), "application/octet-stream")
            else:
                self._send(404, b"", "text/plain")

        def _send(self, status: int, body: bytes, kind: str) -> None:
            seen.append(f"{self.command} {self.path} {status}")
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="tests"')
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield PackageIndex(url=f"http://127.0.0.1:{server.server_address[1]}/simple", folder=folder, requests=seen)
        finally:
            server.shutdown()
            thread.join()


def _page(folder: Path, name: str) -> str:
    wheels = [one for one in sorted(folder.glob("*.whl")) if _normal(one.name.split("-")[0]) == _normal(name)]
    links = []
    for wheel in wheels:
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        shown = html.escape(wheel.name)
        links.append(f'<a href="/files/{shown}#sha256={digest}">{shown}</a>')
    return f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>" if links else ""


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
