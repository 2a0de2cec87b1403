"""What answers mean, decided without a socket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagespec.errors import Denied, RegistryError, RegistryUnreachable
from imagespec.names import Digest, Reference
from imagespec.oci import OCI_MANIFEST, Manifest
from imagespec.registry import api
from imagespec.registry.answers import (
    Answer,
    errors_in,
    failure,
    is_absent,
    next_page,
    redacted,
    retry_after_s,
    uploaded_bytes,
    wait_s,
)
from imagespec.registry.hosts import Limits

REFERENCE = Reference.parse("a.io/x/y:1")
PUT = api.put_manifest(REFERENCE, Manifest(OCI_MANIFEST, b"{}"))


@given(st.binary(max_size=200))
def test_any_body_can_be_read(body: bytes) -> None:
    errors_in(body)
    answer = Answer(status=404, body=body)
    is_absent(answer)
    assert isinstance(failure(PUT, answer, "https://a.io/"), RegistryError)


@given(st.integers(100, 599), st.text(max_size=100))
def test_any_answer_is_one_line(status: int, message: str) -> None:
    import json

    body = json.dumps({"errors": [{"code": "X", "message": message}]}).encode()
    text = str(failure(PUT, Answer(status=status, body=body), "https://u:p@a.io/x?secret=1"))
    assert len(text.splitlines()) == 1
    assert len(text) < 500


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b'{"errors":[{"code":"TAG_INVALID","message":"The image tag \'1\' is immutable"}]}'),
        (400, b'{"errors":[{"code":"ImageTagAlreadyExistsException","message":"x"}]}'),
        (412, b'{"errors":[{"code":"PRECONDITION","message":"configured as immutable"}]}'),
        (409, b'{"errors":[{"code":"TAG_IMMUTABLE"}]}'),
    ],
)
def test_immutable_tags(status: int, body: bytes) -> None:
    error = failure(PUT, Answer(status=status, body=body), "")
    assert isinstance(error, Denied)
    assert "immutable" in str(error)


def test_urls_are_redacted() -> None:
    assert redacted("https://user:pw@a.io:1/x?token=1#f") == "https://a.io:1/x"
    assert redacted("/v2/x?_state=secret") == "/v2/x"
    assert failure(PUT, Answer(status=500), "https://u:p@a.io/x?y=z").url == "https://a.io/x"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("1.5", 1.5),
        ("Mon, 23 Nov 2026 10:00:30 GMT", 30.0),
        ("Mon, 23 Nov 2026 09:00:00 GMT", 0.0),
        ("1795428060", 60.0),
        ("", None),
        ("nan", None),
        ("-3", None),
        ("soon", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    headers = {"retry-after": value, "date": "Mon, 23 Nov 2026 10:00:00 GMT"}
    assert retry_after_s(Answer(status=429, headers=headers)) == seconds


def test_retry_after_needs_a_date_for_a_date() -> None:
    assert retry_after_s(Answer(status=429, headers={"retry-after": "Mon, 23 Nov 2026 10:00:30 GMT"})) is None
    assert retry_after_s(Answer(status=429, headers={"retry-after": "1795428060"})) is None


@given(st.integers(1, 10), st.floats(0, 200), st.floats(0, 0.999))
def test_waits_are_bounded(attempt: int, remaining_s: float, jitter: float) -> None:
    limits = Limits(attempts=4, backoff_s=0.5, backoff_max_s=3)
    error = RegistryUnreachable("x")
    wait = wait_s(limits, attempt=attempt, remaining_s=remaining_s, jitter=jitter, error=error, transient=True)
    assert wait is None or (attempt < 4 and 0 < wait < min(remaining_s, 3.01))


def test_only_what_can_change_is_waited_for() -> None:
    error = RegistryError("x")
    assert wait_s(Limits(), attempt=1, remaining_s=99, jitter=0, error=error, transient=False) is None


@pytest.mark.parametrize(
    ("text", "count"), [("0-9", 10), ("bytes=0-9", 10), ("0-0", None), ("0--1", None), ("5-9", None), ("", None)]
)
def test_upload_ranges(text: str, count: int | None) -> None:
    assert uploaded_bytes(Answer(status=202, headers={"range": text})) == count


def test_next_pages() -> None:
    assert next_page(Answer(status=200, headers={"link": '</v2/x/tags/list?last=b&n=2>; rel="next"'})) == (
        "/v2/x/tags/list?last=b&n=2"
    )
    assert next_page(Answer(status=200, headers={"link": '</p>; rel="prev"'})) == ""
    assert next_page(Answer(status=200)) == ""


def test_requests_name_what_they_are_for() -> None:
    digest = Digest.sha256("a" * 64)
    assert api.get_manifest(REFERENCE.with_digest(digest)).target == f"/v2/x/y/manifests/{digest}"
    assert api.head_manifest(REFERENCE).action == "look up a.io/x/y:1"
    mount = api.start_upload(REFERENCE.repository, digest, Reference.parse("a.io/p/q:1").repository)
    assert mount.target == f"/v2/x/y/blobs/uploads/?mount=sha256%3A{'a' * 64}&from=p%2Fq"
    assert mount.scopes == ("repository:x/y:pull,push", "repository:p/q:pull")
    assert api.head_manifest(REFERENCE).scopes == ("repository:x/y:pull",)
    assert api.put_manifest(REFERENCE, Manifest(OCI_MANIFEST, b"{}")).target == "/v2/x/y/manifests/1"
