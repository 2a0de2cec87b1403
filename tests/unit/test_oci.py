"""Descriptors, manifests and platforms: byte-exact, and strict with what comes in."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagespec.errors import IntegrityError, ProtocolViolation, SpecError
from imagespec.names import Digest
from imagespec.oci import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    Platform,
    canonical_json,
    digest_of,
    is_content_of,
    platforms_of,
)

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def _descriptor(data: bytes = b"", media_type: str = OCI_CONFIG, platform: Platform | None = None) -> Descriptor:
    return Descriptor(media_type=media_type, digest=digest_of(data), size_bytes=len(data), platform=platform)


def test_the_bytes_of_a_manifest_are_fixed() -> None:
    manifest = Manifest.image(config=_descriptor(), layers=(_descriptor(b"x", OCI_LAYER_GZIP),), annotations={"a": "b"})
    assert manifest.data == (
        b'{"annotations":{"a":"b"},"config":{"digest":"sha256:' + EMPTY.encode() + b'",'
        b'"mediaType":"application/vnd.oci.image.config.v1+json","size":0},"layers":[{"digest":"'
        b'sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",'
        b'"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","size":1}],'
        b'"mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2}'
    )
    assert manifest.config == _descriptor()
    assert [layer.size_bytes for layer in manifest.layers] == [1]
    assert manifest.descriptor.digest == digest_of(manifest.data)
    assert not manifest.is_index


def test_an_index_leaves_attestations_out() -> None:
    amd64 = Platform.parse("linux/amd64")
    index = Manifest.index(
        (_descriptor(b"1", OCI_MANIFEST, amd64), _descriptor(b"2", OCI_MANIFEST, Platform("unknown", "unknown")))
    )
    assert index.is_index
    assert platforms_of(index) == (amd64,)


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.booleans())))
def test_canonical_json_does_not_depend_on_order(value: dict[str, Any]) -> None:
    backwards = dict(reversed(value.items()))
    assert canonical_json(value) == canonical_json(backwards)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("linux/amd64", "linux/amd64"),
        ("Linux/x86_64", "linux/amd64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/arm/v6", "linux/arm/v6"),
    ],
)
def test_platforms(text: str, shown: str) -> None:
    assert str(Platform.parse(text)) == shown
    assert Platform.parse(shown) == Platform.parse(text)


@pytest.mark.parametrize("text", ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux/amd64;x", "linux/\n"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        Platform.parse(text)


def test_descriptors_come_back() -> None:
    descriptor = Descriptor(
        media_type=OCI_MANIFEST,
        digest=digest_of(b"x"),
        size_bytes=1,
        platform=Platform("linux", "arm", "v7"),
        annotations={"a": "b"},
        artifact_type="application/x",
    )
    assert Descriptor.from_json(descriptor.to_json()) == descriptor


GOOD: dict[str, Any] = _descriptor().to_json()


@pytest.mark.parametrize(
    "value",
    [
        {**GOOD, "digest": "sha256:x"},
        {**GOOD, "size": "many"},
        {**GOOD, "size": None},
        {"mediaType": "x"},
        {**GOOD, "platform": "linux"},
        {**GOOD, "annotations": 7},
    ],
)
def test_what_is_no_descriptor_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(ProtocolViolation):
        Descriptor.from_json(value)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b'{"layers": {}}', b'{"config": []}'])
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    manifest = Manifest(OCI_MANIFEST, data)
    with pytest.raises(ProtocolViolation):
        _ = manifest.config
    with pytest.raises(ProtocolViolation):
        _ = manifest.layers
    with pytest.raises(ProtocolViolation):
        _ = Manifest(OCI_INDEX, data).manifests


def test_digests_are_checked() -> None:
    manifest = Manifest(OCI_MANIFEST, b"{}")
    long = Digest("sha512", hashlib.sha512(b"{}").hexdigest())
    assert manifest.verify(digest_of(b"{}")) is manifest
    assert manifest.verify(long) is manifest
    for wrong in (digest_of(b"x"), Digest("sha512", "0" * 128), Digest("md5", "99914b932bd37a50b983c5e7c90ae93b")):
        assert not is_content_of(wrong, manifest.data)
        with pytest.raises(IntegrityError):
            manifest.verify(wrong)
