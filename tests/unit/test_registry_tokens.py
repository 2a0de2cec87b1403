"""Tokens: where they are asked for, by names that lead to private addresses."""

from __future__ import annotations

import json

import pytest

from imagespec.errors import ProtocolViolation, Unauthorized
from imagespec.names import Reference, Repository
from imagespec.registry import api
from imagespec.registry.answers import Answer
from imagespec.registry.auth import Credential
from imagespec.registry.hosts import Hosts, Origin, RegistrySettings
from imagespec.registry.tokens import Authorizer

REQUEST = api.head_manifest(Reference.parse("registry.example/x/y:1"))
REFUSAL = Answer(
    status=401, headers={"www-authenticate": 'Bearer realm="https://auth.example/token",service="registry.example"'}
)
ADDRESSES = {"registry.example": ("8.8.8.8",), "auth.example": ("9.9.9.9",)}


class Known:
    def credential(self, repository: Repository) -> Credential:
        return Credential(username="u", password="p")


class Tokens:
    """A token service: counts, and answers with a number."""

    def __init__(self) -> None:
        self.asked: list[api.Request] = []

    def __call__(self, request: api.Request) -> Answer:
        self.asked.append(request)
        return Answer(status=200, body=json.dumps({"token": f"t{len(self.asked)}", "expires_in": 100}).encode())


def _authorizer(addresses: dict[str, tuple[str, ...]], hosts: Hosts | None = None) -> Authorizer:
    def found(origin: Origin) -> tuple[str, ...]:
        return addresses.get(origin.host, ())

    return Authorizer(hosts or Hosts(), Known(), lambda: 0.0, found)


@pytest.mark.parametrize("private", ["10.0.0.1", "127.0.0.1", "169.254.169.254", "fd00::1", "::1"])
def test_a_public_registry_may_not_lead_to_a_private_address_by_a_name(private: str) -> None:
    tokens = Tokens()
    authorizer = _authorizer({**ADDRESSES, "auth.example": ("9.9.9.9", private)})
    with pytest.raises(ProtocolViolation, match="private address"):
        authorizer.renew(REQUEST, REFUSAL, None, tokens)
    assert tokens.asked == []


@pytest.mark.parametrize(
    "addresses",
    [
        ADDRESSES,
        {"registry.example": ("10.0.0.2",), "auth.example": ("10.0.0.1",)},
        {},
    ],
    ids=["public", "both private", "behind a proxy"],
)
def test_others_may(addresses: dict[str, tuple[str, ...]]) -> None:
    tokens = Tokens()
    assert _authorizer(addresses).renew(REQUEST, REFUSAL, None, tokens).header == "Bearer t1"
    assert len(tokens.asked) == 1


def test_a_declared_registry_may() -> None:
    hosts = Hosts({"registry.example": RegistrySettings(insecure=True)})
    authorizer = _authorizer({**ADDRESSES, "auth.example": ("10.0.0.1",)}, hosts)
    assert authorizer.renew(REQUEST, REFUSAL, None, Tokens()).header == "Bearer t1"


def test_scopes_have_their_own_tokens() -> None:
    tokens = Tokens()
    authorizer = _authorizer(ADDRESSES)
    authorizer.renew(REQUEST, REFUSAL, None, tokens)
    other = api.head_manifest(Reference.parse("registry.example/x/z:1"))
    pushing = api.start_upload(Repository.parse("registry.example/x/y"))
    headers = [authorizer.present(request, tokens) for request in (REQUEST, other, pushing, REQUEST)]
    assert [one.header for one in headers if one] == ["Bearer t1", "Bearer t2", "Bearer t3", "Bearer t1"]


def test_nothing_is_sent_before_it_is_asked_for() -> None:
    assert _authorizer(ADDRESSES).present(REQUEST, Tokens()) is None


def test_a_challenge_that_cannot_be_met_is_an_error() -> None:
    refusal = Answer(status=401, headers={"www-authenticate": "Negotiate"})
    with pytest.raises(Unauthorized):
        _authorizer(ADDRESSES).renew(REQUEST, refusal, None, Tokens())
