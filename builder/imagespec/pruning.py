"""Which images of a repository may go: nobody needs them, they are ours, and they are old enough."""

from __future__ import annotations

from collections.abc import Mapping, Set
from types import MappingProxyType

from imagespec.fingerprint import is_in_tag
from imagespec.names import Digest
from imagespec.values import dataclass

__all__ = ["Verdict", "verdicts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is to become of a digest and of all its tags; ``reason`` says why."""

    digest: Digest
    tags: tuple[str, ...]
    may_go: bool
    reason: str


def verdicts(
    tags: Mapping[str, Digest],
    *,
    needed: Set[str],
    ours: Set[Digest],
    ages_s: Mapping[str, float],
    keep_s: float,
    parts: Mapping[Digest, str] = MappingProxyType({}),
) -> tuple[Verdict, ...]:
    """Return a verdict on every digest, in the order of its first tag.

    It may go when none of its tags is among the ``needed`` ones, it is among ``ours``, and the age of every one of its
    tags is known and at least ``keep_s``. Tags without a fingerprint were given by somebody else, who has a reason.
    ``parts`` are the images that stand in an index, with a tag of that index: they stay.
    """
    by_digest: dict[Digest, list[str]] = {}
    for tag in sorted(tags):
        by_digest.setdefault(tags[tag], []).append(tag)
    found = []
    for digest, names in by_digest.items():
        reason = f"part of {parts[digest]}" if digest in parts else ""
        reason = reason or _reason_to_keep(digest, names, needed, ours, ages_s, keep_s)
        gone = f"nobody needs it, {min(ages_s.get(name, 0.0) for name in names) / 86_400:.1f} days old"
        found.append(Verdict(digest=digest, tags=tuple(names), may_go=not reason, reason=reason or gone))
    return tuple(found)


def _reason_to_keep(
    digest: Digest, names: list[str], needed: Set[str], ours: Set[Digest], ages_s: Mapping[str, float], keep_s: float
) -> str:
    wanted = [name for name in names if name in needed]
    if wanted:
        return "needed" if len(names) == 1 else f"needed as {wanted[0]}"
    if digest not in ours:
        return "not made by imagespec"
    foreign = [name for name in names if not is_in_tag(name)]
    if foreign:
        return f"tagged {foreign[0]} by somebody else"
    unknown = [name for name in names if name not in ages_s]
    if unknown:
        return "its age is not known"
    youngest_s = min(ages_s[name] for name in names)
    return f"only {youngest_s / 86_400:.1f} days old" if youngest_s < keep_s else ""
