"""``pyproject.toml``: which packages it asks for by name."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

from imagespec.snapshot import LockFiles

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["PROJECT_FILE", "asked_for"]

PROJECT_FILE: Final = "pyproject.toml"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def asked_for(lock: LockFiles, extras: Sequence[str], groups: Sequence[str]) -> frozenset[str]:
    """Return the normalised names that a ``pyproject.toml`` lists, for these extras and dependency groups."""
    value = tomllib.loads(lock.files[0].data.decode())
    project = value.get("project") or {}
    listed = list(project.get("dependencies") or ())
    for extra in extras:
        listed += (project.get("optional-dependencies") or {}).get(extra) or ()
    for group in groups:
        listed += _group(value.get("dependency-groups") or {}, group, frozenset())
    names = (_NAME.match(str(one).strip()) for one in listed)
    return frozenset(re.sub(r"[-_.]+", "-", name[0]).lower() for name in names if name)


def _group(groups: dict[str, Any], name: str, seen: frozenset[str]) -> Iterator[str]:
    """Yield a group's requirements, with those of the groups that it includes (PEP 735)."""
    if name in seen:
        return
    for one in groups.get(name) or ():
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            yield from _group(groups, str(one.get("include-group")), seen | {name})
