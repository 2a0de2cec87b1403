"""The fingerprint of a plan: a sha256 per named part, a root over them, and the tag text.

The encoding is injective: every value is written with its type and its length, so that no two different plans have
the same bytes (defects of joined strings cannot happen). The text is ``x1-`` and 160 bits in lower-case base32hex
(RFC 4648, section 7): legal as an OCI tag and as a Kubernetes label value, also where case is lost.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Any, Final

from imagespec.names import Digest, Reference, check_tag
from imagespec.patterns import lazy_pattern
from imagespec.plan import BuildPlan, CopyFiles, Step, environment_of
from imagespec.snapshot import ContextEntry, Entries, EntryKind
from imagespec.values import dataclass, fields, is_dataclass

__all__ = [
    "Fingerprint",
    "encode",
    "entry_bytes",
    "environment_reference",
    "file_bytes",
    "fingerprint_of",
    "is_in_tag",
    "tag_of",
    "tree_digest",
]

TAG_PREFIX: Final = "x1-"
ENVIRONMENT_PREFIX: Final = "env-"
_TAG_BYTES: Final = 20
_KINDS: Final = {EntryKind.FOLDER: b"d", EntryKind.LINK: b"l"}
_ENTRIES_AT_ONCE: Final = 1024
_TEXT: Final = lazy_pattern(r"x1-[0-9a-v]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """The identity of a plan: the root digest, and the digest of every named part, in the plan's order."""

    digest: Digest
    parts: tuple[tuple[str, Digest], ...]

    @property
    def text(self) -> str:
        """The text that tags carry: ``x1-`` and 32 lower-case base32hex characters."""
        raw = bytes.fromhex(self.digest.encoded)[:_TAG_BYTES]
        return TAG_PREFIX + base64.b32hexencode(raw).decode().lower()


def fingerprint_of(plan: BuildPlan) -> Fingerprint:
    """Return the fingerprint of a plan. Equal plans, and only they, have equal fingerprints."""
    parts = tuple((name, Digest("sha256", hashlib.sha256(encoded).hexdigest())) for name, encoded in _parts(plan))
    root = hashlib.sha256(encode([[name, digest.encoded] for name, digest in parts])).hexdigest()
    return Fingerprint(digest=Digest("sha256", root), parts=parts)


def tag_of(fingerprint: Fingerprint, tag_format: str | None) -> str:
    """Return the tag: the fingerprint's text, in the user's format where there is one; raise InvalidReference."""
    text = fingerprint.text
    return check_tag(text if tag_format is None else tag_format.replace("{spec_hash}", text))


def is_in_tag(tag: str) -> bool:
    """Return whether the tag carries a fingerprint's text, in whatever format: no other tag is of our making."""
    return _TEXT.search(tag) is not None


def environment_reference(plan: BuildPlan, target: Reference) -> Reference | None:
    """Return where the plan's environment is kept beside its image, None for a plan without such a split."""
    environment = environment_of(plan)
    if environment is None:
        return None
    return target.with_tag(ENVIRONMENT_PREFIX + fingerprint_of(environment).text)


def _parts(plan: BuildPlan) -> list[tuple[str, bytes]]:
    """Return every field of the plan under a name; the steps, and the fields of the config, one by one."""
    parts: list[tuple[str, bytes]] = []
    for name, value in _fields(plan):
        if name == "steps":
            parts += [(f"steps[{index}] {type(step).__name__}", _step(step)) for index, step in enumerate(value)]
        elif name == "config":
            parts += [(f"config.{key}", encode(one)) for key, one in _fields(value)]
        else:
            parts.append((name, encode(value)))
    return parts


def _step(step: Step) -> bytes:
    if not isinstance(step, CopyFiles):
        return encode(step)
    others = [[name, value] for name, value in _fields(step) if name != "entries"]
    return encode([type(step).__name__, others, len(step.entries), tree_digest(step.entries)])


def tree_digest(entries: Sequence[ContextEntry]) -> bytes:
    """Return the raw sha256 over entries, in their order."""
    if isinstance(entries, Entries):
        return entries.digest
    tree = hashlib.sha256()
    # A tree may hold 100,000 entries: only a few of them are text at a time.
    for start in range(0, len(entries), _ENTRIES_AT_ONCE):
        tree.update(b"".join(map(entry_bytes, entries[start : start + _ENTRIES_AT_ONCE])))
    return tree.digest()


def entry_bytes(entry: ContextEntry) -> bytes:
    """Return kind, executable bit, framed path, framed link target, and 32 bytes of content digest for a file."""
    text, kind, executable, _, sha256, link = entry
    path, target = text.encode(), link.encode()
    letter = b"f" if kind is EntryKind.FILE else _KINDS[kind]
    letter = letter.upper() if executable else letter
    return b"%s%d:%s%d:%s%s" % (letter, len(path), path, len(target), target, sha256)


def file_bytes(folder: str, names: Sequence[str], executable: Sequence[bool], sha256: Sequence[bytes]) -> list[bytes]:
    """Return of many files in one folder ('' or ending with '/') what ``entry_bytes`` returns of one."""
    paths = [(folder + name).encode() for name in names]
    return [
        b"%s%d:%s0:%s" % (b"F" if may_run else b"f", len(path), path, digest)
        for path, may_run, digest in zip(paths, executable, sha256, strict=True)
    ]


def encode(value: Any) -> bytes:
    """Return the injective encoding of plain data, enumerations and dataclasses; raise TypeError for anything else."""
    # Nearly all that a plan holds is of these types themselves; the questions below are for their subclasses.
    kind: Any = type(value)
    if kind is str:
        data = value.encode()
        return b"S%d:%s" % (len(data), data)
    if kind is tuple or kind is list:
        data = b"".join([encode(item) for item in value])
        return b"L%d:%s" % (len(data), data)
    if isinstance(value, Enum):
        return _framed(b"E", encode([type(value).__name__, value.name]))
    if value is None or isinstance(value, (bool, int, str, bytes)):
        return _scalar(value)
    if isinstance(value, ContextEntry):
        return _framed(b"F", entry_bytes(value))
    if isinstance(value, (list, tuple, Entries)):
        return _framed(b"L", b"".join(encode(item) for item in value))
    if isinstance(value, Mapping):
        return _framed(b"M", b"".join(encode(key) + encode(value[key]) for key in sorted(value)))
    if is_dataclass(value):
        name, fields_of_it = _head(kind)
        items = [_framed(b"L", key + encode(getattr(value, field))) for field, key in fields_of_it]
        return _framed(b"D", _framed(b"L", b"".join([name, *items])))
    raise TypeError(f"no encoding for {type(value).__name__}")


@cache
def _head(kind: type) -> tuple[bytes, tuple[tuple[str, bytes], ...]]:
    """Return the encoded name of a dataclass, and its fields' names, plain and encoded."""
    return encode(kind.__name__), tuple((one.name, encode(one.name)) for one in fields(kind))


def _scalar(value: bool | int | str | bytes | None) -> bytes:
    if value is None:
        return _framed(b"N", b"")
    if isinstance(value, bool):
        return _framed(b"B", b"1" if value else b"0")
    if isinstance(value, int):
        return _framed(b"I", str(value).encode())
    if isinstance(value, str):
        return _framed(b"S", value.encode())
    return _framed(b"Y", value)


def _framed(kind: bytes, data: bytes) -> bytes:
    return b"%s%d:%s" % (kind, len(data), data)


def _fields(value: Any) -> list[tuple[str, Any]]:
    return [(one.name, getattr(value, one.name)) for one in fields(value)]
