"""Laws of layers: what is written is read back, the same entries give the same bytes, members join to one stream."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from imagespec.deflate import deflated, gzip_member, stored
from imagespec.tarball import EPOCH_S, FILE, FOLDER, LINK, TarEntry, parents_of, tar_bytes

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=60).filter(
    lambda name: name not in (".", "..")
)
PATHS = st.lists(NAMES, min_size=1, max_size=8).map("/".join)
TARGETS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=200)
IDS = st.integers(0, 4_000_000)


@st.composite
def contents(draw: st.DrawFn) -> tuple[TarEntry, bytes]:
    path, mode, uid, gid = draw(PATHS), draw(st.integers(0, 0o7777)), draw(IDS), draw(IDS)
    kind = draw(st.sampled_from([FILE, FOLDER, LINK]))
    data = draw(st.binary(max_size=1500)) if kind == FILE else b""
    target = draw(TARGETS) if kind == LINK else ""
    return TarEntry(path, kind, mode, uid, gid, len(data), target), data


@settings(max_examples=300)
@given(st.lists(contents(), max_size=5))
def test_what_is_written_is_read_back(entries: list[tuple[TarEntry, bytes]]) -> None:
    data = tar_bytes(entries)
    assert len(data) % 512 == 0
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        members = archive.getmembers()
        assert len(members) == len(entries)
        for member, (entry, content) in zip(members, entries, strict=True):
            assert member.name == entry.path.rstrip("/") or member.name.rstrip("/") == entry.path.rstrip("/")
            assert (member.type, member.mode, member.uid, member.gid) == (entry.kind, entry.mode, entry.uid, entry.gid)
            assert member.mtime == EPOCH_S
            assert (member.uname, member.gname) == ("", "")
            if entry.kind == FILE:
                file = archive.extractfile(member)
                assert file is not None
                assert file.read() == content
            elif entry.kind == LINK:
                assert member.linkname == entry.target
    assert tar_bytes(entries) == data


@settings(max_examples=300)
@given(st.lists(st.one_of(st.binary(max_size=400), st.integers(0, 3000).map(bytes)), max_size=6))
def test_a_deflate_stream_holds_what_went_in(parts: list[bytes]) -> None:
    data = b"".join(parts)
    assert zlib.decompress(deflated(data), -zlib.MAX_WBITS) == data
    assert zlib.decompress(stored(data), -zlib.MAX_WBITS) == data


@given(st.lists(st.binary(max_size=2000), max_size=5))
def test_members_are_read_as_one_stream(parts: list[bytes]) -> None:
    joined = b"".join(gzip_member(part) for part in parts)
    assert gzip.decompress(joined) == b"".join(parts)


@given(st.lists(PATHS, max_size=10))
def test_parents_come_before_what_they_hold_and_once(paths: list[str]) -> None:
    folders = parents_of(paths)
    assert len(set(folders)) == len(folders)
    for number, folder in enumerate(folders):
        parent = folder.rpartition("/")[0]
        assert not parent or parent in folders[:number]
    for path in paths:
        parent = path.rpartition("/")[0]
        assert not parent or parent in folders
