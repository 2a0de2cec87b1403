"""Look-ups against a registry that misbehaves: error type, exit code, message, requests made and seconds waited."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from imagespec.errors import (
    Denied,
    ImageSpecError,
    IntegrityError,
    ProtocolViolation,
    RegistryUnreachable,
    TooManyRequests,
    Unauthorized,
)
from imagespec.names import Reference
from imagespec.oci import OCI_MANIFEST, digest_of
from imagespec.registry.http import HttpRegistry
from tests.fakes.scripted import Move, Scripted, SlidingClock, answer, cut, raw, stall, trickle

Serve = Callable[..., Scripted]
Client = Callable[..., HttpRegistry]

MANIFEST = b'{"schemaVersion":2,"layers":[]}'
DIGEST = str(digest_of(MANIFEST))
GOOD = {"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": DIGEST}
V2 = {"Docker-Distribution-Api-Version": "registry/2.0"}
HTML = b"<html>nothing here</html>"
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
DATE = {"Date": "Mon, 23 Nov 2026 10:00:00 GMT"}

found = answer(200, GOOD, MANIFEST)


def errors(*entries: dict[str, object]) -> bytes:
    return json.dumps({"errors": list(entries)}).encode()


def coded(status: int, code: str, message: str = "so it is", headers: dict[str, str] | None = None) -> Move:
    return answer(status, headers, errors({"code": code, "message": message}))


@dataclass(frozen=True)
class Case:
    """``slept`` are the seconds of each wait; ``moves`` beyond the script answer 500."""

    name: str
    moves: tuple[Move, ...]
    error: type[ImageSpecError]
    message: str
    requests: int
    slept: tuple[float, ...] = ()
    hint: str = ""
    attributes: dict[str, object] = field(default_factory=dict)


CASES = [
    Case("500 for ever", (answer(500),) * 9, RegistryUnreachable, "answered 500", 4, (0.5, 1.0)),
    Case("502 for ever", (answer(502, {}, HTML),) * 9, RegistryUnreachable, "answered 502", 4, (0.5, 1.0)),
    Case("503 for ever", (answer(503),) * 9, RegistryUnreachable, "answered 503", 4, (0.5, 1.0)),
    Case("504 for ever", (answer(504),) * 9, RegistryUnreachable, "answered 504", 4, (0.5, 1.0)),
    Case("408 for ever", (answer(408),) * 9, RegistryUnreachable, "answered 408", 4, (0.5, 1.0)),
    Case("503 asks to wait", (answer(503, {"Retry-After": "7"}),) * 9, RegistryUnreachable, "503", 4, (7.0, 7.0)),
    Case("connection reset", (cut(),) * 9, RegistryUnreachable, "no answer from http://127.0.0.1", 3, (0.5, 1.0)),
    Case("closed without a word", (cut(reset=False),) * 9, RegistryUnreachable, "no answer", 3, (0.5, 1.0)),
    Case("half a head", (raw(b"HTTP/1.1 200 OK\r\nContent-Le"),) * 9, RegistryUnreachable, "within its head", 3,
         (0.5, 1.0)),
    Case("not HTTP", (raw(b"SSH-2.0-OpenSSH_9.2\r\n"),) * 9, ProtocolViolation, "no answer from", 1),
    Case("a TLS server", (raw(b"\x15\x03\x01\x00\x02\x02\x16"),) * 9, ProtocolViolation, "no answer from", 1),
    Case("endless head", (raw(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n"),), ProtocolViolation, "", 1),
    Case("too many heads", (raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"),), ProtocolViolation, "", 1),
    Case("429 at once too long", (answer(429, {"Retry-After": "3600"}),), TooManyRequests, "rate limit", 1, (),
         "wait 3600 s", {"retry_after_s": 3600.0}),
    Case("429 again and again", (answer(429, {"Retry-After": "3"}),) * 9, TooManyRequests, "rate limit", 3, (3.0, 3.0)),
    Case("429 with a date", (answer(429, {**DATE, "Retry-After": "Mon, 23 Nov 2026 10:00:05 GMT"}),) * 9,
         TooManyRequests, "rate limit", 3, (5.0, 5.0), "wait 5 s"),
    Case("429 without a time", (answer(429),) * 9, TooManyRequests, "rate limit", 3, (0.5, 1.0), "docker login"),
    Case("429 with nonsense", (answer(429, {"Retry-After": "soon"}),) * 9, TooManyRequests, "rate", 3, (0.5, 1.0)),
    Case("429 with a negative time", (answer(429, {"Retry-After": "-1"}),) * 9, TooManyRequests, "rate", 3, (0.5, 1.0)),
    Case("a limit under another status", (answer(403), *(coded(403, "TOOMANYREQUESTS"),) * 9), TooManyRequests, "so it",
         4, (0.5, 1.0)),
    Case("bare 401", (answer(401),), Unauthorized, "other credentials", 1, (), "docker login"),
    Case("401 with a scheme nobody knows", (answer(401, {"WWW-Authenticate": "Negotiate"}),), Unauthorized, "", 1),
    Case("401 basic, nothing known", (answer(401, {"WWW-Authenticate": 'Basic realm="x"'}),), Unauthorized,
         "credentials are needed", 1, (), "docker login"),
    Case("403", (answer(403), coded(403, "DENIED", "requested access is denied")), Denied,
         "does not allow it: requested access is denied", 2, (), "grants", {"status": 403, "codes": ("DENIED",)}),
    Case("403 with an empty body", (answer(403), answer(403)), Denied, "does not allow it", 2),
    Case("403 with a web page", (answer(403), answer(403, {}, HTML)), Denied, "does not allow it", 2),
    Case("404 of a web server", (answer(404), answer(404, {}, HTML)), ProtocolViolation, "not as a registry does", 2),
    Case("404 without anything", (answer(404), answer(404)), ProtocolViolation, "not as a registry does", 2),
    Case("404 with another code", (answer(404), coded(404, "TEAPOT")), ProtocolViolation, "so it is", 2),
    Case("200 with a web page", (answer(200, {"Content-Type": "text/html"}, HTML),) * 2, ProtocolViolation,
         "text/html, not a manifest", 2, (), ""),
    Case("200 of no type", (answer(200, {}, MANIFEST),) * 2, ProtocolViolation, "of no type", 2),
    Case("schema 1", (answer(200, {"Content-Type": SCHEMA_1}, b"{}"),) * 2, ProtocolViolation, "manifest.v1", 2,
         (), "schema 1"),
    Case("200 that is not JSON", (answer(404), answer(200, {"Content-Type": OCI_MANIFEST}, b"\xff\xfe")),
         ProtocolViolation, "not JSON", 2),
    Case("200 that is a list", (answer(404), answer(200, {"Content-Type": OCI_MANIFEST}, b"[]")), ProtocolViolation,
         "not a JSON object", 2),
    Case("a digest that is none", (answer(200, {**GOOD, "Docker-Content-Digest": "sha256:xyz"}, MANIFEST),) * 2,
         ProtocolViolation, "a digest that is none", 2),
    Case("bytes of another digest", (answer(404), answer(200, GOOD, MANIFEST + b" ")), IntegrityError, DIGEST, 2),
    Case("redirects in a circle", (answer(307, {"Location": "/v2/x/y/manifests/1"}),) * 20, ProtocolViolation,
         "more than 5 redirects", 6),
    Case("a redirect without a place", (answer(307), answer(307)), ProtocolViolation, "answered 307", 2),
    Case("a redirect to plain http", (answer(307, {"Location": "http://example.invalid/x"}),), ProtocolViolation,
         "not https", 1),
    Case("a redirect to a file", (answer(307, {"Location": "file:///etc/passwd"}),), ProtocolViolation, "http", 1),
    Case("a status nobody knows", (answer(418), answer(418)), ProtocolViolation, "answered 418", 2),
    Case("301 for ever, other ways", (answer(301, {"Location": "?a"}), answer(418), answer(418)), ProtocolViolation,
         "418", 3),
    Case("an error body that is a list", (answer(400), answer(400, {}, b"[1, 2]")), ProtocolViolation, "400", 2),
    Case("errors that are null", (answer(400), answer(400, {}, b'{"errors": null}')), ProtocolViolation, "400", 2),
    Case("errors that are texts", (answer(400), answer(400, {}, b'{"errors": ["bad"]}')), ProtocolViolation, "bad", 2),
    Case("deep nesting", (answer(400), answer(400, {}, b"[" * 100_000)), ProtocolViolation, "400", 2),
    Case("a cut body", (answer(404), *(answer(200, GOOD, MANIFEST, length=500),) * 9), RegistryUnreachable, "early", 4,
         (0.5, 1.0)),
    Case("a chunk that is none", (answer(404), raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")),
         ProtocolViolation, "no size", 2),
    Case("a cut chunk", (answer(404), *(raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc"),) * 9),
         RegistryUnreachable, "early", 4, (0.5, 1.0)),
    Case("no last chunk",
         (answer(404), *(raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"),) * 9),
         RegistryUnreachable, "between its chunks", 4, (0.5, 1.0)),
    Case("two lengths", (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"),),
         ProtocolViolation, "not a number", 1),
    Case("a length below nothing", (raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),), ProtocolViolation,
         "not a number", 1),
    Case("only interim answers", (raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 50),), ProtocolViolation, "interim", 1),
    Case("a status of four digits", (raw(b"HTTP/1.1 2000 OK\r\n\r\n"),), ProtocolViolation, "not HTTP/1.1", 1),
    Case("HTTP/2", (raw(b"HTTP/2 200\r\n\r\n"),), ProtocolViolation, "not HTTP/1.1", 1),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_look_up_ends_in_a_typed_error(case: Case, serve: Serve, client: Client, clock: SlidingClock) -> None:
    server = serve(*case.moves)
    with pytest.raises(case.error) as raised:
        client().resolve(Reference.parse(f"{server.host}/x/y:1"))
    error = raised.value
    assert type(error) is case.error
    assert error.exit_code == (5 if case.error is IntegrityError else 3)
    assert case.message in str(error)
    assert str(error).splitlines() == [str(error)]
    assert case.hint in error.hint
    assert len(server.asked) == case.requests
    assert clock.slept == pytest.approx(case.slept, abs=0.01)
    for name, value in case.attributes.items():
        assert getattr(error, name) == value


ABSENT = {
    "docker": coded(404, "MANIFEST_UNKNOWN"),
    "a missing repository": coded(404, "NAME_UNKNOWN"),
    "harbor": coded(404, "NOT_FOUND", "artifact x:1 not found"),
    "artifactory": answer(404, {}, errors({"status": 404, "message": "not found"})),
    "ecr": coded(404, "NAME_UNKNOWN", "The repository with name 'x' does not exist in the registry with id '1'"),
    "lower case": coded(404, "manifest_unknown"),
    "one error, not a list": answer(404, {}, b'{"code": "MANIFEST_UNKNOWN", "message": "x"}'),
    "an empty body of a registry": answer(404, V2),
}


@pytest.mark.parametrize("said", ABSENT.values(), ids=ABSENT.keys())
def test_absent_in_every_dialect(said: Move, serve: Serve, client: Client, clock: SlidingClock) -> None:
    server = serve(answer(404), said)
    assert client().resolve(Reference.parse(f"{server.host}/x/y:1")) is None
    assert [asked.method for asked in server.asked] == ["HEAD", "GET"]
    assert clock.slept == []


def test_what_was_absent_is_asked_for_once_more_with_one_request(serve: Serve, client: Client) -> None:
    missing = answer(404, V2)
    server = serve(missing, missing, missing, found, found)
    registry = client()
    reference = Reference.parse(f"{server.host}/x/y:1")
    answers = [registry.resolve(reference) for _ in range(4)]
    assert [str(one.digest) if one else "" for one in answers] == ["", "", DIGEST, DIGEST]
    assert [asked.method for asked in server.asked] == ["HEAD", "GET", "GET", "GET", "HEAD"]


PASSING = {
    "503 once": ((answer(503), found), 2, (0.5,)),
    "two resets": ((cut(), cut(), found), 3, (0.5, 1.0)),
    "429, then well": ((answer(429, {"Retry-After": "2"}), found), 2, (2.0,)),
    "a HEAD that is not supported": ((answer(405), found), 2, ()),
    "a HEAD that always breaks": ((answer(500), answer(500), answer(500), found), 4, (0.5, 1.0)),
    "a HEAD that says 404": ((answer(404), found), 2, ()),
    "a HEAD without a digest": ((answer(200, {"Content-Type": OCI_MANIFEST}, MANIFEST), found), 2, ()),
    "a HEAD without a type": ((answer(200, {"Docker-Content-Digest": DIGEST}, MANIFEST), found), 2, ()),
    "a type with parameters": (
        (answer(200, {**GOOD, "Content-Type": f"{OCI_MANIFEST}; charset=utf-8"}, MANIFEST),),
        1,
        (),
    ),
    "a redirect on the same host": ((answer(307, {"Location": "/elsewhere?a=b"}), found), 2, ()),
}


@pytest.mark.parametrize(("moves", "requests", "slept"), PASSING.values(), ids=PASSING.keys())
def test_what_passes_is_got_over(
    moves: tuple[Move, ...],
    requests: int,
    slept: tuple[float, ...],
    serve: Serve,
    client: Client,
    clock: SlidingClock,
) -> None:
    server = serve(*moves)
    descriptor = client().resolve(Reference.parse(f"{server.host}/x/y:1"))
    assert descriptor is not None
    assert str(descriptor.digest) == DIGEST
    assert descriptor.size_bytes == len(MANIFEST)
    assert len(server.asked) == requests
    assert clock.slept == pytest.approx(slept)


@pytest.mark.parametrize(
    "move", [stall(), trickle(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 500)], ids=["stalled", "one byte at a time"]
)
def test_a_slow_registry_is_left_within_the_limit(move: Move, serve: Serve, client: Client) -> None:
    from time import monotonic

    from imagespec.registry.hosts import Limits

    server = serve(then=move)
    began = monotonic()
    with pytest.raises(RegistryUnreachable, match="timed out"):
        client(limits=Limits(read_s=0.4, operation_s=0.8, attempts=3)).resolve(Reference.parse(f"{server.host}/x/y:1"))
    assert monotonic() - began < 1.5
    assert len(server.asked) <= 2


def test_a_kept_alive_connection_that_died_is_replaced_without_waiting(
    serve: Serve, client: Client, clock: SlidingClock
) -> None:
    server = serve(found, cut(reset=False), found)
    registry = client()
    reference = Reference.parse(f"{server.host}/x/y:1")
    assert registry.resolve(reference) == registry.resolve(reference)
    assert clock.slept == []
    assert server.connections == 2


def test_connections_are_kept(serve: Serve, client: Client) -> None:
    server = serve(then=found)
    registry = client()
    for _ in range(20):
        registry.resolve(Reference.parse(f"{server.host}/x/y:1"))
    assert server.connections == 1


def test_a_digest_that_was_asked_for_must_be_answered(serve: Serve, client: Client) -> None:
    server = serve(then=found)
    other = digest_of(b"other")
    with pytest.raises(ProtocolViolation, match="answered for"):
        client().resolve(Reference.parse(f"{server.host}/x/y@{other}"))
