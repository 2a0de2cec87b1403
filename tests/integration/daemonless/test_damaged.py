"""What a disk has changed in the cache is found out and made again: the image is the same, and nobody cleans up."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from imagespec.events import discard
from imagespec.names import Reference
from imagespec.oci import Descriptor
from imagespec.validator import check_image
from tests.fakes.registry import FakeRegistry
from tests.integration.daemonless.places import OWNED, SOURCES, Offline

pytestmark = pytest.mark.integration

TARGET = Reference.parse("registry.example/team/app:t")
KINDS = ("wheels", "layers", "bytecode", "bases", "locks", "records")


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:7])


def garbled(file: Path) -> None:
    data = bytearray(file.read_bytes())
    for place in (1, len(data) // 3, len(data) // 2, len(data) - 9):
        data[place] ^= 0x15
    file.write_bytes(data)


def build(offline: Offline) -> Descriptor:
    registry = FakeRegistry()
    options = offline.options()
    made = offline.builder(registry).build(offline.plan(), SOURCES, TARGET, options=options, emit=discard)
    check_image(registry, TARGET, base_layers=1, changed=OWNED)
    return made


@pytest.mark.parametrize(
    ("kinds", "damage"), [*(((kind,), garbled) for kind in KINDS), (KINDS, truncated)], ids=[*KINDS, "all"]
)
def test_a_damaged_file_of_the_cache_is_made_again(
    kinds: tuple[str, ...], damage: Callable[[Path], None], offline: Offline
) -> None:
    first = build(offline)
    store = offline.cache / "daemonless"
    for kind in kinds:
        files = [path for path in (store / kind).rglob("*") if path.is_file()]
        assert files, kind
        for file in files:
            damage(file)
    if kinds != KINDS and kinds[0] in ("wheels", "bytecode"):
        for made_of_them in ("layers", "records"):
            shutil.rmtree(store / made_of_them)
    assert build(offline) == first
    assert build(offline) == first
