"""What every ``Registry`` keeps to: run on the fake, the layout folder and real registries alike."""

from __future__ import annotations

import json
import os
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from imagespec.errors import IntegrityError, RegistryError, WrongPlatform
from imagespec.names import Reference
from imagespec.oci import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    Descriptor,
    Manifest,
    Platform,
    canonical_json,
    digest_of,
)
from tests.contract.conftest import Door
from tests.fakes.images import body, described, write_image

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")


def _written(door: Door, reference: Reference, platform: str = "linux/amd64") -> Manifest:
    manifest = write_image(door.registry, reference.repository, platform)
    assert door.registry.write_manifest(reference, manifest) == manifest.descriptor
    return manifest


def _index(door: Door, reference: Reference) -> Manifest:
    parts = []
    for platform in (AMD64, ARM64):
        part = write_image(door.registry, reference.repository, str(platform))
        door.registry.write_manifest(Reference(reference.repository, None, part.descriptor.digest), part)
        described_part = part.descriptor
        parts.append(
            Descriptor(
                media_type=described_part.media_type,
                digest=described_part.digest,
                size_bytes=described_part.size_bytes,
                platform=platform,
            )
        )
    index = Manifest.index(tuple(parts))
    door.registry.write_manifest(reference, index)
    return index


def test_absent_is_none(door: Door) -> None:
    reference = door.reference()
    assert door.registry.resolve(reference) is None
    assert door.registry.read_manifest(reference) is None
    pinned = reference.with_digest(digest_of(os.urandom(9)))
    assert door.registry.resolve(pinned) is None
    assert door.registry.read_manifest(pinned) is None


def test_an_absent_tag_of_a_repository_with_others_is_none(door: Door) -> None:
    reference = door.reference()
    _written(door, reference)
    assert door.registry.resolve(reference.with_tag("v2")) is None
    assert door.registry.resolve(reference.with_digest(digest_of(b"x"))) is None


def test_what_was_written_resolves_by_tag_and_by_digest(door: Door) -> None:
    reference = door.reference()
    manifest = _written(door, reference)
    assert door.registry.resolve(reference) == manifest.descriptor
    assert door.registry.resolve(reference.with_digest(manifest.descriptor.digest)) == manifest.descriptor
    assert door.registry.read_manifest(reference) == manifest


def test_a_manifest_keeps_its_bytes(door: Door) -> None:
    reference = door.reference()
    written = write_image(door.registry, reference.repository)
    value = {**written.value(), "annotations": {"who": "Ångström ☂", "b": "1", "a": "2"}}
    odd = Manifest(written.media_type, json.dumps(value, indent=3, ensure_ascii=False).encode() + b"\n\n")
    door.registry.write_manifest(reference, odd)
    found = door.registry.read_manifest(reference)
    assert found is not None
    assert found.data == odd.data


def test_a_tag_moves(door: Door) -> None:
    reference = door.reference()
    first, second = _written(door, reference), _written(door, reference)
    assert door.registry.resolve(reference) == second.descriptor
    assert door.registry.resolve(reference.with_digest(first.descriptor.digest)) == first.descriptor


def test_repositories_are_separate(door: Door) -> None:
    one, other = door.reference(), door.reference()
    _written(door, one)
    assert door.registry.resolve(other) is None


def test_an_index_answers_for_its_platforms(door: Door) -> None:
    reference = door.reference()
    index = _index(door, reference)
    assert door.registry.resolve(reference) == index.descriptor
    assert door.registry.resolve(reference, (ARM64, AMD64)) == index.descriptor
    with pytest.raises(WrongPlatform) as raised:
        door.registry.resolve(reference, (AMD64, Platform.parse("linux/s390x")))
    assert raised.value.found == ("linux/amd64", "linux/arm64")
    assert raised.value.exit_code == 3


def test_one_manifest_answers_for_the_platform_of_its_config(door: Door) -> None:
    reference = door.reference()
    manifest = _written(door, reference, "linux/arm64/v8")
    assert door.registry.resolve(reference, (ARM64,)) == manifest.descriptor
    with pytest.raises(WrongPlatform):
        door.registry.resolve(reference, (AMD64,))


def test_docker_media_types_are_kept(door: Door) -> None:
    reference = door.reference()
    oci = write_image(door.registry, reference.repository)
    value = oci.value()
    value["mediaType"] = DOCKER_MANIFEST
    value["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json"
    value["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    manifest = Manifest(DOCKER_MANIFEST, canonical_json(value))
    door.registry.write_manifest(reference, manifest)
    listed = {**manifest.descriptor.to_json(), "platform": {"os": "linux", "architecture": "amd64"}}
    index = Manifest(
        DOCKER_INDEX, canonical_json({"schemaVersion": 2, "mediaType": DOCKER_INDEX, "manifests": [listed]})
    )
    door.registry.write_manifest(reference.with_tag("list"), index)
    assert door.registry.resolve(reference, (AMD64,)) == manifest.descriptor
    assert door.registry.resolve(reference.with_tag("list"), (AMD64,)) == index.descriptor
    assert door.registry.read_manifest(reference.with_digest(index.descriptor.digest)) == index


@pytest.mark.parametrize("size", [1, 17, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_001])
def test_a_blob_comes_back(door: Door, size: int) -> None:
    repository, data = door.repository(), random.Random(size).randbytes(size)
    assert door.registry.write_blob(repository, described(data), body(data)) is True
    with door.registry.read_blob(repository, digest_of(data)) as stream:
        assert stream.read() == data


def test_a_blob_that_is_there_is_not_opened(door: Door) -> None:
    repository, data = door.repository(), os.urandom(50)
    door.registry.write_blob(repository, described(data), body(data))

    def opened() -> None:
        raise AssertionError("opened")

    assert door.registry.write_blob(repository, described(data), opened) is False  # type: ignore[arg-type]


def test_a_stream_may_be_left_early(door: Door) -> None:
    repository, data = door.repository(), os.urandom(2_000_000)
    door.registry.write_blob(repository, described(data), body(data))
    with door.registry.read_blob(repository, digest_of(data)) as stream:
        assert stream.read(1000) == data[:1000]
    with door.registry.read_blob(repository, digest_of(data)) as stream:
        assert stream.read() == data


def test_an_absent_blob_is_a_404(door: Door) -> None:
    with pytest.raises(RegistryError) as raised:
        door.registry.read_blob(door.repository(), digest_of(os.urandom(8)))
    assert raised.value.status == 404


@pytest.mark.parametrize("change", [lambda d: d[:-1], lambda d: d + b"x", lambda d: d[:-1] + b"\0", lambda d: b""])
def test_content_that_is_not_what_its_descriptor_says_is_not_kept(door: Door, change: object) -> None:
    repository, data = door.repository(), os.urandom(1000) + b"\1"
    with pytest.raises(IntegrityError):
        door.registry.write_blob(repository, described(data), body(change(data)))  # type: ignore[operator]
    with pytest.raises(RegistryError):
        door.registry.read_blob(repository, digest_of(data))
    assert door.registry.write_blob(repository, described(data), body(data)) is True


def test_a_mount_brings_the_blob_or_says_no(door: Door) -> None:
    source, target, data = door.repository(), door.repository(), os.urandom(300)
    door.registry.write_blob(source, described(data), body(data))
    if not door.registry.mount(target, digest_of(data), source):
        door.registry.write_blob(target, described(data), body(data))
    with door.registry.read_blob(target, digest_of(data)) as stream:
        assert stream.read() == data


def test_a_mount_of_what_is_not_there_says_no(door: Door) -> None:
    assert door.registry.mount(door.repository(), digest_of(os.urandom(8)), door.repository()) is False


def test_a_manifest_is_not_written_under_another_digest(door: Door) -> None:
    reference = door.reference()
    manifest = write_image(door.registry, reference.repository)
    with pytest.raises(IntegrityError):
        door.registry.write_manifest(reference.with_digest(digest_of(b"other")), manifest)
    assert door.registry.resolve(reference) is None


def test_writers_do_not_disturb_each_other(door: Door) -> None:
    repository, data = door.repository(), os.urandom(200_000)
    manifest = write_image(door.registry, repository)

    def write(number: int) -> None:
        door.registry.write_blob(repository, described(data), body(data))
        door.registry.write_manifest(Reference(repository, f"t{number}"), manifest)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(16)))
    for number in range(16):
        assert door.registry.resolve(Reference(repository, f"t{number}")) == manifest.descriptor
    with door.registry.read_blob(repository, digest_of(data)) as stream:
        assert stream.read() == data


def test_the_config_of_an_image_is_a_blob_like_others(door: Door) -> None:
    reference = door.reference()
    manifest = _written(door, reference)
    assert manifest.config.media_type == OCI_CONFIG
    with door.registry.read_blob(reference.repository, manifest.config.digest) as stream:
        assert json.loads(stream.read())["os"] == "linux"
