"""Challenges, realms and token requests, as decisions."""

from __future__ import annotations

import pytest

from imagespec.errors import ProtocolViolation
from imagespec.names import Reference
from imagespec.registry import api
from imagespec.registry.auth import (
    Challenge,
    Credential,
    challenges_in,
    check_realm,
    choose,
    scopes_for,
    token_request,
)
from imagespec.registry.hosts import Hosts, Origin, RegistrySettings

PUBLIC = Origin("https", "registry.example", 443)
REQUEST = api.head_manifest(Reference.parse("registry.example/x/y:1"))


@pytest.mark.parametrize(
    ("header", "schemes"),
    [
        ('Bearer realm="https://a/t",service="s",scope="repository:x:pull,push"', ["bearer"]),
        ("Basic", ["basic"]),
        ('Basic realm="a, Bearer b"', ["basic"]),
        ('Negotiate, Basic realm="x", Bearer realm="y"', ["negotiate", "basic", "bearer"]),
        ("BEARER Realm=https://a/t , Service = s", ["bearer"]),
        ("", []),
        (",,, ,", []),
    ],
)
def test_challenges_are_read(header: str, schemes: list[str]) -> None:
    assert [challenge.scheme for challenge in challenges_in(header)] == schemes


def test_parameters_are_unquoted() -> None:
    (challenge,) = challenges_in(r'Bearer realm="https://a/t?x=\"y\"",service="s, t",error=none')
    assert challenge.parameters == {"realm": 'https://a/t?x="y"', "service": "s, t", "error": "none"}


def test_a_bearer_without_a_realm_is_no_choice() -> None:
    assert choose((Challenge("bearer", {}), Challenge("digest", {}))) is None
    assert choose((Challenge("bearer", {}), Challenge("basic", {}))) == Challenge("basic", {})


@pytest.mark.parametrize(
    "realm",
    [
        "https://127.0.0.1/t",
        "https://localhost/t",
        "https://10.1.2.3/t",
        "https://192.168.0.1:8443/t",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/t",
        "https://[fe80::1]/t",
        "https://[::ffff:10.0.0.1]/t",
        "http://127.0.0.1/t",
    ],
)
def test_a_public_registry_may_not_name_a_private_realm(realm: str) -> None:
    with pytest.raises(ProtocolViolation, match="private address"):
        check_realm(realm, PUBLIC, Hosts())


@pytest.mark.parametrize("realm", ["http://auth.example/t", "ftp://auth.example/t", "auth.example/t", "https:///t"])
def test_a_realm_must_be_https(realm: str) -> None:
    with pytest.raises(ProtocolViolation):
        check_realm(realm, PUBLIC, Hosts())


def test_a_declared_or_local_registry_may_have_a_local_realm() -> None:
    hosts = Hosts({"registry.corp:5000": RegistrySettings(insecure=True)})
    check_realm("http://registry.corp:5001/t", hosts.origin("registry.corp:5000"), hosts)
    check_realm("http://127.0.0.1:9/t", Origin("http", "127.0.0.1", 5000), Hosts())
    check_realm("https://10.0.0.2/t", Origin("https", "10.0.0.1", 443), Hosts())
    check_realm("https://auth.example/t", PUBLIC, Hosts())


def test_the_challenge_adds_scopes_but_not_rights() -> None:
    challenge = Challenge("bearer", {"realm": "https://a/t", "scope": "repository:x/y:pull,push registry:catalog:*"})
    assert scopes_for(REQUEST, challenge) == ("repository:x/y:pull", "registry:catalog:*")


def test_a_password_is_not_in_the_url() -> None:
    challenge = Challenge("bearer", {"realm": "https://a/t?k=v", "service": "s"})
    request = token_request(challenge, ("a", "b"), Credential(username="u", password="secret"), "a")
    assert request.target == "https://a/t?k=v&service=s&scope=a&scope=b&account=u"
    assert dict(request.headers)["Authorization"] == "Basic dTpzZWNyZXQ="
