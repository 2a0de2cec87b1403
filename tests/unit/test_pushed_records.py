"""The whole record of an image beside it in the registry."""

from __future__ import annotations

import pytest

from imagespec.errors import ProtocolViolation
from imagespec.names import Digest, Reference, Repository
from imagespec.oci import Descriptor, Manifest
from imagespec.registry.records import RECORD_TYPE, KeptRecord, delete_with_records, pull_record, push_record
from imagespec.registry.referrers import fallback_reference, referrer, subject_of, with_referrer
from tests.fakes.images import body, described, write_image
from tests.fakes.registry import FakeRegistry

REPOSITORY = Repository.parse("r.test/team/app")
RECORD = {"files": {f"app/{number}.py": "file 0" for number in range(1000)}}


class Admin:
    """The part of ``RegistryAdmin`` that lists referrers, over manifests that a test knows."""

    def __init__(self, *manifests: Manifest) -> None:
        self._manifests = manifests
        self.deleted: list[Digest | None] = []

    def referrers(self, repository: Repository, digest: Digest, artifact_type: str = "") -> tuple[Descriptor, ...]:
        found = [one for one in self._manifests if subject_of(one) == digest]
        return tuple(one for one in map(referrer, found) if artifact_type in ("", one.artifact_type))

    def ping(self, registry: str) -> None:
        raise AssertionError

    def tags(self, repository: Repository) -> tuple[str, ...]:
        raise AssertionError

    def delete(self, reference: Reference) -> bool:
        self.deleted.append(reference.digest)
        return True


def written(registry: FakeRegistry, descriptor: Descriptor) -> Manifest:
    manifest = registry.read_manifest(Reference(REPOSITORY, None, descriptor.digest))
    assert manifest is not None
    return manifest


def test_the_latest_record_of_an_image_is_read_back() -> None:
    registry = FakeRegistry()
    image = write_image(registry, REPOSITORY)
    subject = registry.write_manifest(Reference(REPOSITORY, "x1"), image)
    kept = [
        KeptRecord(record=RECORD, created="2026-01-01T00:00:00Z"),
        KeptRecord(record={**RECORD, "env": {"A": "1"}}, created="2026-02-01T00:00:00Z"),
    ]
    manifests = [written(registry, push_record(registry, REPOSITORY, subject, one)) for one in kept]
    assert manifests[0].value()["artifactType"] == RECORD_TYPE
    assert manifests[0].layers[0].size_bytes < 10_000
    assert pull_record(registry, Admin(*manifests), REPOSITORY, subject.digest) == kept[1]
    assert pull_record(registry, Admin(manifests[0]), REPOSITORY, subject.digest) == kept[0]
    assert pull_record(registry, Admin(), REPOSITORY, subject.digest) is None
    assert pull_record(registry, Admin(*manifests), REPOSITORY, described(b"other").digest) is None


def test_the_same_record_and_time_are_the_same_bytes() -> None:
    registry = FakeRegistry()
    subject = registry.write_manifest(Reference(REPOSITORY, "x1"), write_image(registry, REPOSITORY))
    kept = KeptRecord(record=RECORD, created="2026-01-01T00:00:00Z")
    assert push_record(registry, REPOSITORY, subject, kept) == push_record(registry, REPOSITORY, subject, kept)


@pytest.mark.parametrize("data", [b"", b"not gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x03\x00\x00"])
def test_what_is_not_a_record_is_said(data: bytes) -> None:
    registry = FakeRegistry()
    subject = registry.write_manifest(Reference(REPOSITORY, "x1"), write_image(registry, REPOSITORY))
    good = written(registry, push_record(registry, REPOSITORY, subject, KeptRecord(record=RECORD, created="")))
    layer = described(data)
    registry.write_blob(REPOSITORY, layer, body(data))
    text = good.data.decode().replace(str(good.layers[0].digest), str(layer.digest))
    bad = Manifest(good.media_type, text.encode())
    registry.write_manifest(Reference(REPOSITORY, None, bad.descriptor.digest), bad)
    with pytest.raises(ProtocolViolation, match="not one of ours"):
        pull_record(registry, Admin(bad), REPOSITORY, subject.digest)


@pytest.mark.parametrize("others", [0, 1])
def test_an_image_is_deleted_with_its_records_and_with_nobody_elses(others: int) -> None:
    registry = FakeRegistry()
    subject = registry.write_manifest(Reference(REPOSITORY, "x1"), write_image(registry, REPOSITORY))
    record = written(registry, push_record(registry, REPOSITORY, subject, KeptRecord(record=RECORD, created="")))
    signature = Manifest(record.media_type, record.data.replace(RECORD_TYPE.encode(), b"application/vnd.signature"))
    refer = [record, *[signature] * others]
    index = None
    for one in refer:
        index = with_referrer(index, referrer(one))
    assert index is not None
    listed = registry.write_manifest(fallback_reference(REPOSITORY, subject.digest), index)
    admin = Admin(*refer)
    delete_with_records(registry, admin, REPOSITORY, subject.digest)
    assert admin.deleted == [subject.digest, record.descriptor.digest, *([] if others else [listed.digest])]
