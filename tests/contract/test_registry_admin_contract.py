"""What every ``RegistryAdmin`` keeps to: the layout folder and real registries."""

from __future__ import annotations

import json

import pytest

from imagespec.names import Reference
from imagespec.oci import OCI_CONFIG, OCI_MANIFEST, Manifest, canonical_json
from imagespec.registry import RegistryAdmin
from imagespec.registry.admin import HttpRegistryAdmin
from imagespec.registry.http import HttpRegistry
from imagespec.registry.layout import LayoutRegistry
from tests.contract.conftest import KINDS, Door
from tests.fakes.images import body, described, write_image

pytestmark = pytest.mark.parametrize("door", KINDS[1:], indirect=True)  # the fake has no administration


@pytest.fixture
def admin(door: Door) -> RegistryAdmin:
    if isinstance(door.registry, HttpRegistry):
        return HttpRegistryAdmin(door.registry)
    assert isinstance(door.registry, LayoutRegistry)
    return door.registry


def _artifact(door: Door, subject: Manifest, reference: Reference, artifact_type: str, note: str) -> Manifest:
    config = b"{}"
    door.registry.write_blob(reference.repository, described(config, OCI_CONFIG), body(config))
    value = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": described(config, OCI_CONFIG).to_json(),
        "layers": [],
        "subject": subject.descriptor.to_json(),
        "annotations": {"note": note},
    }
    manifest = Manifest(OCI_MANIFEST, canonical_json(value))
    pinned = Reference(reference.repository, None, manifest.descriptor.digest)
    door.registry.write_manifest(pinned, manifest)
    return manifest


def test_a_registry_answers_a_ping(door: Door, admin: RegistryAdmin) -> None:
    admin.ping(door.host)


def test_tags_are_listed(door: Door, admin: RegistryAdmin) -> None:
    reference = door.reference()
    assert admin.tags(reference.repository) == ()
    manifest = write_image(door.registry, reference.repository)
    for tag in ("b", "a", "c.1"):
        door.registry.write_manifest(reference.with_tag(tag), manifest)
    assert admin.tags(reference.repository) == ("a", "b", "c.1")


def test_referrers_are_listed(door: Door, admin: RegistryAdmin) -> None:
    reference = door.reference()
    subject = write_image(door.registry, reference.repository)
    door.registry.write_manifest(reference, subject)
    digest = subject.descriptor.digest
    assert admin.referrers(reference.repository, digest) == ()
    first = _artifact(door, subject, reference, "application/x-one", "1")
    second = _artifact(door, subject, reference, "application/x-two", "2")
    found = admin.referrers(reference.repository, digest)
    assert {one.digest for one in found} == {first.descriptor.digest, second.descriptor.digest}
    (only,) = admin.referrers(reference.repository, digest, "application/x-two")
    assert only.digest == second.descriptor.digest
    assert only.annotations == {"note": "2"}
    assert only.artifact_type == "application/x-two"


def test_a_referrer_written_twice_is_listed_once(door: Door, admin: RegistryAdmin) -> None:
    reference = door.reference()
    subject = write_image(door.registry, reference.repository)
    door.registry.write_manifest(reference, subject)
    for _ in range(2):
        _artifact(door, subject, reference, "application/x-one", "1")
    assert len(admin.referrers(reference.repository, subject.descriptor.digest)) == 1


def test_a_digest_is_deleted_with_its_tags(door: Door, admin: RegistryAdmin) -> None:
    reference = door.reference()
    manifest = write_image(door.registry, reference.repository)
    door.registry.write_manifest(reference, manifest)
    pinned = reference.with_digest(manifest.descriptor.digest)
    assert admin.delete(pinned) is True
    assert door.registry.resolve(reference) is None
    assert admin.delete(pinned) is False


def test_pages_of_tags_are_followed(door: Door, admin: RegistryAdmin) -> None:
    reference = door.reference()
    value = write_image(door.registry, reference.repository).value()
    manifest = Manifest(OCI_MANIFEST, json.dumps(value).encode())
    for number in range(12):
        door.registry.write_manifest(reference.with_tag(f"t{number:02}"), manifest)
    assert admin.tags(reference.repository) == tuple(f"t{number:02}" for number in range(12))
