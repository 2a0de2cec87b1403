"""Who asks: challenges, tokens and redirects of registries that mean well, and of some that do not."""

from __future__ import annotations

import base64
import json
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from imagespec.errors import ImageSpecError, ProtocolViolation, RegistryUnreachable, TooManyRequests, Unauthorized
from imagespec.names import Reference, Repository
from imagespec.oci import OCI_MANIFEST, digest_of
from imagespec.registry.auth import Credential
from imagespec.registry.hosts import Hosts, Limits, Network, Proxies, RegistrySettings
from imagespec.registry.http import HttpRegistry
from tests.fakes.scripted import Conversation, Move, Scripted, SlidingClock, answer, cut

Serve = Callable[..., Scripted]
Client = Callable[..., HttpRegistry]

PASSWORD = "hunter2-and-more"
IDENTITY = "identity-token-very-secret"
MANIFEST = b'{"schemaVersion":2,"layers":[]}'
found = answer(200, {"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": str(digest_of(MANIFEST))}, MANIFEST)


@dataclass(frozen=True)
class Held:
    held: Credential | None

    def credential(self, repository: Repository) -> Credential | None:
        return self.held


USER = Held(Credential(username="user", password=PASSWORD))
BASIC = f"Basic {base64.b64encode(f'user:{PASSWORD}'.encode()).decode()}"


def token(text: str = "T", **more: object) -> Move:
    return answer(200, {"Content-Type": "application/json"}, json.dumps({"token": text, **more}).encode())


def challenge(realm: str, more: str = "") -> Move:
    return answer(401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="s"{more}'})


def guarded(realm: str, valid: Callable[[str], bool] = lambda text: text.startswith("Bearer ")) -> Move:
    """A registry that asks for a token, and is content with a valid one."""

    def act(talk: Conversation) -> bool:
        return (found if valid(talk.headers.get("authorization", "")) else challenge(realm))(talk)

    return act


def reference(server: Scripted, name: str = "x/y:1") -> Reference:
    return Reference.parse(f"{server.host}/{name}")


def test_one_token_serves_many_references(serve: Serve, client: Client) -> None:
    tokens = serve(then=token(expires_in=300))
    server = serve(then=guarded(f"http://{tokens.host}/token"))
    registry = client()
    for number in range(20):
        assert registry.resolve(reference(server, f"x/y:{number}")) is not None
    assert len(tokens.asked) == 1
    assert "scope=repository%3Ax%2Fy%3Apull" in tokens.asked[0].target
    assert "push" not in tokens.asked[0].target


def test_many_at_once_fetch_one_token(serve: Serve, client: Client) -> None:
    tokens = serve(then=token(expires_in=300))
    server = serve(then=guarded(f"http://{tokens.host}/token"))
    registry = client()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: registry.resolve(reference(server, f"x/y:{number}")), range(64)))
    assert len(tokens.asked) == 1


def test_a_token_is_renewed_before_it_ends(serve: Serve, client: Client, clock: SlidingClock) -> None:
    tokens = serve(then=token(expires_in=60))
    server = serve(then=guarded(f"http://{tokens.host}/token"))
    registry = client()
    registry.resolve(reference(server))
    clock.sleep(40)
    registry.resolve(reference(server))
    assert len(tokens.asked) == 1
    clock.sleep(15)
    registry.resolve(reference(server))
    assert len(tokens.asked) == 2
    assert sum("authorization" not in asked.headers for asked in server.asked) == 1


def test_a_token_that_ended_early_is_renewed(serve: Serve, client: Client) -> None:
    tokens = serve(token("old", expires_in=900), token("new", expires_in=900))
    server = serve(challenge(f"http://{tokens.host}/t"), found, challenge(f"http://{tokens.host}/t"), found)
    registry = client()
    for _ in range(2):
        assert registry.resolve(reference(server)) is not None
    assert [asked.headers.get("authorization") for asked in server.asked] == [
        None, "Bearer old", "Bearer old", "Bearer new",
    ]  # fmt: skip


def test_a_token_that_is_never_accepted_ends_at_once(serve: Serve, client: Client, clock: SlidingClock) -> None:
    tokens = serve(then=token())
    server = serve(then=challenge(f"http://{tokens.host}/t"))
    with pytest.raises(Unauthorized) as raised:
        client().resolve(reference(server))
    assert raised.value.exit_code == 3
    assert len(server.asked) == 2
    assert len(tokens.asked) <= 2
    assert clock.slept == []


def test_basic_is_answered_and_then_sent_at_once(serve: Serve, client: Client) -> None:
    server = serve(answer(401, {"WWW-Authenticate": 'Basic realm="r"'}), then=found)
    registry = client(credentials=USER)
    for _ in range(3):
        registry.resolve(reference(server))
    assert [asked.headers.get("authorization") for asked in server.asked] == [None, BASIC, BASIC, BASIC]


def test_bearer_goes_before_basic(serve: Serve, client: Client) -> None:
    tokens = serve(then=token())
    both = answer(401, {"WWW-Authenticate": f'Basic realm="r", Bearer realm="http://{tokens.host}/t",service="s"'})
    server = serve(both, then=found)
    assert client(credentials=USER).resolve(reference(server)) is not None
    assert tokens.asked[0].headers["authorization"] == BASIC


def test_an_identity_token_is_posted(serve: Serve, client: Client) -> None:
    tokens = serve(token(expires_in=1, refresh_token="next"), token(expires_in=1))
    server = serve(then=guarded(f"http://{tokens.host}/t"))
    registry = client(credentials=Held(Credential(identity_token=IDENTITY)))
    registry.resolve(reference(server, "x/y:1"))
    registry.resolve(reference(server, "x/z:1"))
    assert [asked.method for asked in tokens.asked] == ["POST", "POST"]
    assert f"refresh_token={IDENTITY}".encode() in tokens.asked[0].body
    assert b"refresh_token=next" in tokens.asked[1].body
    assert all(IDENTITY not in asked.target for asked in tokens.asked)


def test_a_registry_token_is_used_as_it_is(serve: Serve, client: Client) -> None:
    server = serve(then=guarded("http://127.0.0.1:1/never", lambda text: text == "Bearer ready"))
    assert client(credentials=Held(Credential(registry_token="ready"))).resolve(reference(server)) is not None


TOKEN_FAULTS: dict[str, tuple[tuple[Move, ...], type[ImageSpecError], str, int, int]] = {
    "401": ((answer(401),), Unauthorized, "credentials were refused", 1, 0),
    "403": ((answer(403),), Unauthorized, "credentials were refused", 1, 0),
    "no token": ((answer(200, {}, b"{}"),), ProtocolViolation, "without a token", 1, 0),
    "a web page": ((answer(200, {}, b"<html>"),), ProtocolViolation, "without a token", 1, 0),
    "a token with a line feed": ((token("a\r\nX: y"),), ProtocolViolation, "without a token", 1, 0),
    "a token that is a number": ((answer(200, {}, b'{"token": 7}'),), ProtocolViolation, "without a token", 1, 0),
    "404": ((answer(404),), ProtocolViolation, "sign in to", 1, 0),
    "redirected": ((answer(302, {"Location": "http://127.0.0.1:1/"}),), ProtocolViolation, "302", 1, 0),
    "500 for ever": ((answer(500),) * 9, RegistryUnreachable, "sign in to", 3, 2),
    "reset for ever": ((cut(),) * 9, RegistryUnreachable, "sign in to", 3, 2),
    "429": ((answer(429, {"Retry-After": "900"}),), TooManyRequests, "sign in to", 1, 0),
}


@pytest.mark.parametrize(
    ("moves", "kind", "message", "requests", "waits"), TOKEN_FAULTS.values(), ids=TOKEN_FAULTS.keys()
)
def test_a_token_service_that_misbehaves(
    moves: tuple[Move, ...],
    kind: type[ImageSpecError],
    message: str,
    requests: int,
    waits: int,
    serve: Serve,
    client: Client,
    clock: SlidingClock,
) -> None:
    tokens = serve(*moves)
    server = serve(then=guarded(f"http://{tokens.host}/token"))
    with pytest.raises(kind, match=message) as raised:
        client(credentials=USER).resolve(reference(server))
    assert type(raised.value) is kind
    assert raised.value.exit_code == 3
    assert len(tokens.asked) == requests
    assert len(clock.slept) == waits


def test_credentials_do_not_follow_a_redirect_to_another_host(serve: Serve, client: Client) -> None:
    other = serve(then=found)
    server = serve(
        answer(401, {"WWW-Authenticate": 'Basic realm="r"'}), answer(307, {"Location": f"http://{other.host}/z"})
    )
    assert client(credentials=USER).resolve(reference(server)) is not None
    assert server.asked[-1].headers["authorization"] == BASIC
    assert "authorization" not in other.asked[0].headers


def test_credentials_do_not_follow_an_upload_to_another_host(serve: Serve, client: Client) -> None:
    from tests.fakes.images import body, described

    other = serve(then=answer(201))
    server = serve(
        answer(401, {"WWW-Authenticate": 'Basic realm="r"'}),
        answer(404),
        answer(202, {"Location": f"http://{other.host}/up"}),
    )
    client(credentials=USER).write_blob(Repository.parse(f"{server.host}/x/y"), described(b"abc"), body(b"abc"))
    assert other.asked[0].body == b"abc"
    assert "authorization" not in other.asked[0].headers


def _public(proxy: Scripted, *, insecure: bool) -> Network:
    """A registry with a public name that is reached through a proxy of ours, in the clear for the test to see."""
    hosts = Hosts({"registry.example": RegistrySettings(insecure=insecure)})
    return Network(hosts=hosts, proxies=Proxies(http=f"http://{proxy.host}"), limits=Limits(attempts=1, connect_s=0.5))


def test_plain_http_goes_through_the_proxy(serve: Serve, client: Client) -> None:
    proxy = serve(then=found)
    network = _public(proxy, insecure=True)
    assert client(network=network).resolve(Reference.parse("registry.example/x/y:1")) is not None
    assert proxy.asked[0].target == "http://registry.example/v2/x/y/manifests/1"
    assert proxy.asked[0].headers["host"] == "registry.example"


def test_a_proxy_that_refuses_a_tunnel_is_named_without_its_password(serve: Serve, client: Client) -> None:
    proxy = serve(then=answer(407))
    network = Network(proxies=Proxies(https=f"http://me:{PASSWORD}@{proxy.host}"), limits=Limits(attempts=1))
    with pytest.raises(RegistryUnreachable) as raised:
        client(network=network).resolve(Reference.parse("registry.example/x/y:1"))
    assert proxy.asked[0].method == "CONNECT"
    assert proxy.asked[0].headers["proxy-authorization"].startswith("Basic ")
    assert PASSWORD not in _everything(raised.value)
    assert "407" in str(raised.value)


def _everything(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(vars(error))


SECRETIVE = {
    "in the message": answer(403, {}, json.dumps({"errors": [{"code": "DENIED", "message": f"no, {BASIC}"}]}).encode()),
    "the password itself": answer(
        403, {}, json.dumps({"errors": [{"code": "DENIED", "message": f"{PASSWORD} is wrong"}]}).encode()
    ),
    "in a redirect": answer(307, {"Location": f"http://user:{PASSWORD}@example.invalid/x?token={PASSWORD}"}),
    "in a digest": answer(200, {"Docker-Content-Digest": PASSWORD}),
}


@pytest.mark.parametrize("move", SECRETIVE.values(), ids=SECRETIVE.keys())
def test_a_registry_that_repeats_secrets_does_not_make_us_show_them(move: Move, serve: Serve, client: Client) -> None:
    server = serve(answer(401, {"WWW-Authenticate": 'Basic realm="r"'}), then=move)
    with pytest.raises(ImageSpecError) as raised:
        client(credentials=USER).resolve(reference(server))
    shown = _everything(raised.value)
    assert PASSWORD not in shown
    assert BASIC.partition(" ")[2] not in shown


def test_nothing_secret_has_a_repr() -> None:
    credential = Credential(username="user", password=PASSWORD, identity_token=IDENTITY, registry_token="ready-token")
    proxies = Proxies(http=f"http://u:{PASSWORD}@p:1")
    shown = repr(credential) + repr(proxies) + repr(Network(proxies=proxies))
    assert PASSWORD not in shown
    assert IDENTITY not in shown
    assert "ready-token" not in shown
