"""What packages resolved to, in an image's labels and as requirements."""

from __future__ import annotations

import json

import pytest

from imagespec.oci import Platform
from imagespec.wheels.pins import LABEL_ENVIRONMENT, LABEL_LOCK, Pinned, is_lock_label, lock_labels, pins_of
from imagespec.wheels.pins import requirement_lines as lines

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")
ONE = Pinned(name="one", version="1.0", sha256="a" * 64)
TWO = Pinned(name="two", version="2.0")


def many(count: int) -> tuple[Pinned, ...]:
    return tuple(Pinned(name=f"package-{number:04}", version="1.0", sha256="f" * 64) for number in range(count))


def test_labels_say_versions_and_hashes() -> None:
    labels = lock_labels([TWO, ONE], "x1-env")
    assert json.loads(labels[LABEL_LOCK]) == {"one": f"1.0 sha256:{'a' * 64}", "two": "2.0"}
    assert labels[LABEL_ENVIRONMENT] == "x1-env"
    assert pins_of(labels) == (ONE, TWO)


def test_nothing_is_recorded_of_no_packages() -> None:
    assert lock_labels([], "x1-env") == {}
    assert pins_of({"other": "label"}) == ()


@pytest.mark.parametrize("count", [1, 43, 44, 45, 46, 100, 1000])
def test_no_label_is_longer_than_containerd_takes(count: int) -> None:
    labels = lock_labels(many(count), "x1-env")
    assert max(len(name) + len(value.encode()) for name, value in labels.items()) <= 4096
    assert pins_of(labels) == many(count)
    assert all(map(is_lock_label, labels))
    assert not is_lock_label("io.imagespec.locksmith")


def test_a_record_that_cannot_be_read_is_none() -> None:
    assert pins_of({LABEL_LOCK: "{"}) == ()
    assert pins_of({LABEL_LOCK: "[1]"}) == ()


def test_requirements_of_one_platform() -> None:
    assert list(lines({AMD64: (TWO, ONE)})) == [f"one==1.0 --hash=sha256:{'a' * 64}", "two==2.0"]


def test_requirements_of_several_platforms() -> None:
    other = Pinned(name="one", version="1.0", sha256="b" * 64)
    newer = Pinned(name="two", version="3.0")
    assert list(lines({AMD64: (ONE, TWO), ARM64: (other, newer)})) == [
        f"one==1.0 --hash=sha256:{'a' * 64} --hash=sha256:{'b' * 64}",
        'two==2.0 ; platform_machine == "x86_64"',
        'two==3.0 ; platform_machine == "aarch64"',
    ]
