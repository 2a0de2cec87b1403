"""A walked folder as sorted entries: digests that are remembered or read, and the digest of the whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Final

from imagespec.fingerprint import entry_bytes, file_bytes, tree_digest
from imagespec.snapshot import ContextEntry, Entries, EntryKind
from imagespec.sources import content
from imagespec.sources.stat_cache import DIGEST_BYTES, Listed, StatCache, Table, modes, sizes

__all__ = ["OWNER_MAY_EXECUTE", "digest_of_file", "entries_of"]

OWNER_MAY_EXECUTE: Final = 0o100
_TREES_KEPT: Final = 8
# One entry of each kind: what is remembered goes by the encoding that it was made with.
_SAMPLE: Final = (
    ContextEntry("file", EntryKind.FILE, True, 4, b"sha256".ljust(DIGEST_BYTES)),
    ContextEntry("file", EntryKind.FILE, False, 4, b"sha256".ljust(DIGEST_BYTES)),
    ContextEntry("folder", EntryKind.FOLDER),
    ContextEntry("link", EntryKind.LINK, target="target"),
)


def entries_of(
    root: bytes,
    prefix: str,
    folders: Sequence[Listed],
    others: Sequence[ContextEntry],
    cache: StatCache | None,
    looked_at_ns: int,
) -> Entries:
    """Return the entries of a tree: the files in ``folders`` below ``root``, named from ``prefix`` on, and ``others``.

    ``looked_at_ns`` is the time before the tree was walked. Raise InputChanged or InputError for a file.
    """
    table = cache.load(root) if cache else Table()
    known = [table.digests(one) for one in folders]
    digests = _completed(root, folders, known, table)
    is_as_it_was = None not in known and table.folders == len(folders)
    count = sum([len(one) for one in digests]) // DIGEST_BYTES + len(others)
    make = partial(_entries, prefix, folders, digests, others)
    # The whole goes by what is not in its folders: links, empty folders, and what its paths start with.
    name = tree_digest((*_SAMPLE, ContextEntry(prefix, EntryKind.FOLDER), *others))
    trees = dict(table.trees) if is_as_it_was else {}
    if name not in trees:
        trees[name] = _tree_digest(prefix, folders, digests, others)
        if cache:
            cache.save(root, folders, digests, looked_at_ns, dict([*trees.items()][-_TREES_KEPT:]))
    return Entries(trees[name], count, make)


def digest_of_file(file: bytes, key: bytes, cache: StatCache | None, looked_at_ns: int) -> bytes:
    """Return the raw sha256 of one file with this key of the stat cache."""
    table = cache.load(file) if cache else Table()
    listed = [("", "", key)]
    known = [table.digests(listed[0])]
    (digest,) = _completed(file, listed, known, table)
    if cache and None in known:
        cache.save(file, listed, [digest], looked_at_ns)
    return digest


def _completed(root: bytes, folders: Sequence[Listed], known: Sequence[bytes | None], table: Table) -> list[bytes]:
    """Return the digests of every folder's files, one after the other; what is not known is read."""
    missing = [folder for folder, digests in zip(folders, known, strict=True) if digests is None]
    partly = [digest for folder in missing for digest in table.digests_one_by_one(folder)]
    wanted = [file for file, digest in zip(_files(missing), partly, strict=True) if digest is None]
    fresh = iter(content.digests(root, wanted))
    filled = iter([digest or next(fresh) for digest in partly])
    return [
        b"".join(islice(filled, folder[1].count("\0") + 1)) if digests is None else digests
        for folder, digests in zip(folders, known, strict=True)
    ]


def _files(folders: Sequence[Listed]) -> Iterator[content.Wanted]:
    for prefix, names, keys in folders:
        for name, size in zip(names.split("\0"), sizes(keys), strict=True):
            yield prefix + name, size


def _tree_digest(
    prefix: str, folders: Sequence[Listed], digests: Sequence[bytes], others: Sequence[ContextEntry]
) -> bytes:
    """Return what ``tree_digest`` gives for the entries, without making them."""
    parts = [(entry.path, entry_bytes(entry)) for entry in others]
    for (folder, names, keys), whole in zip(folders, digests, strict=True):
        start, each = prefix + folder, names.split("\0")
        executable = [mode & OWNER_MAY_EXECUTE != 0 for mode in modes(keys)]
        parts += zip([start + name for name in each], file_bytes(start, each, executable, _each(whole)), strict=True)
    parts.sort()
    return hashlib.sha256(b"".join([part for _, part in parts])).digest()


def _each(digests: bytes) -> list[bytes]:
    return [digests[at : at + DIGEST_BYTES] for at in range(0, len(digests), DIGEST_BYTES)]


def _entries(
    prefix: str, folders: Sequence[Listed], digests: Sequence[bytes], others: Sequence[ContextEntry]
) -> tuple[ContextEntry, ...]:
    """Return the sorted entries."""
    entries = list(others)
    for (folder, names, keys), whole in zip(folders, digests, strict=True):
        start = prefix + folder
        entries += [
            ContextEntry(start + name, EntryKind.FILE, mode & OWNER_MAY_EXECUTE != 0, size, digest)
            for name, size, mode, digest in zip(names.split("\0"), sizes(keys), modes(keys), _each(whole), strict=True)
        ]
    entries.sort()
    return tuple(entries)
