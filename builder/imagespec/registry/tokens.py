"""The tokens in use: one fetch per scope however many ask at once, renewed before they end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import TypeAlias

from imagespec.names import Repository
from imagespec.registry.answers import Answer, failure
from imagespec.registry.api import Request
from imagespec.registry.auth import (
    Challenge,
    Credential,
    CredentialSource,
    Token,
    basic_header,
    challenges_in,
    check_realm,
    choose,
    private_realm,
    refused,
    scopes_for,
    token_in,
    token_request,
)
from imagespec.registry.hosts import Hosts, Origin, is_private
from imagespec.values import dataclass, field, replace

__all__ = ["Authorization", "Authorizer", "Fetch"]

Fetch: TypeAlias = Callable[[Request], Answer]
"""Sends a token request once; returns whatever was answered, raises the errors that another attempt may help."""

_Key: TypeAlias = tuple[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Authorization:
    """The value of an ``Authorization`` header, and the secrets that must not be shown."""

    header: str = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


class Authorizer:
    """Answers challenges: remembers what each registry wants, and holds its tokens."""

    def __init__(
        self,
        hosts: Hosts,
        credentials: CredentialSource,
        clock: Callable[[], float],
        addresses: Callable[[Origin], tuple[str, ...]] | None = None,
    ) -> None:
        """``addresses`` finds those of a host, () where that cannot be told; by default the system is asked."""
        self._addresses = addresses or _addresses
        self._hosts = hosts
        self._credentials = credentials
        self._clock = clock
        self._lock = threading.Lock()
        self._challenges: dict[str, Challenge] = {}
        self._tokens: dict[_Key, Token] = {}
        self._locks: dict[_Key, threading.Lock] = {}
        self._identities: dict[str, str] = {}
        self._public_realms: set[tuple[Origin, Origin]] = set()

    def present(self, request: Request, fetch: Fetch) -> Authorization | None:
        """Return what to send with ``request``, as far as is known; None before the registry has asked for anything."""
        challenge = self._challenges.get(request.registry)
        if challenge is None:
            return None
        if challenge.scheme == "basic":
            return self._basic(request)
        return self._bearer(request, challenge, fetch, stale=None)

    def renew(self, request: Request, answer: Answer, sent: Authorization | None, fetch: Fetch) -> Authorization:
        """Return what to send after the registry refused ``sent``; raise Unauthorized when there is nothing better."""
        challenge = choose(challenges_in(answer.header("www-authenticate")))
        if challenge is None:
            raise failure(request, answer, request.target, sent.secrets if sent else ())
        self._challenges[request.registry] = challenge
        if challenge.scheme == "basic":
            authorization = self._basic(request)
            if authorization is None or authorization == sent:
                raise refused(request, answer, had_credential=authorization is not None)
            return authorization
        return self._bearer(request, challenge, fetch, stale=sent)

    def _credential(self, request: Request) -> Credential | None:
        path = request.path or "library/x"
        return self._credentials.credential(Repository(request.registry, path))

    def _basic(self, request: Request) -> Authorization | None:
        credential = self._credential(request)
        if credential is None or not credential.password:
            return None
        return Authorization(basic_header(credential), credential.secrets)

    def _bearer(
        self, request: Request, challenge: Challenge, fetch: Fetch, *, stale: Authorization | None
    ) -> Authorization:
        scopes = scopes_for(request, challenge)
        key = (request.registry, scopes)
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            token = self._tokens.get(key)
            unusable = token is None or token.ends_at <= self._clock()
            if token is None or unusable or (stale is not None and stale.header == f"Bearer {token.text}"):
                token = self._fetch(request, challenge, scopes, fetch)
                self._tokens[key] = token
        return Authorization(f"Bearer {token.text}", (token.text,))

    def _fetch(self, request: Request, challenge: Challenge, scopes: tuple[str, ...], fetch: Fetch) -> Token:
        credential = self._credential(request)
        if credential is not None and credential.registry_token:
            return Token(text=credential.registry_token, ends_at=float("inf"))
        self._check_realm(request.registry, challenge.parameters["realm"])
        if credential is not None and credential.identity_token:
            known = self._identities.get(request.registry, credential.identity_token)
            credential = replace(credential, identity_token=known)
        asking = token_request(challenge, scopes, credential, request.registry)
        answer = fetch(asking)
        if answer.status in (401, 403):
            raise refused(asking, answer, had_credential=credential is not None)
        secrets = credential.secrets if credential else ()
        if answer.status != 200:
            raise failure(asking, answer, asking.target, secrets)
        token = token_in(asking, answer, self._clock())
        if token.identity_token:
            self._identities[request.registry] = token.identity_token
        return token

    def _check_realm(self, registry: str, realm: str) -> None:
        """Raise ProtocolViolation when the realm is no place to send credentials to, by its text or its address."""
        origin = self._hosts.origin(registry)
        target = check_realm(realm, origin, self._hosts)
        pair = (origin, target)
        if target.host == origin.host or pair in self._public_realms or self._hosts.may_be_plain(origin):
            return
        if any(map(is_private, self._addresses(target))) and not any(map(is_private, self._addresses(origin))):
            raise private_realm(origin, target)
        self._public_realms.add(pair)


def _addresses(origin: Origin) -> tuple[str, ...]:
    """Return the addresses of a host; () when this machine cannot tell (a proxy may be able to)."""
    try:
        found = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(str(entry[4][0]) for entry in found)
