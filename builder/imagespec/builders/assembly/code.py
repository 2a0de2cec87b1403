"""Copied sources to layers: sorted, one time, the account's own, each file checked against its digest as it is read."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from typing import Final

from imagespec.builders.assembly.layer_file import LayerWriter
from imagespec.builders.assembly.layers import Layer, LayerStore
from imagespec.errors import InputError, Unsupported
from imagespec.plan import Account, CopyFiles
from imagespec.snapshot import ContextEntry, EntryKind, Files
from imagespec.tarball import FILE, FOLDER, LINK, TarEntry, parents_of

__all__ = ["check_sources", "code_layers"]

# An edit makes one layer again, but each is looked up at every push: large sources are split further.
_LAYERS: Final = 8
_LAYERS_OF_LARGE: Final = 16
_LARGE_BYTES: Final = 8 << 20
# Few or small sources are one layer: requests cost more than the bytes that eight layers would save.
_SPLIT_FILES: Final = 256
_SPLIT_BYTES: Final = 1 << 20
_WHITEOUT: Final = ".wh."


def check_sources(step: CopyFiles) -> None:
    """Raise Unsupported for a name that stands for a deletion in a layer (layer.md, "Whiteouts")."""
    for entry in step.entries:
        if _WHITEOUT in entry.path and any(part.startswith(_WHITEOUT) for part in entry.path.split("/")):
            raise Unsupported(
                f"copy: {entry.path!r} is named as layers name what is deleted",
                builder="daemonless",
                field="copy",
                hint="rename it, or leave it out by .dockerignore",
            )


def code_layers(
    step: CopyFiles, files: Files, account: Account, above: tuple[TarEntry, ...], store: LayerStore
) -> list[Layer]:
    """Return the layers of a copy step; ``above`` are the folders over its destination, as the base has them."""
    buckets: dict[int, list[ContextEntry]] = {}
    layers = _layers(step.entries)
    for entry in step.entries:
        buckets.setdefault(zlib.crc32(entry.path.encode()) % layers, []).append(entry)
    return [_layer(step, buckets[number], files, account, above, store) for number in sorted(buckets)]


def _layers(entries: Sequence[ContextEntry]) -> int:
    """Return into how many layers sources are split, by their paths."""
    size_bytes = sum(entry.size_bytes for entry in entries)
    if len(entries) <= _SPLIT_FILES and size_bytes <= _SPLIT_BYTES:
        return 1
    return _LAYERS if size_bytes <= _LARGE_BYTES else _LAYERS_OF_LARGE


def _layer(
    step: CopyFiles,
    entries: list[ContextEntry],
    files: Files,
    account: Account,
    above: tuple[TarEntry, ...],
    store: LayerStore,
) -> Layer:
    destination = step.destination.strip("/")

    def write(writer: LayerWriter) -> None:
        _write(writer, destination, entries, files, account, above)

    listed = [(entry.path, entry.kind.value, entry.executable, entry.target, entry.sha256) for entry in entries]
    tree = hashlib.sha256(repr(listed).encode()).hexdigest()
    inputs = ["code", destination, account.uid, account.gid, above, tree]
    return store.layer(f"copy {len(entries)} files to {step.destination}", inputs, write, spliced=False)


def _write(
    writer: LayerWriter,
    destination: str,
    entries: list[ContextEntry],
    files: Files,
    account: Account,
    above: tuple[TarEntry, ...],
) -> None:
    uid, gid = account.uid, account.gid
    prefix = f"{destination}/" if destination else ""
    for parent in above:
        writer.add(parent)
    own = {entry.path for entry in entries if entry.kind is EntryKind.FOLDER}
    folders = [prefix + path for path in sorted({*parents_of(entry.path for entry in entries), *own})]
    for folder in [destination, *folders] if destination else folders:
        writer.add(TarEntry(folder, FOLDER, 0o755, uid, gid))
    for entry in entries:
        path = prefix + entry.path
        if entry.kind is EntryKind.LINK:
            writer.add(TarEntry(path, LINK, 0o777, uid, gid, 0, entry.target))
        elif entry.kind is EntryKind.FILE:
            if entry.digest is None:
                raise InputError(f"copy: no content is known for {entry.path}", path=entry.path)
            mode = 0o755 if entry.executable else 0o644
            with files.open(entry.digest) as source:
                writer.stream(TarEntry(path, FILE, mode, uid, gid, entry.size_bytes), source)
