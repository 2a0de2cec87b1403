"""``poetry.lock`` to requirement lines with hashes, so that any installer of requirements installs it.

Source: Poetry's lock format 2.1 (Poetry 2), in which every package names its groups and its markers.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from imagespec.errors import SpecError
from imagespec.snapshot import LockFiles

__all__ = ["POETRY_LOCK", "requirement_lines"]

POETRY_LOCK: Final = "poetry.lock"

_EXTRA = re.compile(r"""extra\s*(==|!=)\s*["']([^"']+)["']""")
# Comparisons that always hold and never hold, since a requirement line cannot ask for an extra.
_ALWAYS: Final = 'python_version >= "0"'
_NEVER: Final = 'python_version < "0"'
_OLDEST: Final = (2, 1)


def requirement_lines(lock: LockFiles, extras: Sequence[str], groups: Sequence[str]) -> tuple[str, ...]:
    """Return the lines, with hashes, for the main group, these groups and these extras, sorted.

    Raise SpecError for a lock of an older format, an unknown extra or group, and packages that are folders.
    """
    value = _parsed(lock)
    packages = value.get("package") or []
    _check_known("groups", groups, {group for package in packages for group in package.get("groups") or ()})
    _check_known("extras", extras, set(value.get("extras") or {}))
    wanted = {"main", *groups}
    chosen = [package for package in packages if wanted & set(package.get("groups") or ("main",))]
    return tuple(sorted(_line(package, extras) for package in chosen))


def _parsed(lock: LockFiles) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    data = next(file.data for file in lock.files if file.path.rpartition("/")[2] == POETRY_LOCK)
    try:
        value = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"requirements: poetry.lock is not TOML: {error}", path="requirements") from error
    version = str((value.get("metadata") or {}).get("lock-version", "0"))
    if tuple(int(part) for part in version.split(".") if part.isdigit()) < _OLDEST:
        raise SpecError(
            f"requirements: poetry.lock has format {version}, which does not say what belongs to which group",
            path="requirements",
            hint="lock it again with Poetry 2: poetry lock",
        )
    return value


def _check_known(key: str, asked: Sequence[str], known: set[str]) -> None:
    for name in asked:
        if name not in known:
            path = f"builder_options.{key}"
            listed = ", ".join(sorted(known)) or "none"
            raise SpecError(f"{path}: poetry.lock has no {name!r}", path=path, hint=f"it has: {listed}")


def _line(package: Mapping[str, Any], extras: Sequence[str]) -> str:
    name, version = str(package["name"]), str(package["version"])
    hashes = sorted({str(file["hash"]) for file in package.get("files") or ()})
    markers = package.get("markers")
    marker = f" ; {_without_extras(str(markers), extras)}" if markers else ""
    return " ".join([f"{name}{_source(package, version)}{marker}", *(f"--hash={one}" for one in hashes)])


def _source(package: Mapping[str, Any], version: str) -> str:
    source = package.get("source") or {}
    match source.get("type"):
        case None | "legacy":
            return f"=={version}"
        case "git":
            return f" @ git+{source['url']}@{source['resolved_reference']}"
        case "url":
            return f" @ {source['url']}"
        case kind:
            raise SpecError(
                f"requirements: poetry.lock takes {package['name']} from a {kind} of this machine",
                path="requirements",
                hint="publish it, or copy it and install it with commands",
            )


def _without_extras(markers: str, extras: Sequence[str]) -> str:
    def decided(match: re.Match[str]) -> str:
        holds = (match[2] in extras) == (match[1] == "==")
        return _ALWAYS if holds else _NEVER

    return _EXTRA.sub(decided, markers)
