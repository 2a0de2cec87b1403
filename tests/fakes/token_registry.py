"""A real docker-registry that wants tokens, and the token server that gives them: signed with a key of their own."""

from __future__ import annotations

import base64
import glob
import json
import os
import secrets
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

__all__ = ["TokenRegistry", "registry_program", "serve_token_registry"]

_SERVICE = "tests"


def registry_program() -> str | None:
    """Return the path of docker-registry: on the PATH, or where the test-bed unpacked it."""
    found = shutil.which("docker-registry")
    pattern = os.path.expanduser("~/.cache/imagespec-testbed/tools/docker-registry-*/usr/bin/docker-registry")
    return found or next(iter(sorted(glob.glob(pattern))), None)


@dataclass
class TokenRegistry:
    """Where the registry is, who may push, and the token requests that were made (method, scopes, had credentials)."""

    host: str
    username: str
    password: str = field(repr=False)
    identity_token: str = field(repr=False)
    life_s: int = 300
    requests: list[tuple[str, tuple[str, ...], bool]] = field(default_factory=list)


def _text64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class _Signer:
    def __init__(self, folder: Path) -> None:
        self.key, self.certificate = folder / "key.pem", folder / "certificate.pem"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tests"]
        command += ["-keyout", str(self.key), "-out", str(self.certificate)]
        subprocess.run(command, check=True, capture_output=True)
        lines = self.certificate.read_text().splitlines()
        self._x5c = "".join(line for line in lines if not line.startswith("-----"))

    def token(self, claims: dict[str, Any]) -> str:
        head = {"typ": "JWT", "alg": "RS256", "x5c": [self._x5c]}
        text = ".".join(_text64(json.dumps(part).encode()) for part in (head, claims))
        command = ["openssl", "dgst", "-sha256", "-sign", str(self.key)]
        signature = subprocess.run(command, input=text.encode(), check=True, capture_output=True).stdout
        return f"{text}.{_text64(signature)}"


def _granted(scopes: list[str], known: bool) -> list[dict[str, Any]]:
    """Return the access of a token: everybody may pull, the known user anything."""
    access = []
    for scope in scopes:
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        allowed = [action for action in actions.split(",") if known or action == "pull"]
        access.append({"type": kind, "name": name, "actions": allowed})
    return access


def _handler(registry: TokenRegistry, signer: _Signer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            return

        def do_GET(self) -> None:
            given = self.headers.get("Authorization", "")
            pair = base64.b64encode(f"{registry.username}:{registry.password}".encode()).decode()
            if given and given != f"Basic {pair}":
                self._answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "no"}]})
                return
            scopes = parse_qs(urlsplit(self.path).query).get("scope", [])
            self._grant("GET", scopes, bool(given))

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            if form.get("refresh_token") != [registry.identity_token]:
                self._answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "no"}]})
                return
            self._grant("POST", form.get("scope", [""])[0].split(), True)

        def _grant(self, method: str, scopes: list[str], known: bool) -> None:
            registry.requests.append((method, tuple(scopes), known))
            now = int(time.time())
            claims = {"iss": _SERVICE, "aud": _SERVICE, "sub": registry.username if known else ""}
            claims |= {"nbf": now - 10, "iat": now - 10, "exp": now + registry.life_s, "jti": secrets.token_hex(8)}
            token = signer.token({**claims, "access": _granted(scopes, known)})
            self._answer(200, {"token": token, "expires_in": registry.life_s})

        def _answer(self, status: int, value: Any) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler


@contextmanager
def serve_token_registry(folder: Path, program: str) -> Iterator[TokenRegistry]:
    """Run both until the end of the with block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    registry = TokenRegistry(
        host=f"127.0.0.1:{port}",
        username="tester",
        password=secrets.token_hex(8),
        identity_token=secrets.token_hex(16),
    )
    signer = _Signer(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(registry, signer))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    realm = f"http://127.0.0.1:{server.server_address[1]}/token"
    config = folder / "registry.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: '{folder / 'data'}'}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '{registry.host}', secret: 'x'}}\n"
        f"auth: {{token: {{realm: '{realm}', service: {_SERVICE}, issuer: {_SERVICE}, "
        f"rootcertbundle: '{signer.certificate}'}}}}\n"
    )
    process = subprocess.Popen([program, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await(registry.host)
        yield registry
    finally:
        process.terminate()
        process.wait()
        server.shutdown()
        server.server_close()
        thread.join()


def _await(host: str) -> None:
    name, _, port = host.rpartition(":")
    for _ in range(200):
        try:
            socket.create_connection((name, int(port)), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"{host} does not answer")
