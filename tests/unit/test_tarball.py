"""Tar headers and gzip members: what they refuse, and bytes that must never change by themselves."""

from __future__ import annotations

import hashlib
import io
import tarfile

import pytest

from imagespec.deflate import deflated, gzip_member, stored
from imagespec.tarball import FILE, FOLDER, LINK, TarEntry, header, tar_bytes

ENTRIES = [
    (TarEntry("opt", FOLDER, 0o755), b""),
    (TarEntry("opt/venv", FOLDER, 0o755, 1000, 1000), b""),
    (TarEntry("opt/venv/bin/python", LINK, 0o777, 1000, 1000, 0, "/usr/bin/python3.11"), b""),
    (TarEntry("opt/venv/x.py", FILE, 0o644, 1000, 1000, 5), b"hello"),
    (TarEntry("opt/" + "long/" * 60 + "é.py", FILE, 0o755, 0, 0, 0), b""),
]


def test_the_bytes_of_a_layer_are_pinned() -> None:
    """They are in every registry: a change re-sends everybody's layers, and must be meant."""
    data = tar_bytes(ENTRIES)
    assert hashlib.sha256(data).hexdigest() == "ec6f493968320e32919a1e40fbc869b73f9073be94191638df2b56064e015c87"
    assert (
        hashlib.sha256(gzip_member(data)).hexdigest()
        == "e1161d9021700378b6d45ff614e0a86d2330e8c35f40431ed966b2449bfa2443"
    )


@pytest.mark.parametrize("path", ["", "/etc/passwd", "a/../b", "..", "a\0b"])
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="tar: not a relative path"):
        header(TarEntry(path))


def test_a_link_target_with_a_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        header(TarEntry("a", LINK, target="b\0c"))


def test_a_content_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="has 2 bytes, not 3"):
        tar_bytes([(TarEntry("a", size_bytes=3), b"ab")])


def test_sizes_beyond_eight_gibibytes_are_told() -> None:
    entry = TarEntry("a", size_bytes=(8 << 30) + 5)
    info = tarfile.TarFile(fileobj=io.BytesIO(header(entry))).next()
    assert info is not None
    assert info.size == entry.size_bytes


@pytest.mark.parametrize("length", [99, 100, 101, 154, 155, 156, 255, 256, 257, 300])
def test_paths_at_the_limits_of_the_fields(length: int) -> None:
    path = ("d" * 49 + "/") * (length // 50) + "f" * (length % 50 or 1)
    for kind in (FILE, FOLDER):
        with tarfile.open(fileobj=io.BytesIO(tar_bytes([(TarEntry(path, kind), b"")]))) as archive:
            assert archive.getnames() == [path]


def test_headers_are_small_and_long_texts_are_stored() -> None:
    assert len(gzip_member(bytes(300) + header(TarEntry("opt/venv/lib/x.py")))) < 150
    text = bytes(range(1, 256)) * 400
    assert len(deflated(text)) == len(stored(text)) == len(text) + 5 * 2
