"""Digests, repositories, references: what is one, what is none, and that text comes back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagespec.errors import InvalidReference, SpecError
from imagespec.names import Digest, Reference, Repository, check_tag

SHA = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("python", "docker.io/library/python:latest"),
        ("python:3.11", "docker.io/library/python:3.11"),
        ("me/app", "docker.io/me/app:latest"),
        ("docker.io/python", "docker.io/library/python:latest"),
        ("index.docker.io/me/app:1", "docker.io/me/app:1"),
        ("registry-1.docker.io/me/app:1", "docker.io/me/app:1"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/x:1", "localhost:5000/x:1"),
        ("127.0.0.1:5000/a/b/c:1", "127.0.0.1:5000/a/b/c:1"),
        ("[::1]:5000/x:1", "[::1]:5000/x:1"),
        ("GHCR.io/x/y:T", "ghcr.io/x/y:T"),
        (f"a.io/x@{SHA}", f"a.io/x@{SHA}"),
        (f"a.io/x:1@{SHA}", f"a.io/x:1@{SHA}"),
        ("a.io/x__y/z-w/v.u:1", "a.io/x__y/z-w/v.u:1"),
        ("localhost:5000", "docker.io/library/localhost:5000"),
    ],
)
def test_references_are_normalised_as_docker_does(text: str, shown: str) -> None:
    assert str(Reference.parse(text)) == shown
    assert Reference.parse(shown) == Reference.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "@", "/x", "x/", "a//b", "x:", "x:-a", "x:.a", f"x:{'a' * 129}", "X", "a.io/X", "a.io/x:1\n", "x\n",
        "a.io:99999/x", "a.io:0/x", "a.io:/x", "-a.io/x", "a..io/x", "a.io/x___y", "a.io/-x", "a.io/x-", "a.io/x@y",
        "a.io/x@sha256:abc", f"a.io/x@{SHA.upper()}", "https://a.io/x", "u:p@a.io/x", "a.io/x y", "a.io/é", "a.io/x:é",
        "a.io/" + "x" * 256, "a.io/x\0", "[::1/x", "a_b.io/x",
    ],
)  # fmt: skip
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference) as raised:
        Reference.parse(text)
    assert isinstance(raised.value, SpecError)
    assert raised.value.exit_code == 2
    assert len(str(raised.value).splitlines()) == 1


def test_a_value_with_a_line_feed_is_not_repeated() -> None:
    with pytest.raises(InvalidReference) as raised:
        Reference.parse("a.io/x\nFROM evil")
    assert "evil" not in str(raised.value)


PARTS = st.from_regex(r"\A[a-z0-9]{1,9}(?:(?:[._]|__|-{1,3})[a-z0-9]{1,9}){0,3}\Z")


@given(
    st.sampled_from(["docker.io", "ghcr.io", "localhost", "a.b-c.io:5000", "127.0.0.1:1", "[::1]:5"]),
    st.lists(PARTS, min_size=1, max_size=4),
    st.none() | st.from_regex(r"\A[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}\Z"),
    st.booleans(),
)
def test_a_reference_is_what_its_text_says(host: str, path: list[str], tag: str | None, pinned: bool) -> None:
    digest = Digest.parse(SHA) if pinned or tag is None else None
    reference = Reference(Repository.parse("/".join([host, *path])), tag, digest)
    assert Reference.parse(str(reference)) == reference


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except InvalidReference:
        return
    assert Reference.parse(str(reference)) == reference


def test_parts() -> None:
    reference = Reference.parse("a.io/x:1")
    assert reference.text_of_target == "1"
    assert reference.with_digest(Digest.parse(SHA)).text_of_target == SHA
    assert str(reference.with_digest(Digest.parse(SHA)).with_tag("2")) == "a.io/x:2"
    assert check_tag("_a.B-1") == "_a.B-1"
    with pytest.raises(InvalidReference):
        reference.with_tag("a:b")


@pytest.mark.parametrize("text", [SHA, "sha512:" + "a" * 128, "sha384:" + "b" * 96, "x+y.z:ABC=_-"])
def test_digests(text: str) -> None:
    assert str(Digest.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:" + "a" * 63, "sha256:" + "A" * 64, "SHA256:" + "a" * 64, "a b:c"]
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference):
        Digest.parse(text)


@pytest.mark.parametrize("text", ["app:1", "team/app:1", "my.org/app:1", "localhost/app:1", "my.org/library/app:1"])
def test_a_familiar_name_is_what_people_write(text: str) -> None:
    assert Reference.parse(text).familiar == text
    assert Reference.parse(Reference.parse(text).familiar) == Reference.parse(text)
