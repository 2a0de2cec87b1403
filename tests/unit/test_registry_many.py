"""Many look-ups at once, and mirrors, over registries in memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from imagespec.errors import Denied, RegistryUnreachable, Unauthorized
from imagespec.names import Reference, Repository
from imagespec.oci import Descriptor, Platform, digest_of
from imagespec.registry.hosts import Hosts, Mirror, RegistrySettings
from imagespec.registry.many import resolve_many
from imagespec.registry.mirrors import MirroredRegistry, locate
from tests.fakes.images import body, described, write_image
from tests.fakes.registry import FakeRegistry


class Slow:
    """Takes its time, counts how many are inside by host, and has hosts that are dead or refuse."""

    def __init__(self) -> None:
        self.calls: list[Reference] = []
        self.inside: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self._lock = threading.Lock()

    def resolve(self, reference: Reference, platforms: tuple[Platform, ...] = ()) -> Descriptor | None:
        host = reference.repository.registry
        with self._lock:
            self.calls.append(reference)
            self.inside[host] = self.inside.get(host, 0) + 1
            self.most[host] = max(self.most.get(host, 0), self.inside[host])
        time.sleep(0.1 if host.startswith("dead") else 0.002)
        with self._lock:
            self.inside[host] -= 1
        if host.startswith("dead"):
            raise RegistryUnreachable(f"look up {reference}: no answer")
        if host.startswith("denied"):
            raise Denied("no", status=403)
        return described(str(reference).encode()) if str(reference.tag).endswith("0") else None


def _references(host: str, count: int) -> list[Reference]:
    return [Reference.parse(f"{host}/x/y:{number}") for number in range(count)]


def test_every_reference_gets_its_own_answer() -> None:
    references = _references("a.io", 100)
    answers = {one.reference: one for one in resolve_many(Slow(), [*references, *references])}
    assert set(answers) == set(references)
    for reference, one in answers.items():
        assert one.error is None
        assert (one.descriptor is not None) == str(reference.tag).endswith("0")


def test_a_dead_host_is_one_error_and_holds_up_nobody() -> None:
    slow = Slow()
    began = time.monotonic()
    answers = list(resolve_many(slow, [*_references("dead.io", 333), *_references("a.io", 300)], concurrency=8))
    assert time.monotonic() - began < 3
    dead = [one.error for one in answers if one.reference.repository.registry == "dead.io"]
    assert len(dead) == 333
    assert len({id(error) for error in dead}) == 1
    assert sum(one.repository.registry == "dead.io" for one in slow.calls) <= 8
    assert all(one.error is None for one in answers if one.reference.repository.registry == "a.io")


def test_an_error_of_one_reference_is_its_own() -> None:
    answers = list(resolve_many(Slow(), _references("denied.io", 20)))
    assert len({id(one.error) for one in answers}) == 20


def test_the_limit_holds_for_each_host() -> None:
    slow = Slow()
    list(resolve_many(slow, [*_references("a.io", 60), *_references("b.io", 60)], concurrency=5))
    assert max(slow.most.values()) <= 5


def test_leaving_early_starts_nothing_more() -> None:
    slow = Slow()
    lookups = resolve_many(slow, _references("a.io", 500), concurrency=4)
    next(lookups)
    lookups.close()
    time.sleep(0.05)
    count = len(slow.calls)
    time.sleep(0.05)
    assert len(slow.calls) == count
    assert count < 100


def test_a_bug_reaches_the_caller() -> None:
    class Broken:
        def resolve(self, reference: Reference, platforms: tuple[Platform, ...] = ()) -> Descriptor | None:
            raise KeyError("ours")

    with pytest.raises(KeyError):
        list(resolve_many(Broken(), _references("a.io", 3)))


def test_asking_begins_while_references_are_worked_out() -> None:
    slow = Slow()

    def references() -> Iterator[Reference]:
        first, *others = _references("a.io", 9)
        yield first
        deadline = time.monotonic() + 10
        while not slow.calls and time.monotonic() < deadline:
            time.sleep(0.001)
        assert slow.calls == [first]
        yield from others

    assert len(list(resolve_many(slow, references()))) == 9


def test_what_goes_wrong_between_two_references_is_raised_and_leaves_no_thread() -> None:
    slow, before = Slow(), threading.active_count()

    def references() -> Iterator[Reference]:
        yield from _references("a.io", 300)
        raise KeyError("theirs")

    with pytest.raises(KeyError, match="theirs"):
        list(resolve_many(slow, references()))
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.001)
    assert threading.active_count() <= before
    assert len(slow.calls) < 300


def test_nothing_asked_nothing_answered() -> None:
    assert list(resolve_many(Slow(), [])) == []


HOSTS = Hosts({"docker.io": RegistrySettings(mirrors=(Mirror("m1.io"), Mirror("m2.io", "hub")))})
PYTHON = Reference.parse("python:3.11")


def _write(registry: FakeRegistry, text: str) -> Descriptor:
    reference = Reference.parse(text)
    return registry.write_manifest(reference, write_image(registry, reference.repository))


def test_the_first_mirror_that_has_it_answers() -> None:
    registry = FakeRegistry()
    mirrored = MirroredRegistry(registry, HOSTS)
    assert mirrored.resolve(PYTHON) is None
    origin = _write(registry, "docker.io/library/python:3.11")
    assert mirrored.resolve(PYTHON) == origin
    second = _write(registry, "m2.io/hub/library/python:3.11")
    assert mirrored.resolve(PYTHON) == second
    first = _write(registry, "m1.io/library/python:3.11")
    assert mirrored.resolve(PYTHON) == first
    assert str(locate(registry, HOSTS, PYTHON)) == "m1.io/library/python:3.11"
    found = mirrored.read_manifest(PYTHON)
    assert found is not None
    assert found.descriptor == first


@pytest.mark.parametrize("error", [RegistryUnreachable("x"), Unauthorized("x", status=401), Denied("x", status=403)])
def test_a_mirror_that_cannot_tell_is_passed_over(error: Exception) -> None:
    class Half(FakeRegistry):
        def resolve(self, reference: Reference, platforms: tuple[Platform, ...] = ()) -> Descriptor | None:
            if reference.repository.registry != "docker.io":
                raise error
            return super().resolve(reference, platforms)

    registry = Half()
    origin = _write(registry, "docker.io/library/python:3.11")
    assert MirroredRegistry(registry, HOSTS).resolve(PYTHON) == origin


def test_blobs_come_from_where_they_are_and_go_to_the_registry() -> None:
    registry = FakeRegistry()
    mirrored = MirroredRegistry(registry, HOSTS)
    data = b"layer"
    registry.write_blob(Repository.parse("m2.io/hub/library/python"), described(data), body(data))
    with mirrored.read_blob(PYTHON.repository, digest_of(data)) as stream:
        assert stream.read() == data
    assert mirrored.write_blob(PYTHON.repository, described(data), body(data)) is True
    assert registry.calls[-1] == ("write_blob", f"docker.io/library/python@{digest_of(data)}")


def test_a_rewritten_registry_is_not_asked() -> None:
    registry = FakeRegistry()
    _write(registry, "docker.io/library/python:3.11")
    hosts = Hosts({"docker.io": RegistrySettings(rewrite=Mirror("local.io", "hub"))})
    assert MirroredRegistry(registry, hosts).resolve(PYTHON) is None
    assert registry.calls[-1] == ("resolve", "local.io/hub/library/python:3.11")
