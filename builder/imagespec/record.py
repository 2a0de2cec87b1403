"""The record of a plan: the plan as plain data that can be kept, sent along with an image, and compared.

A record answers "why is this another tag": its leaves are what people declared (a package, a line, a variable, a
file), each under a name that they would use for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Final, TypeAlias

from imagespec.fingerprint import encode
from imagespec.oci import canonical_json, digest_of
from imagespec.plan import (
    AptInstall,
    BaseImage,
    BaseLayout,
    BuildPlan,
    CondaInstall,
    CopyFiles,
    PythonEnvironment,
    PythonPackages,
    RunCommand,
    Step,
)
from imagespec.snapshot import ContextEntry, LockFiles
from imagespec.values import dataclass, fields

__all__ = ["Change", "ChangeKind", "Record", "difference", "in_a_few_words", "is_shortened", "record_of", "shortened"]

Record: TypeAlias = dict[str, dict[str, str]]
"""Named groups (``packages``, ``env``, ``files``…) of named leaves, each with its value as text."""

_FILES: Final = "files"
_DEPTHS: Final = (4, 3, 2, 1)
"""How many folders deep files are told apart where not all of them can be named, the best first."""

_LEAF_BYTES: Final = 32
"""A leaf takes at least that much: its digest, and what JSON puts around it."""

SHORTENED: Final = "digest of all"
"""The name of the one leaf that a group has after it was too large to keep."""


class ChangeKind(Enum):
    """How a leaf differs."""

    ADDED = "added"
    GONE = "gone"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One leaf that differs: its group and name, and its values ("" on the side where it is absent)."""

    kind: ChangeKind
    group: str
    name: str
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        if self.name == SHORTENED:
            return f"{self.group}: {self.kind.value}, and the image's label has no room to say what"
        what = f"{self.group}: {self.name}"
        if self.kind is not ChangeKind.CHANGED or self.group in ("files", "lock"):
            return f"{what} {self.kind.value}"
        return f"{what} changed from {self.before!r} to {self.after!r}"


def record_of(plan: BuildPlan) -> Record:
    """Return the record of a plan."""
    config = plan.config
    record: Record = {
        "recipe": {"recipe": str(plan.recipe)},
        "base": {"base_image": _base(plan)},
        "tools": {one.name: str(getattr(plan.tools, one.name)) for one in fields(plan.tools)},
        "platform": {str(platform): "" for platform in plan.platforms},
        "env": dict(config.env),
        "config": {
            "entrypoint": str(list(config.entrypoint)) if config.entrypoint is not None else "the base's",
            "user": config.account.name,
            "workdir": config.workdir,
        },
        "labels": dict(config.labels),
        "build_args": dict(config.build_arguments),
    }
    for step in plan.steps:
        for group, leaves in _step(step, len(record.get("commands", ())) + 1):
            record.setdefault(group, {}).update(leaves)
    return {group: leaves for group, leaves in record.items() if leaves}


def difference(before: Record, after: Record) -> tuple[Change, ...]:
    """Return what changed, in the order of the groups; a group that one side has only as a digest is one change."""
    changes: list[Change] = []
    for group in dict.fromkeys([*before, *after]):
        old, new = before.get(group, {}), after.get(group, {})
        if SHORTENED in old or SHORTENED in new:
            old, new = _digest(old), _digest(new)
        elif group == _FILES:
            old, new = _folded(old, _folders(new)), _folded(new, _folders(old))
        changes += _leaves(group, old, new)
    return tuple(changes)


def in_a_few_words(changes: tuple[Change, ...]) -> str:
    """Return one line for people: the first changes, and how many more there are."""
    shown = "; ".join(str(change) for change in changes[:3])
    return f"{shown}; and {len(changes) - 3} more" if len(changes) > 3 else shown


def shortened(record: Record, limit_bytes: int) -> Record:
    """Return the record with its largest groups reduced, until it takes at most ``limit_bytes`` as JSON.

    Files are reduced to a digest for each folder where that is enough, everything else to one digest.
    """
    kept = dict(record)
    for group in sorted(record, key=lambda name: len(canonical_json(record[name])), reverse=True):
        for smaller in _smaller(group, record[group], limit_bytes):
            if len(canonical_json(kept)) <= limit_bytes:
                return kept
            kept[group] = smaller
    return kept


def is_shortened(record: Record) -> bool:
    """Return whether the record is less than the whole."""
    return bool(_folders(record.get(_FILES, {}))) or any(SHORTENED in leaves for leaves in record.values())


def _smaller(group: str, leaves: Mapping[str, str], limit_bytes: int) -> Iterator[dict[str, str]]:
    parts = [path.split("/") for path in leaves] if group == _FILES else []
    for depth in _DEPTHS if parts else ():
        folders = {"/".join(names[:depth]) + "/" for names in parts if len(names) > depth}
        on_top = sum(len(names) <= depth for names in parts)
        if (len(folders) + on_top) * _LEAF_BYTES <= limit_bytes:
            yield _folded(leaves, folders)
    yield _digest(leaves)


def _folders(leaves: Mapping[str, str]) -> set[str]:
    """Return the names of leaves that stand for all files of a folder."""
    return {name for name in leaves if name.endswith("/")}


def _folded(leaves: Mapping[str, str], folders: set[str]) -> dict[str, str]:
    """Return the leaves with those in one of the folders reduced to a digest under the folder's name."""
    if not folders:
        return dict(leaves)
    kept: dict[str, str] = {}
    inside: dict[str, dict[str, str]] = {}
    for name, value in leaves.items():
        cut = name.find("/") + 1
        while cut and name[:cut] not in folders:
            cut = name.find("/", cut) + 1
        (inside.setdefault(name[:cut], {}) if cut else kept)[name] = value
    return kept | {folder: digest_of(canonical_json(found)).encoded[:24] for folder, found in inside.items()}


def _digest(leaves: Mapping[str, str]) -> dict[str, str]:
    if not leaves or SHORTENED in leaves:
        return dict(leaves)
    return {SHORTENED: digest_of(canonical_json(dict(leaves))).encoded[:24]}


def _leaves(group: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Change]:
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            yield Change(kind=ChangeKind.ADDED, group=group, name=name, after=new[name])
        elif name not in new:
            yield Change(kind=ChangeKind.GONE, group=group, name=name, before=old[name])
        elif old[name] != new[name]:
            yield Change(kind=ChangeKind.CHANGED, group=group, name=name, before=old[name], after=new[name])


def _base(plan: BuildPlan) -> str:
    if isinstance(plan.base, BaseImage):
        return plan.base.reference
    if isinstance(plan.base, BaseLayout):
        return f"oci-layout with {plan.base.digest}"
    return f"ImageSpec {plan.base.fingerprint.encoded[:24]}"


def _step(step: Step, number: int) -> Iterator[tuple[str, dict[str, str]]]:
    if isinstance(step, AptInstall):
        yield "apt_packages", dict.fromkeys(step.packages, "")
    elif isinstance(step, CondaInstall):
        yield "conda_packages", dict.fromkeys(step.packages, "")
        yield "conda_channels", {"in order": ", ".join(step.channels)}
    elif isinstance(step, PythonEnvironment):
        installer = {"pip": step.pip, "bytecode": str(step.bytecode)}
        yield "python", {"version": step.version or step.executable or "the base's", **installer}
    elif isinstance(step, PythonPackages):
        yield from _packages(step)
    elif isinstance(step, CopyFiles):
        yield "files", {entry.path: _entry(entry) for entry in step.entries}
    elif isinstance(step, RunCommand):
        yield "commands", {str(number): step.command}


def _packages(step: PythonPackages) -> Iterator[tuple[str, dict[str, str]]]:
    yield "packages", _named(step.lines)
    yield "constraints", _named(step.constraints)
    yield "projects", {one.path: digest_of(encode(one.entries)).encoded[:24] for one in step.projects}
    yield "lock", _lock(step.lock)
    yield "index", {"pip_index": step.index, "pip_extra_index_url": ", ".join(step.extra_indexes)}
    installer = {"arguments": " ".join([*step.options, *step.arguments]), "bytecode": str(step.bytecode)}
    yield "installer", installer | {"extras": ", ".join(step.extras), "groups": ", ".join(step.groups)}


def _named(lines: tuple[str, ...]) -> dict[str, str]:
    named: dict[str, str] = {}
    for line in lines:
        # Lines that differ only in their markers share a name: the second one goes by its whole text.
        name = _name(line)
        named[line if name in named else name] = line
    return named


def _name(line: str) -> str:
    """Return what a requirement line is called: its name with extras, or the line itself when it has none."""
    head = line.split(" @ ")[0].split(";")[0].strip()
    for separator in ("==", "~=", "!=", "<=", ">=", "<", ">"):
        head = head.partition(separator)[0]
    return head.strip() or line


def _lock(lock: LockFiles | None) -> dict[str, str]:
    return {file.path: digest_of(file.data).encoded[:24] for file in lock.files} if lock else {}


def _entry(entry: ContextEntry) -> str:
    content = entry.sha256.hex()[:24] or entry.target
    return f"{entry.kind.value}{' executable' if entry.executable else ''} {content}".strip()
