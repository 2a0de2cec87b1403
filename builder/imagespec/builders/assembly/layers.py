"""Layers by what they are made from: made once on a machine, and made again only when their bytes are gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO, Final, TypeAlias, cast

from imagespec.builders.assembly.layer_file import LayerWriter, Written, compressor
from imagespec.builders.assembly.store import Store, key_of
from imagespec.errors import IntegrityError
from imagespec.names import Digest
from imagespec.oci import Descriptor
from imagespec.values import dataclass

__all__ = ["Layer", "LayerStore", "Write"]

Write: TypeAlias = Callable[[LayerWriter], None]
"""Writes a layer's entries."""

_FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer of an image: what it is, what made it (for people), and how its bytes are opened."""

    descriptor: Descriptor
    diff_id: str
    title: str
    open: Callable[[], BinaryIO]


class LayerStore:
    """Keeps layers by digest, and which digest comes from which inputs."""

    def __init__(self, store: Store, compression: str) -> None:
        self._store = store
        self._compression = compression

    def layer(self, title: str, inputs: Any, write: Write, *, spliced: bool = True) -> Layer:
        """Return the layer that ``write`` makes from ``inputs`` (plain values that decide its bytes)."""
        key = key_of("layer", _FORMAT, compressor(self._compression, spliced=spliced), inputs)
        with self._store.making("records", key):
            known = self._store.record(key)
            written = _read(known) if isinstance(known, dict) else None
            kept = written or self._make(key, title, write, spliced)

        def opened() -> BinaryIO:
            name = kept.digest.encoded
            path = self._store.find("layers", name, kept.size_bytes)
            if path is None:
                again = self._make(key, title, write, spliced)
                if again.digest != kept.digest:
                    raise IntegrityError(
                        f"layer: {title} came out as {again.digest}, not {kept.digest}",
                        hint="clear the cache and build again",
                    )
                path = self._store.path("layers", name)
            return cast("BinaryIO", path.open("rb"))

        descriptor = Descriptor(media_type=kept.media_type, digest=kept.digest, size_bytes=kept.size_bytes)
        return Layer(descriptor=descriptor, diff_id=str(kept.diff_id), title=title, open=opened)

    def _make(self, key: str, title: str, write: Write, spliced: bool) -> Written:
        made: list[Written] = []

        def fill(file: BinaryIO) -> str:
            writer = LayerWriter(file, self._compression, spliced=spliced)
            write(writer)
            made.append(writer.finish())
            return made[0].digest.encoded

        self._store.write("layers", fill)
        written = made[0]
        self._store.write_record(key, {**_value(written), "title": title})
        return written


def _value(written: Written) -> dict[str, Any]:
    return {
        "digest": str(written.digest),
        "diff_id": str(written.diff_id),
        "media_type": written.media_type,
        "size_bytes": written.size_bytes,
    }


def _read(value: dict[str, Any]) -> Written | None:
    try:
        return Written(
            media_type=value["media_type"],
            digest=Digest.parse(value["digest"]),
            size_bytes=int(value["size_bytes"]),
            diff_id=Digest.parse(value["diff_id"]),
        )
    except (KeyError, TypeError, ValueError):
        return None
