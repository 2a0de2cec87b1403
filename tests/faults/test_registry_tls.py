"""TLS: who is trusted, what is said when nobody is, and the way through a proxy."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from imagespec.errors import RegistryUntrusted
from imagespec.names import Reference
from imagespec.oci import OCI_MANIFEST, digest_of
from imagespec.registry.hosts import Hosts, Network, Proxies, RegistrySettings
from imagespec.registry.http import HttpRegistry
from tests.fakes.scripted import Conversation, Move, Scripted, SlidingClock, answer

Serve = Callable[..., Scripted]
Client = Callable[..., HttpRegistry]

MANIFEST = b'{"schemaVersion":2,"layers":[]}'
found = answer(200, {"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": str(digest_of(MANIFEST))}, MANIFEST)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tests"]
    command += ["-addext", "subjectAltName=DNS:localhost,DNS:registry.example,IP:127.0.0.1"]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "ca.pem")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "ca.pem"


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    return context


def test_a_ca_of_the_site_is_trusted(serve: Serve, client: Client, tls: ssl.SSLContext, certificate: Path) -> None:
    server = serve(then=found, tls=tls)
    hosts = Hosts({server.host: RegistrySettings(insecure=False)})
    registry = client(network=Network(hosts=hosts, ca_file=str(certificate)))
    for _ in range(3):
        assert registry.resolve(Reference.parse(f"{server.host}/x/y:1")) is not None
    assert server.connections == 1


def test_a_ca_of_the_registry_is_trusted(serve: Serve, client: Client, tls: ssl.SSLContext, certificate: Path) -> None:
    server = serve(then=found, tls=tls)
    hosts = Hosts({server.host: RegistrySettings(ca_file=str(certificate))})
    assert client(network=Network(hosts=hosts)).resolve(Reference.parse(f"{server.host}/x/y:1")) is not None


def test_a_stranger_is_not_trusted_and_not_asked_again(
    serve: Serve, client: Client, clock: SlidingClock, tls: ssl.SSLContext
) -> None:
    server = serve(then=found, tls=tls)
    hosts = Hosts({server.host: RegistrySettings(insecure=False)})
    with pytest.raises(RegistryUntrusted, match=r"no answer from \S+: certificate verify failed: [^\[(]+$") as raised:
        client(network=Network(hosts=hosts)).resolve(Reference.parse(f"{server.host}/x/y:1"))
    assert "IMAGESPEC_CA_BUNDLE" in raised.value.hint
    assert raised.value.exit_code == 3
    assert server.connections == 1
    assert server.asked == []
    assert clock.slept == []


def test_another_name_is_not_trusted(client: Client, tls: ssl.SSLContext, certificate: Path) -> None:
    with socket.create_server(("127.0.0.2", 0)) as other:
        host = f"127.0.0.2:{other.getsockname()[1]}"
        thread = threading.Thread(target=_serve_once, args=(other, tls))
        thread.start()
        hosts = Hosts({host: RegistrySettings(ca_file=str(certificate))})
        with pytest.raises(RegistryUntrusted, match="127\\.0\\.0\\.2"):
            client(network=Network(hosts=hosts)).resolve(Reference.parse(f"{host}/x/y:1"))
        thread.join()


def _serve_once(listener: socket.socket, tls: ssl.SSLContext) -> None:
    sock, _ = listener.accept()
    with sock:
        try:
            tls.wrap_socket(sock, server_side=True).close()
        except OSError:
            return


def test_a_plain_server_is_told_from_a_dead_one(client: Client, clock: SlidingClock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:
        thread = threading.Thread(target=_answer_plainly, args=(plain,))
        thread.start()
        host = f"127.0.0.1:{plain.getsockname()[1]}"
        hosts = Hosts({host: RegistrySettings(insecure=False)})
        with pytest.raises(RegistryUntrusted) as raised:
            client(network=Network(hosts=hosts)).resolve(Reference.parse(f"{host}/x/y:1"))
        thread.join()
    assert "IMAGESPEC_INSECURE" in raised.value.hint
    assert clock.slept == []


def _answer_plainly(listener: socket.socket) -> None:
    sock, _ = listener.accept()
    with sock:
        sock.recv(100)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def _connect_to(target: str) -> Move:
    """A proxy's CONNECT: a line to ``target``, until one side closes."""

    def act(talk: Conversation) -> bool:
        if talk.method != "CONNECT":
            return answer(405)(talk)
        host, _, port = target.rpartition(":")
        with socket.create_connection((host, int(port))) as there:
            talk.send(b"HTTP/1.1 200 Connected\r\n\r\n")
            back = threading.Thread(target=_pipe, args=(there, talk.send))
            back.start()
            _pipe(talk._sock, there.sendall)
            there.shutdown(socket.SHUT_RDWR)
            back.join()
        return False

    return act


def _pipe(source: socket.socket, send: Callable[[bytes], None]) -> None:
    try:
        while block := source.recv(1 << 16):
            send(block)
    except OSError:
        return


def test_tls_goes_through_a_proxy(serve: Serve, client: Client, tls: ssl.SSLContext, certificate: Path) -> None:
    server = serve(then=found, tls=tls)
    proxy = serve(then=_connect_to(server.host))
    network = Network(proxies=Proxies(https=f"http://me:pw@{proxy.host}"), ca_file=str(certificate))
    registry = client(network=network)
    for _ in range(2):
        assert registry.resolve(Reference.parse("registry.example/x/y:1")) is not None
    assert [asked.method for asked in proxy.asked] == ["CONNECT"]
    assert proxy.asked[0].target == "registry.example:443"
    assert proxy.asked[0].headers["proxy-authorization"] == "Basic bWU6cHc="
    assert "proxy-authorization" not in server.asked[0].headers
    registry.close()
