"""Manifests written to registries that are slow to show them, and administration of those that do not play along."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from imagespec.errors import (
    Denied,
    ImageSpecError,
    IntegrityError,
    ProtocolViolation,
    RegistryError,
    RegistryUnreachable,
)
from imagespec.names import Reference, Repository
from imagespec.oci import OCI_INDEX, OCI_MANIFEST, Descriptor, Manifest, canonical_json, digest_of
from imagespec.registry.admin import HttpRegistryAdmin
from imagespec.registry.http import HttpRegistry
from tests.fakes.scripted import Move, Scripted, SlidingClock, answer, cut

Serve = Callable[..., Scripted]
Client = Callable[..., HttpRegistry]

MANIFEST = Manifest(OCI_MANIFEST, canonical_json({"schemaVersion": 2, "layers": []}))
OTHER = Manifest(OCI_MANIFEST, canonical_json({"schemaVersion": 2, "layers": [], "annotations": {"a": "b"}}))
absent = answer(404, {"Docker-Distribution-Api-Version": "registry/2.0"})
created = answer(201)


def shown(manifest: Manifest) -> Move:
    return answer(
        200,
        {"Content-Type": manifest.media_type, "Docker-Content-Digest": str(manifest.descriptor.digest)},
        manifest.data,
    )


def reference(server: Scripted) -> Reference:
    return Reference.parse(f"{server.host}/x/y:1")


def coded(status: int, code: str, message: str = "") -> Move:
    return answer(status, {}, json.dumps({"errors": [{"code": code, "message": message}]}).encode())


# What distribution 2 answers while another client writes the repository's link to the same blob anew.
unseen = coded(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown")


@pytest.mark.parametrize(
    ("moves", "waits"),
    [
        ((created, shown(MANIFEST)), 0),
        ((created, absent, absent, shown(MANIFEST)), 1),
        ((created, shown(OTHER), shown(OTHER), shown(MANIFEST)), 2),
        ((answer(503), created, shown(MANIFEST)), 1),
        ((unseen, created, shown(MANIFEST)), 1),
        ((unseen, unseen, created, shown(MANIFEST)), 2),
        ((cut(), created, shown(MANIFEST)), 1),
        ((created, answer(500), shown(MANIFEST)), 1),
    ],
    ids=[
        "at once",
        "later",
        "the old one first",
        "503 first",
        "a blob unseen",
        "twice",
        "a lost answer",
        "a look-up that fails first",
    ],
)
def test_a_write_is_done_when_it_can_be_read(
    moves: tuple[Move, ...], waits: int, serve: Serve, client: Client, clock: SlidingClock
) -> None:
    server = serve(*moves)
    assert client().write_manifest(reference(server), MANIFEST) == MANIFEST.descriptor
    assert len(server.asked) == len(moves)
    assert len(clock.slept) == waits


@pytest.mark.parametrize(
    ("moves", "kind", "message", "requests"),
    [
        ((created, *(absent,) * 20), RegistryError, "the registry serves nothing", 5),
        ((created, *(shown(OTHER),) * 20), RegistryError, "the registry serves sha256", 4),
        ((answer(201, {"Docker-Content-Digest": str(digest_of(b"x"))}),), IntegrityError, "stored", 1),
        ((coded(400, "TAG_INVALID", "the tag is immutable"),), Denied, "immutable", 1),
        ((*(unseen,) * 20,), ProtocolViolation, "blob unknown", 3),
        ((coded(403, "DENIED"),), Denied, "does not allow", 1),
        ((answer(413),), ProtocolViolation, "413", 1),
        ((*(cut(),) * 9,), RegistryUnreachable, "no answer", 3),
    ],
)
def test_a_write_that_does_not_come_about(
    moves: tuple[Move, ...],
    kind: type[ImageSpecError],
    message: str,
    requests: int,
    serve: Serve,
    client: Client,
    clock: SlidingClock,
) -> None:
    server = serve(*moves)
    with pytest.raises(kind, match=message):
        client().write_manifest(reference(server), MANIFEST)
    assert len(server.asked) == requests
    assert len(clock.slept) <= 2


def test_pages_of_tags_are_followed(serve: Serve, client: Client) -> None:
    first = answer(200, {"Link": '</v2/x/y/tags/list?last=b>; rel="next"'}, b'{"tags": ["a", "b"]}')
    server = serve(first, answer(200, {}, b'{"tags": ["c", "a"]}'))
    assert HttpRegistryAdmin(client()).tags(Repository.parse(f"{server.host}/x/y")) == ("a", "b", "c")
    assert server.asked[1].target == "/v2/x/y/tags/list?last=b"


def test_a_next_page_on_another_host_gets_no_credentials_and_no_plain_http(serve: Serve, client: Client) -> None:
    server = serve(answer(200, {"Link": '<http://evil.example/x>; rel="next"'}, b'{"tags": []}'))
    with pytest.raises(ProtocolViolation, match="not https"):
        HttpRegistryAdmin(client()).tags(Repository.parse(f"{server.host}/x/y"))


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"tags": 7}', b""])
def test_a_list_of_tags_that_is_none(body: bytes, serve: Serve, client: Client) -> None:
    server = serve(answer(200, {}, body))
    with pytest.raises(ProtocolViolation, match="list the tags"):
        HttpRegistryAdmin(client()).tags(Repository.parse(f"{server.host}/x/y"))


def _index(*types: str) -> bytes:
    entries = [
        Descriptor(media_type=OCI_MANIFEST, digest=digest_of(kind.encode()), size_bytes=1, artifact_type=kind)
        for kind in types
    ]
    return Manifest.index(tuple(entries)).data


def test_referrers_of_a_registry_that_has_them(serve: Serve, client: Client) -> None:
    page = {"Content-Type": OCI_INDEX}
    server = serve(
        answer(200, {**page, "Link": '</v2/x/y/referrers/z?p=2>; rel="next"'}, _index("a", "b")),
        answer(200, page, _index("a2", "b")),
    )
    repository = Repository.parse(f"{server.host}/x/y")
    found = HttpRegistryAdmin(client()).referrers(repository, digest_of(b"s"), "b")
    assert [one.artifact_type for one in found] == ["b", "b"]
    assert server.asked[0].target.endswith("?artifactType=b")


def test_no_fallback_tag_where_the_registry_keeps_referrers(serve: Serve, client: Client) -> None:
    subject = {"mediaType": OCI_MANIFEST, "digest": str(digest_of(b"s")), "size": 1}
    manifest = Manifest(OCI_MANIFEST, canonical_json({"schemaVersion": 2, "layers": [], "subject": subject}))
    server = serve(answer(201, {"OCI-Subject": str(digest_of(b"s"))}), shown(manifest))
    client().write_manifest(reference(server), manifest)
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("move", "kind", "message"),
    [
        (answer(405), Denied, "does not support it"),
        (coded(400, "UNSUPPORTED"), Denied, "does not support it"),
        (coded(403, "DENIED"), Denied, "does not allow"),
        (answer(404, {}, b"<html>"), ProtocolViolation, "not as a registry does"),
    ],
)
def test_a_deletion_that_is_refused(
    move: Move, kind: type[RegistryError], message: str, serve: Serve, client: Client
) -> None:
    server = serve(move)
    with pytest.raises(kind, match=message):
        HttpRegistryAdmin(client()).delete(reference(server))


def test_a_ping_of_nobody_is_an_error(client: Client) -> None:
    with pytest.raises(RegistryUnreachable, match=r"no answer from http://127.0.0.1:1: connection refused$"):
        HttpRegistryAdmin(client()).ping("127.0.0.1:1")
