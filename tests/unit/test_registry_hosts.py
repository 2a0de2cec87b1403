"""Addresses, mirrors and proxies, as decisions."""

from __future__ import annotations

import pytest

from imagespec.errors import InvalidReference, ProtocolViolation
from imagespec.names import Reference
from imagespec.registry.hosts import Hosts, Mirror, Origin, Proxies, RegistrySettings, is_loopback, is_private


@pytest.mark.parametrize(
    ("registry", "origin"),
    [
        ("docker.io", "https://registry-1.docker.io"),
        ("ghcr.io", "https://ghcr.io"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("127.9.9.9", "http://127.9.9.9"),
        ("localhost:5000", "http://localhost:5000"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("10.0.0.1:5000", "https://10.0.0.1:5000"),
        ("localhost.evil.io", "https://localhost.evil.io"),
        ("reg.corp:443", "https://reg.corp"),
    ],
)
def test_origins(registry: str, origin: str) -> None:
    assert str(Hosts().origin(registry)) == origin


def test_declared_origins() -> None:
    hosts = Hosts(
        {
            "a.io": RegistrySettings(insecure=True),
            "localhost:1": RegistrySettings(insecure=False),
            "localhost:2": RegistrySettings(ca_file="x"),
        }
    )
    assert str(hosts.origin("a.io")) == "http://a.io"
    assert str(hosts.origin("localhost:1")) == "https://localhost:1"
    assert str(hosts.origin("localhost:2")) == "https://localhost:2"
    assert hosts.may_be_plain(Origin("http", "a.io", 80))
    assert hosts.may_be_plain(Origin("http", "127.0.0.1", 9))
    assert not hosts.may_be_plain(Origin("http", "b.io", 80))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.255.0.3", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)
    assert is_private(host)


@pytest.mark.parametrize("host", ["8.8.8.8", "localhost.io", "127.0.0.1.nip.io", "2001:4860:4860::8888", "10.example"])
def test_not_private(host: str) -> None:
    assert not is_loopback(host)
    assert not is_private(host)


@pytest.mark.parametrize("host", ["10.1.1.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "fe80::1%e0", "fd00::1"])
def test_private(host: str) -> None:
    assert is_private(host)


@pytest.mark.parametrize("url", ["ftp://a/", "//a/", "http:///x", "https://a:99999/", "https://a:b/", ""])
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(ProtocolViolation):
        Origin.of_url(url)


@pytest.mark.parametrize(
    ("no_proxy", "host", "direct"),
    [
        ("*", "a.io", True),
        ("a.io", "a.io", True),
        ("a.io", "b.a.io", True),
        (".a.io", "b.a.io", True),
        ("*.a.io", "b.a.io", True),
        ("a.io", "ba.io", False),
        ("A.IO", "a.io", True),
        ("a.io:443", "a.io", True),
        ("a.io:444", "a.io", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("[2001:db8::1]:443", "2001:db8::1", True),
        ("10.0.0.0/nonsense", "10.1.2.3", False),
        ("", "a.io", False),
    ],
)
def test_no_proxy(no_proxy: str, host: str, direct: bool) -> None:
    proxies = Proxies(https="http://p:1", no_proxy=tuple(no_proxy.split(",")))
    assert (proxies.of(Origin("https", host, 443)) == "") is direct


def test_loopback_is_never_proxied() -> None:
    assert Proxies(http="http://p:1").of(Origin("http", "127.0.0.1", 5000)) == ""
    assert Proxies(http="http://p:1").of(Origin("https", "a.io", 443)) == ""


def test_mirrors() -> None:
    reference = Reference.parse("python:3.11")
    assert str(Mirror.parse("127.0.0.1:5000").of(reference)) == "127.0.0.1:5000/library/python:3.11"
    assert str(Mirror.parse("m.corp/hub/").of(reference)) == "m.corp/hub/library/python:3.11"
    pinned = Reference.parse(f"a.io/x@sha256:{'a' * 64}")
    assert str(Mirror.parse("localhost/p").of(pinned)) == f"localhost/p/x@sha256:{'a' * 64}"


@pytest.mark.parametrize("text", ["", "hub", "https://a.io", "a.io/UPPER", "a.io:99999", "a.io/x y"])
def test_mirrors_that_are_none(text: str) -> None:
    with pytest.raises(InvalidReference):
        Mirror.parse(text)
