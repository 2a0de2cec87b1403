"""Who asks: challenges, token requests and tokens, as values and decisions.

Source: RFC 9110, section 11 (challenges), the distribution project's token authentication specification, and OCI
Distribution Specification 1.1, which leaves authentication to them.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit

from imagespec.errors import ProtocolViolation, Unauthorized
from imagespec.names import Repository
from imagespec.patterns import lazy_pattern
from imagespec.registry.answers import Answer, redacted
from imagespec.registry.api import Request
from imagespec.registry.hosts import Hosts, Origin, is_private
from imagespec.values import dataclass, field

__all__ = [
    "Anonymous",
    "Challenge",
    "Credential",
    "CredentialSource",
    "Token",
    "basic_header",
    "challenges_in",
    "check_realm",
    "choose",
    "scopes_for",
    "token_in",
    "token_request",
]

CLIENT_ID: Final = "imagespec"
_SCHEME = lazy_pattern(r"\s*,?\s*([A-Za-z][A-Za-z0-9_-]*)(?=\s|,|$)")
_PARAMETER = lazy_pattern(r'\s*,?\s*([A-Za-z][A-Za-z0-9_-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_DEFAULT_LIFE_S: Final = 60.0
_RESERVE_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What a user has for a registry: name and password, an identity (refresh) token, or a ready registry token."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Everything in it that must not be shown."""
        parts = (self.password, self.identity_token, self.registry_token)
        encoded = (basic_header(self).partition(" ")[2],) if self.password else ()
        return tuple(part for part in (*parts, *encoded) if part)


class CredentialSource(Protocol):
    """Where credentials come from."""

    def credential(self, repository: Repository) -> Credential | None:
        """Return the credential for ``repository``, None to ask anonymously; raise Unauthorized if a helper fails."""
        ...


class Anonymous:
    """A credential source that has none."""

    def credential(self, repository: Repository) -> Credential | None:
        """Return None."""
        return None


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge of a ``WWW-Authenticate`` header: the scheme in lower case, the parameters by lower-case name."""

    scheme: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A bearer token, and when (on the caller's clock, seconds) it must not be used any more."""

    text: str = field(repr=False)
    ends_at: float
    identity_token: str = field(default="", repr=False)


def challenges_in(header: str) -> tuple[Challenge, ...]:
    """Return the challenges of a ``WWW-Authenticate`` header, in its order; what cannot be read is left out."""
    found: list[Challenge] = []
    position = 0
    while match := _SCHEME.match(header, position):
        scheme, position = match[1].lower(), match.end()
        parameters: dict[str, str] = {}
        while pair := _PARAMETER.match(header, position):
            quoted = pair[2]
            parameters[pair[1].lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else pair[3]
            position = pair.end()
        found.append(Challenge(scheme, parameters))
    return tuple(found)


def choose(challenges: tuple[Challenge, ...]) -> Challenge | None:
    """Return the challenge to answer, bearer before basic, or None when neither is offered."""
    for scheme in ("bearer", "basic"):
        for challenge in challenges:
            if challenge.scheme == scheme and (scheme == "basic" or challenge.parameters.get("realm")):
                return challenge
    return None


def basic_header(credential: Credential) -> str:
    """Return the ``Authorization`` value for name and password (RFC 7617, UTF-8)."""
    pair = f"{credential.username}:{credential.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def check_realm(realm: str, registry: Origin, hosts: Hosts) -> Origin:
    """Return the origin of a token service; raise ProtocolViolation where no credential may be sent.

    Refused are: plain HTTP other than to loopback or a host declared insecure, and an address on a private network
    named by a registry that is not on one.
    """
    origin = Origin.of_url(realm)
    if origin.scheme != "https" and not hosts.may_be_plain(origin):
        raise ProtocolViolation(
            f"sign in to {registry.authority}: its token service {origin} is not https",
            url=str(origin),
            hint="declare the registry insecure if that is meant",
        )
    if is_private(origin.host) and not is_private(registry.host) and not hosts.may_be_plain(registry):
        raise private_realm(registry, origin)
    return origin


def private_realm(registry: Origin, realm: Origin) -> ProtocolViolation:
    """Return the error for a token service on a private address that a public registry names."""
    return ProtocolViolation(
        f"sign in to {registry.authority}: it names a token service on a private address, {realm.authority}",
        url=str(realm),
        hint="no credential was sent; a public registry has no reason to do that",
    )


def scopes_for(request: Request, challenge: Challenge) -> tuple[str, ...]:
    """Return the scopes to ask a token for: the request's own, and those of the challenge that name something else."""
    asked = challenge.parameters.get("scope", "").split()
    names = {scope.rpartition(":")[0] for scope in request.scopes}
    return (*request.scopes, *(scope for scope in asked if scope.rpartition(":")[0] not in names))


def token_request(
    challenge: Challenge, scopes: tuple[str, ...], credential: Credential | None, registry: str
) -> Request:
    """Return the request to the token service: GET, with basic when there is a password; POST for an identity token."""
    parts = urlsplit(challenge.parameters["realm"])
    service = challenge.parameters.get("service", "")
    action = f"sign in to {registry}"
    headers: tuple[tuple[str, str], ...]
    base = f"{parts.scheme}://{parts.netloc}{parts.path}"
    if credential is not None and credential.identity_token:
        form = {
            "grant_type": "refresh_token",
            "service": service,
            "client_id": CLIENT_ID,
            "scope": " ".join(scopes),
            "refresh_token": credential.identity_token,
        }
        headers = (("Content-Type", "application/x-www-form-urlencoded"),)
        body = urlencode(form).encode()
        target = f"{base}?{parts.query}" if parts.query else base
        return Request(action=action, method="POST", registry=registry, target=target, headers=headers, body=body)
    query = [*parse_qsl(parts.query), *((("service", service),) if service else ())]
    query += [("scope", scope) for scope in scopes]
    headers = ()
    if credential is not None and credential.password:
        headers = (("Authorization", basic_header(credential)),)
        query.append(("account", credential.username))
    target = f"{base}?{urlencode(query)}" if query else base
    return Request(action=action, method="GET", registry=registry, target=target, headers=headers)


def token_in(request: Request, answer: Answer, now: float) -> Token:
    """Return the token that a token service answered with; raise ProtocolViolation when there is none.

    It ends before the service says so: by a tenth of its life, at most ten seconds.
    """
    value = _object(answer.body)
    text = value.get("token") or value.get("access_token")
    if not isinstance(text, str) or not text or not text.isascii() or not text.isprintable():
        raise ProtocolViolation(
            f"{request.action}: the token service answered without a token",
            action=request.action,
            url=redacted(request.target),
            status=answer.status,
        )
    life = value.get("expires_in")
    life_s = float(life) if isinstance(life, (int, float)) and life > 0 else _DEFAULT_LIFE_S
    identity = value.get("refresh_token")
    return Token(
        text=text,
        ends_at=now + life_s - min(_RESERVE_S, life_s / 10),
        identity_token=identity if isinstance(identity, str) else "",
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def refused(request: Request, answer: Answer, *, had_credential: bool) -> Unauthorized:
    """Return the error for a registry that does not accept who asks."""
    what = "the credentials were refused" if had_credential else "credentials are needed"
    private = "" if had_credential else "; a private or missing repository answers so too"
    return Unauthorized(
        f"{request.action}: {what}{private}",
        action=request.action,
        status=answer.status,
        hint=f"docker login {request.registry}",
    )
