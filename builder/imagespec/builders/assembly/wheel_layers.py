"""Wheels to layers without installing them: files placed as an installer places them, streams taken over as they are.

Which wheels share a layer depends on each wheel alone, so that images with some of the same wheels share layers: a
large one has a layer of its own, the small ones lie in eight groups by their names.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from imagespec.builders.assembly.layer_file import LayerWriter, Packed
from imagespec.errors import IntegrityError
from imagespec.tarball import FOLDER, TarEntry, parents_of
from imagespec.values import dataclass
from imagespec.wheels.archive import TAIL_BYTES, Member, data_offset, directory_span, members
from imagespec.wheels.lock import LockedWheel
from imagespec.wheels.placement import Placed, Scheme, metadata_names, spread

__all__ = ["Archive", "Owner", "group_of", "grouped", "placed_files", "write_files"]

_ALONE_BYTES: Final = 1 << 20
_GROUPS: Final = 8
_CHUNK_BYTES: Final = 1 << 20
_TEXT_BYTES: Final = 1 << 20
_LOCAL_HEADER_BYTES: Final = 30
_EXTRA_BYTES: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who owns files, and the folders above the environment with what they are in the base."""

    uid: int
    gid: int
    above: tuple[TarEntry, ...]


class Archive:
    """An open wheel (or another zip archive of ours); closed by ``close``."""

    def __init__(self, path: Path) -> None:
        """Open and read the directory; raise IntegrityError when it is not a zip archive."""
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(self._handle).st_size
            tail = os.pread(self._handle, min(size, TAIL_BYTES), max(0, size - TAIL_BYTES))
            span = directory_span(tail, size)
            self.members = members(os.pread(self._handle, span.size_bytes, span.offset), span.entries)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def packed(self, member: Member) -> Packed:
        """Return a member's content as it lies in the archive."""
        return Packed(
            method=member.method,
            crc32=member.crc32,
            size_bytes=member.size_bytes,
            compressed_bytes=member.compressed_bytes,
            chunks=lambda: self._chunks(member),
        )

    def read(self, member: Member) -> bytes:
        """Return a small member's content."""
        import zlib

        data = b"".join(self._chunks(member))
        return zlib.decompress(data, -zlib.MAX_WBITS) if member.method else data

    def _chunks(self, member: Member) -> Iterator[bytes]:
        # The local header is read with the stream behind it, by a guess of its size that is nearly always enough.
        ahead = _LOCAL_HEADER_BYTES + len(member.name) + _EXTRA_BYTES
        read = os.pread(self._handle, min(ahead + member.compressed_bytes, _CHUNK_BYTES), member.offset)
        position = data_offset(read, member.offset)
        chunk = read[position - member.offset :][: member.compressed_bytes]
        left = member.compressed_bytes
        while left:
            chunk = chunk or os.pread(self._handle, min(left, _CHUNK_BYTES), position)
            if not chunk:
                raise IntegrityError("wheel: it ends before its last member", hint="delete it from the cache")
            position, left = position + len(chunk), left - len(chunk)
            yield chunk
            chunk = b""


def placed_files(archive: Archive, scheme: Scheme) -> tuple[Placed, ...]:
    """Return the files of a wheel where they belong; raise IntegrityError for a wheel that is not valid."""
    by_name = {member.name: member for member in archive.members}
    _, wanted = metadata_names(list(by_name))
    texts = {name: archive.read(by_name[name]) for name in wanted if by_name[name].size_bytes <= _TEXT_BYTES}
    record = next((name for name in wanted if name.endswith("/RECORD")), "")
    if record and record not in texts:
        texts[record] = archive.read(by_name[record])
    return spread(archive.members, texts, scheme).files


def group_of(name: str) -> int:
    """Return the group of a small wheel."""
    return hashlib.sha256(name.encode()).digest()[0] % _GROUPS


def grouped(wheels: Sequence[LockedWheel], sizes: Mapping[str, int]) -> list[tuple[str, tuple[LockedWheel, ...]]]:
    """Return the wheels of each layer, with a title: large ones alone, then the groups; ``sizes`` are by sha256."""
    ordered = sorted(wheels, key=lambda wheel: wheel.name)
    large = [wheel for wheel in ordered if sizes[wheel.sha256] >= _ALONE_BYTES]
    layers: list[tuple[str, tuple[LockedWheel, ...]]]
    layers = [(f"{wheel.name} {wheel.version}", (wheel,)) for wheel in large]
    for number in range(_GROUPS):
        group = tuple(one for one in ordered if one not in large and group_of(one.name) == number)
        if group:
            layers.append((", ".join(f"{one.name} {one.version}" for one in group), group))
    return layers


def write_files(writer: LayerWriter, archives: Sequence[tuple[Archive, Sequence[Placed]]], owner: Owner) -> None:
    """Write the files of some archives with the folders above them; of two with one path the last one counts."""
    last: dict[str, int] = {}
    for index, (_, placed) in enumerate(archives):
        last.update((one.path, index) for one in placed)
    write_folders(writer, last, owner)
    for index, (archive, placed) in enumerate(archives):
        for one in placed:
            if last[one.path] == index:
                _write(writer, archive, one, owner)


def write_folders(writer: LayerWriter, paths: Mapping[str, object] | Sequence[str], owner: Owner) -> None:
    """Write the folders above the paths: those that the base has as they are, the others as the owner's."""
    above = {entry.path: entry for entry in owner.above}
    for folder in parents_of(paths):
        if folder in paths:
            raise IntegrityError(f"packages: {folder!r} is a file of one and a folder of another")
        entry = above.get(folder)
        writer.add(entry or TarEntry(folder, FOLDER, 0o755, owner.uid, owner.gid))


def _write(writer: LayerWriter, archive: Archive, placed: Placed, owner: Owner) -> None:
    mode = 0o755 if placed.executable else 0o644
    if placed.member is None:
        writer.add(TarEntry(placed.path, mode=mode, uid=owner.uid, gid=owner.gid, size_bytes=len(placed.data)),
                   placed.data)  # fmt: skip
    else:
        size = placed.member.size_bytes
        entry = TarEntry(placed.path, mode=mode, uid=owner.uid, gid=owner.gid, size_bytes=size)
        writer.splice(entry, archive.packed(placed.member))
