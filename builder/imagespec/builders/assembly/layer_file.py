"""A layer while it is written: tar entries in, a compressed file and both digests out.

Formats: OCI Image Specification, ``layer.md``; RFC 1952: a gzip file may have many members, and a reader sees their
contents joined. So a stream that is deflated already, a wheel's member, becomes a member as it is.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, BinaryIO, Final, Protocol

from imagespec.deflate import MEMBER_HEADER, deflated, member_trailer, stored
from imagespec.errors import IntegrityError, Unsupported
from imagespec.names import Digest
from imagespec.oci import OCI_LAYER_GZIP, OCI_LAYER_TAR, OCI_LAYER_ZSTD
from imagespec.tarball import END, TarEntry, header, padding
from imagespec.values import dataclass

__all__ = ["COMPRESSIONS", "GZIP", "LayerWriter", "Packed", "Written", "compressor", "inflating_errors"]

GZIP: Final = "gzip"
GZIP_MEMBER: Final = "gzip-member"
ZSTD: Final = "zstd"
UNCOMPRESSED: Final = "uncompressed"
COMPRESSIONS: Final = (GZIP, GZIP_MEMBER, ZSTD, UNCOMPRESSED)
"""``gzip`` may have many members; ``gzip-member`` has one, for readers that stop after the first."""

_MEDIA_TYPES: Final = {
    GZIP: OCI_LAYER_GZIP,
    GZIP_MEMBER: OCI_LAYER_GZIP,
    ZSTD: OCI_LAYER_ZSTD,
    UNCOMPRESSED: OCI_LAYER_TAR,
}
_CHUNK_BYTES: Final = 1 << 20
_BLOCK_BYTES: Final = 1 << 18
_PENDING_BYTES: Final = 1 << 15
_ZLIB_LEVEL: Final = 1
_ZSTD_LEVEL: Final = 3
# A content that deflate does not make smaller by this much is not worth a member of its own.
_MEMBER_COST_BYTES: Final = 60
_DEFLATED: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A finished layer: its descriptor's parts, and the digest of its uncompressed form (config.md, ``diff_ids``)."""

    media_type: str
    digest: Digest
    size_bytes: int
    diff_id: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A content as an archive holds it: ``chunks`` opens its bytes from the start."""

    method: int
    crc32: int
    size_bytes: int
    compressed_bytes: int
    chunks: Callable[[], Iterator[bytes]]


class _Encoding(Protocol):
    def encode(self, data: bytes) -> bytes: ...

    def flush(self) -> bytes: ...


class LayerWriter:
    """Writes one layer; entries come in the order they shall stand in."""

    def __init__(self, file: BinaryIO, compression: str = GZIP, *, spliced: bool = True) -> None:
        """``spliced`` False compresses everything as one stream, which suits content that is not packed yet.

        Raise Unsupported for a compression without its library.
        """
        self._file = file
        self._media_type = _MEDIA_TYPES[compression]
        self._spliced = spliced and compression == GZIP
        self._encoding = None if self._spliced else _encoding(compression)
        self._blob, self._content, self._size = hashlib.sha256(), hashlib.sha256(), 0
        self._raw_blocks = _Blocks(self._encode)
        self._content_blocks = _Blocks(self._content.update)
        self._blob_blocks = _Blocks(self._send)
        self._pending: list[bytes] = []
        self._pending_bytes = 0

    def add(self, entry: TarEntry, data: bytes = b"") -> None:
        """Write an entry with its whole content."""
        if len(data) != entry.size_bytes:
            raise ValueError(f"layer: {entry.path!r} has {len(data)} bytes, not {entry.size_bytes}")
        self._raw(header(entry) + data + padding(len(data)))

    def stream(self, entry: TarEntry, source: BinaryIO) -> None:
        """Write an entry with the content of a stream; raise IntegrityError when it has another size."""
        self._raw(header(entry))
        left = entry.size_bytes
        # One byte more is asked for, so that the end of the stream is reached and its digest checked.
        while data := source.read(min(_CHUNK_BYTES, left + 1)):
            left -= len(data)
            self._raw(data)
        if left:
            raise IntegrityError(f"layer: {entry.path!r} has not the size that it had")
        self._raw(padding(entry.size_bytes))

    def splice(self, entry: TarEntry, packed: Packed) -> None:
        """Write an entry whose content is packed already; raise IntegrityError when it is not what its archive says."""
        saved = packed.size_bytes - packed.compressed_bytes
        if self._spliced and packed.method == _DEFLATED and saved > _MEMBER_COST_BYTES:
            self._raw(header(entry))
            self._splice(packed)
        else:
            self._raw(header(entry))
            for data in _unpacked(packed):
                self._raw(data)
        self._raw(padding(entry.size_bytes))

    def finish(self) -> Written:
        """Write the archive's end and return what the layer is."""
        self._raw(END)
        if self._encoding is None:
            self._flush()
            self._content_blocks.flush()
        else:
            self._raw_blocks.flush()
            self._blob_blocks.add(self._encoding.flush())
        self._blob_blocks.flush()
        self._file.flush()
        return Written(
            media_type=self._media_type,
            digest=Digest("sha256", self._blob.hexdigest()),
            size_bytes=self._size,
            diff_id=Digest("sha256", self._content.hexdigest()),
        )

    def _raw(self, data: bytes) -> None:
        if self._encoding is not None:
            self._raw_blocks.add(data)
        elif len(data) <= _PENDING_BYTES:
            self._pending.append(data)
            self._pending_bytes += len(data)
            if self._pending_bytes > _PENDING_BYTES:
                self._flush()
        else:
            self._flush()
            self._content_blocks.add(data)
            self._member(stored(data), zlib.crc32(data), len(data))

    def _encode(self, block: bytes) -> None:
        assert self._encoding is not None
        self._content.update(block)
        self._blob_blocks.add(self._encoding.encode(block))

    def _flush(self) -> None:
        data = b"".join(self._pending)
        self._pending.clear()
        self._pending_bytes = 0
        if data:
            self._content_blocks.add(data)
            self._member(deflated(data), zlib.crc32(data), len(data))

    def _member(self, stream: bytes, crc32: int, size: int) -> None:
        self._blob_blocks.add(b"".join((MEMBER_HEADER, stream, member_trailer(crc32, size))))

    def _splice(self, packed: Packed) -> None:
        self._flush()
        self._blob_blocks.add(MEMBER_HEADER)
        for data in _inflated(packed, self._blob_blocks.add):
            self._content_blocks.add(data)
        self._blob_blocks.add(member_trailer(packed.crc32, packed.size_bytes))

    def _send(self, block: bytes) -> None:
        self._blob.update(block)
        self._size += len(block)
        self._file.write(block)


class _Blocks:
    """Pieces of bytes, handed on in blocks: for a small one the call takes longer than what it does."""

    __slots__ = ("_pieces", "_size_bytes", "_take")

    def __init__(self, take: Callable[[bytes], object]) -> None:
        self._take = take
        self._pieces: list[bytes] = []
        self._size_bytes = 0

    def add(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size_bytes += len(piece)
        if self._size_bytes >= _BLOCK_BYTES:
            self.flush()

    def flush(self) -> None:
        pieces, self._pieces, self._size_bytes = self._pieces, [], 0
        if pieces:
            self._take(b"".join(pieces))


def _unpacked(packed: Packed) -> Iterator[bytes]:
    if packed.method == _DEFLATED:
        yield from _inflated(packed, _nowhere)
        return
    crc32, size = 0, 0
    for chunk in packed.chunks():
        crc32, size = zlib.crc32(chunk, crc32), size + len(chunk)
        yield chunk
    _check(packed, crc32, size)


def _nowhere(chunk: bytes) -> None:
    """Take a chunk and do nothing with it."""


def _inflated(packed: Packed, seen: Callable[[bytes], None]) -> Iterator[bytes]:
    """Yield the content in pieces of bounded size; ``seen`` takes each packed chunk; raise IntegrityError."""
    library = _inflating()
    inflater = library.decompressobj(-zlib.MAX_WBITS)
    crc32, size = 0, 0
    # One byte more than a small content has: inflating comes to the end of its stream in one call.
    limit = min(packed.size_bytes + 1, _CHUNK_BYTES)
    try:
        for chunk in packed.chunks():
            seen(chunk)
            data = inflater.decompress(chunk, limit)
            while data and size <= packed.size_bytes:
                crc32, size = library.crc32(data, crc32), size + len(data)
                yield data
                data = b"" if inflater.eof else inflater.decompress(inflater.unconsumed_tail, limit)
    except inflating_errors() as error:
        raise IntegrityError(f"wheel: a member cannot be unpacked: {error}") from error
    if not inflater.eof or inflater.unused_data:
        raise IntegrityError("wheel: a member's stream does not end where its directory says")
    _check(packed, crc32, size)


@cache
def _inflating() -> Any:
    """Return the library that inflates: ISA-L takes half the time, and what comes out is the same."""
    import importlib

    try:
        return importlib.import_module("isal.isal_zlib")
    except ImportError:
        return zlib


def inflating_errors() -> tuple[type[Exception], ...]:
    """Return what the libraries that inflate raise for a stream that is none."""
    return zlib.error, _inflating().error


def _check(packed: Packed, crc32: int, size: int) -> None:
    if crc32 != packed.crc32 or size != packed.size_bytes:
        raise IntegrityError("wheel: a member is not what its directory says", hint="delete it from the cache")


class _Gzip:
    """One gzip member without a time or a name."""

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(_ZLIB_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._crc32, self._size, self._start = 0, 0, MEMBER_HEADER

    def encode(self, data: bytes) -> bytes:
        self._crc32, self._size = zlib.crc32(data, self._crc32), self._size + len(data)
        start, self._start = self._start, b""
        return start + self._compressor.compress(data)

    def flush(self) -> bytes:
        return self._compressor.flush() + member_trailer(self._crc32, self._size)


class _Plain:
    def encode(self, data: bytes) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


class _Zstd:
    """One frame, from the ``zstandard`` package."""

    def __init__(self, library: Any) -> None:
        self._compressor = library.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compressobj()

    def encode(self, data: bytes) -> bytes:
        compressed: bytes = self._compressor.compress(data)
        return compressed

    def flush(self) -> bytes:
        compressed: bytes = self._compressor.flush()
        return compressed


def _encoding(compression: str) -> _Encoding:
    if compression == UNCOMPRESSED:
        return _Plain()
    return _Zstd(_zstandard()) if compression == ZSTD else _Gzip()


def _zstandard() -> Any:
    import importlib

    try:
        return importlib.import_module("zstandard")
    except ImportError as error:
        raise Unsupported(
            "compression: zstd needs the zstandard package",
            builder="daemonless",
            field="builder_options",
            hint="pip install 'imagespec-builder[zstd]', or use compression='gzip'",
        ) from error


def compressor(compression: str, *, spliced: bool) -> str:
    """Return what decides a layer's compressed bytes beside its content: the compressor and its version.

    Spliced layers owe nothing to a library, so their bytes are the same everywhere.
    """
    if compression == UNCOMPRESSED or (compression == GZIP and spliced):
        return compression
    if compression == ZSTD:
        library = _zstandard()
        return f"zstd-{_ZSTD_LEVEL}-{'.'.join(map(str, library.ZSTD_VERSION))}"
    return f"{compression}-{_ZLIB_LEVEL}-{zlib.ZLIB_RUNTIME_VERSION}"
