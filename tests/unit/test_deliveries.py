"""Blobs that several images want at once are brought once, and by somebody else where the first one fails."""

from __future__ import annotations

import threading

import pytest

from imagespec.builders.assembly.deliveries import Blob, Deliveries
from imagespec.names import Repository
from tests.fakes.registry import FakeRegistry

HERE = Repository.parse("registry.test/team/app")
BLOB = Blob(FakeRegistry(), HERE, "sha256:a")


def test_what_is_brought_is_brought_once() -> None:
    deliveries, sent = Deliveries(), []
    assert not deliveries.has(BLOB)
    for number in range(3):
        deliveries.bring(BLOB, lambda number=number: sent.append(number))  # type: ignore[misc]
    assert sent == [0]
    assert deliveries.has(BLOB)


def test_another_client_repository_or_digest_is_another_blob() -> None:
    others = [
        Blob(FakeRegistry(), HERE, BLOB.digest),
        Blob(BLOB.registry, Repository.parse("registry.test/team/other"), BLOB.digest),
        Blob(BLOB.registry, HERE, "sha256:b"),
    ]
    deliveries = Deliveries()
    deliveries.bring(BLOB, lambda: None)
    assert [deliveries.has(other) for other in others] == [False] * 3


def test_what_is_forgotten_is_brought_again() -> None:
    deliveries, sent = Deliveries(), []
    for _ in range(2):
        deliveries.bring(BLOB, lambda: sent.append(1))
        deliveries.forget([BLOB])
    assert sent == [1, 1]


def test_who_comes_meanwhile_waits_and_brings_it_when_the_first_fails() -> None:
    deliveries = Deliveries()
    begun, failing, ended = threading.Event(), threading.Event(), threading.Event()
    sent: list[str] = []

    def fails() -> None:
        begun.set()
        assert failing.wait(30)
        raise ConnectionError("cut")

    def first() -> None:
        with pytest.raises(ConnectionError):
            deliveries.bring(BLOB, fails)
        sent.append("failed")

    def second() -> None:
        assert begun.wait(30)
        deliveries.bring(BLOB, lambda: sent.append("brought"))
        ended.set()

    threads = [threading.Thread(target=one) for one in (first, second)]
    for one in threads:
        one.start()
    assert begun.wait(30)
    assert not ended.wait(0.05)
    assert sent == []
    failing.set()
    for one in threads:
        one.join(30)
    assert sorted(sent) == ["brought", "failed"]
    assert deliveries.has(BLOB)


def test_blobs_that_differ_do_not_wait_for_one_another() -> None:
    deliveries, both = Deliveries(), threading.Barrier(2, timeout=30)
    other = Blob(BLOB.registry, HERE, "sha256:b")
    threads = [threading.Thread(target=deliveries.bring, args=(one, both.wait)) for one in (BLOB, other)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    assert deliveries.has(BLOB)
    assert deliveries.has(other)
