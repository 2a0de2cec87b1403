"""Blobs over a bad line: every upload ends in a verified blob or a clean error, every download in the right bytes."""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from imagespec.errors import (
    Denied,
    InputChanged,
    IntegrityError,
    ProtocolViolation,
    RegistryError,
    RegistryUnreachable,
    Unauthorized,
)
from imagespec.names import Repository
from imagespec.oci import OCI_CONFIG, digest_of
from imagespec.registry.hosts import Limits
from imagespec.registry.http import HttpRegistry
from tests.fakes.images import body, described
from tests.fakes.lossy import Lossy
from tests.fakes.scripted import Scripted, SlidingClock, answer, cut

Serve = Callable[..., Scripted]
Client = Callable[..., HttpRegistry]

DATA = random.Random(1).randbytes(3_000_000)
CUTS = 300


def _repository(server: Scripted) -> Repository:
    return Repository.parse(f"{server.host}/x/y")


@pytest.mark.parametrize("seed", range(CUTS))
def test_an_upload_cut_anywhere_is_whole_or_a_clean_error(seed: int, serve: Serve, client: Client) -> None:
    chance = random.Random(seed)
    size = chance.choice([1, 2, 100, 65_536, 1 << 20, 1_500_000])
    data = DATA[:size]
    cuts = [chance.randint(0, size) for _ in range(chance.choice([1, 1, 2, 3, 4]))]

    def cut_at(length: int) -> int | None:
        return min(cuts.pop(), length) if cuts else None

    lossy = Lossy(cut_at, forgets=chance.random() < 0.3, cut_answer=lambda method: chance.random() < 0.1)
    server = serve(then=lossy)
    with contextlib.suppress(RegistryUnreachable):  # the one error that a cut line may end in
        assert client().write_blob(_repository(server), described(data), body(data)) is True
        assert lossy.blobs[str(digest_of(data))] == data
    assert all(digest_of(kept) == digest_of(data) for kept in lossy.blobs.values())
    assert len(server.asked) < 30


def test_a_config_is_sent_and_not_asked_for(serve: Serve, client: Client) -> None:
    data = b"{}"
    lossy = Lossy(lambda length: None)
    server = serve(then=lossy)
    assert client().write_blob(_repository(server), described(data, OCI_CONFIG), body(data)) is True
    assert [asked.method for asked in server.asked] == ["POST", "PUT"]
    assert lossy.blobs[str(digest_of(data))] == data


def test_a_cut_upload_goes_on_where_it_stands(serve: Serve, client: Client, clock: SlidingClock) -> None:
    cuts = [2_500_000]
    lossy = Lossy(lambda length: cuts.pop() if cuts else None)
    server = serve(then=lossy)
    client().write_blob(_repository(server), described(DATA), body(DATA))
    assert lossy.blobs[str(digest_of(DATA))] == DATA
    sent = sum(len(asked.body) for asked in server.asked)
    assert sent == len(DATA)
    assert clock.slept == pytest.approx([0.5])


def test_progress_gives_new_attempts(serve: Serve, client: Client) -> None:
    data = DATA * 4
    cuts = [1_200_000] * 8
    lossy = Lossy(lambda length: cuts.pop() if cuts else None)
    server = serve(then=lossy)
    assert client().write_blob(_repository(server), described(data), body(data)) is True
    assert lossy.blobs[str(digest_of(data))] == data


def test_an_upload_without_progress_ends(serve: Serve, client: Client, clock: SlidingClock) -> None:
    server = serve(then=Lossy(lambda length: 10))
    with pytest.raises(RegistryUnreachable):
        client().write_blob(_repository(server), described(DATA), body(DATA))
    assert len(clock.slept) == 2
    assert len(server.asked) < 16


def test_a_lost_answer_does_not_send_the_blob_again(serve: Serve, client: Client) -> None:
    lost = ["PUT"]
    lossy = Lossy(cut_answer=lambda method: method in lost and not lost.clear())
    server = serve(then=lossy)
    assert client().write_blob(_repository(server), described(DATA), body(DATA)) is True
    assert sum(len(asked.body) for asked in server.asked) == len(DATA)


def test_a_limit_on_one_body_makes_chunks(serve: Serve, client: Client) -> None:
    data = DATA * 12
    opened = []

    def opens() -> io.BytesIO:
        opened.append(1)
        return io.BytesIO(data)

    lossy = Lossy(max_body_bytes=20_000_000)
    server = serve(then=lossy)
    assert client().write_blob(_repository(server), described(data), opens) is True
    assert lossy.blobs[str(digest_of(data))] == data
    assert [len(asked.body) for asked in server.asked if asked.method == "PATCH"] == [16 << 20, 16 << 20, 2_445_568]
    assert lossy.open_sessions == 0
    assert len(opened) <= 2


def test_a_cut_chunk_is_resumed(serve: Serve, client: Client) -> None:
    data = DATA * 12
    cuts: list[int | None] = [5_000_000, None]
    lossy = Lossy(lambda length: cuts.pop() if cuts else None, max_body_bytes=20_000_000)
    assert client().write_blob(_repository(serve(then=lossy)), described(data), body(data)) is True
    assert lossy.blobs[str(digest_of(data))] == data


def test_content_that_changed_leaves_no_session(serve: Serve, client: Client) -> None:
    lossy = Lossy()
    server = serve(then=lossy)
    with pytest.raises(IntegrityError, match="another digest") as raised:
        client().write_blob(_repository(server), described(DATA), body(DATA[:-1] + b"x"))
    assert raised.value.exit_code == 5
    assert lossy.blobs == {}
    assert all(len(asked.body) < len(DATA) for asked in server.asked)


absent = answer(404)
begun = answer(202, {"Location": "/v2/x/y/blobs/uploads/1"})
REFUSED = {
    "no place": ((absent, answer(202)), ProtocolViolation, "names no place", 2, 0),
    "start denied": ((absent, answer(403, {}, b'{"errors":[{"code":"DENIED"}]}')), Denied, "does not allow", 2, 0),
    "start needs credentials": ((absent, answer(401)), Unauthorized, "start an upload", 2, 0),
    "another digest stored": (
        (absent, begun, answer(201, {"Docker-Content-Digest": str(digest_of(b"x"))}), answer(204)),
        IntegrityError,
        "the registry stored",
        4,
        0,
    ),
    "sent to another host in the clear": (
        (absent, answer(202, {"Location": "http://upload.invalid/1"})),
        ProtocolViolation,
        "not https",
        2,
        0,
    ),
    "no space, for ever": ((absent, *(begun, answer(507), answer(204)) * 9), ProtocolViolation, "answered 507", 4, 0),
    "digest refused for ever": (
        (absent, *(begun, answer(400, {}, b'{"errors":[{"code":"DIGEST_INVALID"}]}'), answer(204)) * 9),
        ProtocolViolation,
        "answered 400",
        10,
        2,
    ),
    "start cut for ever": ((absent, *(cut(),) * 9), RegistryUnreachable, "start an upload", 5, 2),
    "start answers 503": ((absent, *(answer(503),) * 9), RegistryUnreachable, "503", 4, 2),
    "look-up denied": ((answer(403),), Denied, "look up blob", 1, 0),
    "another blob in its place": (
        (answer(200, {"Docker-Content-Digest": str(digest_of(b"x"))}),),
        ProtocolViolation,
        "in its place",
        1,
        0,
    ),
}


@pytest.mark.parametrize(("moves", "kind", "message", "requests", "waits"), REFUSED.values(), ids=REFUSED.keys())
def test_an_upload_that_is_refused(
    moves: tuple[object, ...],
    kind: type[RegistryError],
    message: str,
    requests: int,
    waits: int,
    serve: Serve,
    client: Client,
    clock: SlidingClock,
) -> None:
    server = serve(*moves)
    with pytest.raises(kind, match=message) as raised:
        client().write_blob(_repository(server), described(b"abc"), body(b"abc"))
    assert type(raised.value) is kind
    assert len(server.asked) == requests
    assert len(clock.slept) == waits


@pytest.mark.parametrize("seed", range(30))
def test_a_download_cut_anywhere_is_resumed(seed: int, serve: Serve, client: Client) -> None:
    chance = random.Random(seed)
    data = DATA[: chance.choice([10, 70_000, 2_000_000])]
    cuts = [chance.randint(0, len(data)) for _ in range(2)]
    lossy = Lossy(lambda length: min(cuts.pop(), max(0, length - 1)) if cuts else None)
    lossy.blobs[str(digest_of(data))] = data
    with client().read_blob(_repository(serve(then=lossy)), digest_of(data)) as stream:
        assert stream.read() == data


def test_a_download_that_is_never_whole_ends(serve: Serve, client: Client, clock: SlidingClock) -> None:
    lossy = Lossy(lambda length: min(10, length - 1))
    lossy.blobs[str(digest_of(DATA))] = DATA
    stream = client().read_blob(_repository(serve(then=lossy)), digest_of(DATA))
    with stream, pytest.raises(RegistryUnreachable):
        stream.read()
    assert len(clock.slept) == 2


def test_a_registry_that_ignores_ranges_is_read_from_the_start(serve: Serve, client: Client) -> None:
    whole = answer(200, {}, DATA)
    server = serve(answer(200, {}, DATA[:1_000_000], length=len(DATA)), then=whole)
    with client().read_blob(_repository(server), digest_of(DATA)) as stream:
        assert stream.read() == DATA
    assert server.asked[1].headers["range"] == "bytes=1000000-"


def test_another_range_than_was_asked_for_is_refused(serve: Serve, client: Client) -> None:
    wrong = answer(206, {"Content-Range": "bytes 5-9/10"}, DATA[:5])
    server = serve(answer(200, {}, DATA[:1_000_000], length=len(DATA)), then=wrong)
    stream = client().read_blob(_repository(server), digest_of(DATA))
    with stream, pytest.raises(ProtocolViolation, match="another range"):
        stream.read()


def test_wrong_bytes_are_not_taken(serve: Serve, client: Client) -> None:
    stream = client().read_blob(_repository(serve(then=answer(200, {}, b"evil"))), digest_of(b"good"))
    with stream, pytest.raises(IntegrityError):
        stream.read()


def test_a_stalled_upload_is_left_within_the_limit(serve: Serve, client: Client) -> None:
    from time import monotonic

    from tests.fakes.scripted import stall

    server = serve(absent, begun, then=stall())
    began = monotonic()
    limits = Limits(read_s=0.3, operation_s=0.7, attempts=9)
    with pytest.raises(RegistryUnreachable, match="timed out"):
        client(limits=limits).write_blob(_repository(server), described(b"abc"), body(b"abc"))
    assert monotonic() - began < 2


def test_a_place_with_odd_characters_is_quoted(serve: Serve, client: Client) -> None:
    odd = answer(202, {"Location": "/v2/x/y/blobs/uploads/\xe9 1?a=\xfc"})
    server = serve(absent, odd, answer(201))
    assert client().write_blob(_repository(server), described(b"abc"), body(b"abc")) is True
    assert server.asked[2].target.startswith("/v2/x/y/blobs/uploads/%C3%A9%201?a=%C3%BC&digest=sha256%3A")


def test_content_that_cannot_be_read_is_not_the_registrys_fault(serve: Serve, client: Client, tmp_path: Path) -> None:
    lossy = Lossy()
    server = serve(then=lossy)
    with pytest.raises(InputChanged, match="cannot be read") as raised:
        client().write_blob(_repository(server), described(b"abc"), (tmp_path / "gone").open)  # type: ignore[arg-type]
    assert raised.value.path.endswith("gone")
    assert raised.value.exit_code == 2
    assert lossy.open_sessions == 0
