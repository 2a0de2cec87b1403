"""A lock as values: one wheel per package for one target.

Formats: PEP 751 (``pylock.toml``), PEP 425 and 600 (tags), PEP 508 (markers).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from imagespec.errors import SpecError, Unsupported
from imagespec.oci import Platform
from imagespec.values import dataclass

__all__ = ["LockedWheel", "Target", "chosen", "normalized"]

_MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
# The glibc versions that uv knows a platform for, newest first.
_MANYLINUX: Final = (40, 39, 38, 37, 36, 35, 34, 33, 32, 31, 28, 17)
_LEGACY: Final = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_HINT: Final = "--builder buildkit builds it from its sources"


def normalized(name: str) -> str:
    """Return a project's name in its normal form (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedWheel:
    """One wheel: where it is to be had (https, http or file URL), and what it is. ``size_bytes`` 0 is unknown."""

    name: str
    version: str
    filename: str
    url: str
    sha256: str
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where packages shall run: the platform, the full Python version, and the C library (``glibc 2.36``)."""

    platform: Platform
    python: str
    libc: str

    @property
    def machine(self) -> str:
        """The machine's name in tags and markers; raise Unsupported where uv knows none."""
        machine = _MACHINES.get(self.platform.architecture)
        if machine is None or self.platform.os != "linux":
            raise Unsupported(
                f"platform: packages cannot be resolved for {self.platform}",
                builder="daemonless",
                field="platform",
                hint="linux/amd64 and linux/arm64 can; --builder buildkit",
            )
        return machine

    @property
    def triple(self) -> str:
        """The platform as uv names it; raise Unsupported for a base whose C library is unknown or too old."""
        kind, _, version = self.libc.partition(" ")
        if kind == "musl":
            return f"{self.machine}-unknown-linux-musl"
        known = [minor for minor in _MANYLINUX if kind == "glibc" and minor <= _minor(version)]
        if not known:
            raise Unsupported(
                f"base_image: its C library is {self.libc or 'unknown'}, which wheels do not run on",
                builder="daemonless",
                field="base_image",
                hint="choose a base with glibc 2.17 or newer, or --builder buildkit",
            )
        return f"{self.machine}-manylinux_2_{known[0]}"

    @property
    def markers(self) -> dict[str, str]:
        """The environment that markers are evaluated in (PEP 508)."""
        minor = ".".join(self.python.split(".")[:2])
        full = self.python if self.python.count(".") == 2 else f"{minor}.0"
        return {
            "implementation_name": "cpython",
            "implementation_version": full,
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": full,
            "python_version": minor,
            "sys_platform": "linux",
        }

    def ranks(self) -> dict[Any, int]:
        """Return the tags that the target takes, best first, with their rank."""
        from packaging.tags import compatible_tags, cpython_tags

        parts = [int(part) for part in self.python.split(".")[:2]]
        interpreter = f"cp{parts[0]}{parts[1]}"
        platforms = self._platforms()
        tags = [*cpython_tags(parts, [interpreter], platforms), *compatible_tags(parts, interpreter, platforms)]
        ranks: dict[Any, int] = {}
        for rank, tag in enumerate(tags):
            ranks.setdefault(tag, rank)
        return ranks

    def _platforms(self) -> list[str]:
        kind, _, version = self.libc.partition(" ")
        names: list[str] = []
        if kind == "musl":
            names += [f"musllinux_1_{minor}_{self.machine}" for minor in range(_minor(version), -1, -1)]
        else:
            for minor in range(_minor(version), 4, -1):
                names.append(f"manylinux_2_{minor}_{self.machine}")
                names += [f"{_LEGACY[minor]}_{self.machine}"] if minor in _LEGACY else []
        return [*names, f"linux_{self.machine}"]


def _minor(version: str) -> int:
    parts = version.split(".")
    return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0


def chosen(
    lock: Mapping[str, Any],
    target: Target,
    *,
    extras: Collection[str] = (),
    groups: Collection[str] = (),
    hashes: Mapping[str, Collection[str]] | None = None,
    folder_url: str = "",
) -> tuple[LockedWheel, ...]:
    """Return the wheels of a parsed ``pylock.toml`` that the target installs, by name.

    ``hashes`` are the sha256 that each name may have; ``folder_url`` is what paths in the lock are relative to. Raise
    Unsupported for a package without a fitting wheel, SpecError for a lock that is not valid.
    """
    ranks = target.ranks()
    wheels = []
    try:
        for package in lock.get("packages", ()):
            if _applies(package, target, extras, groups):
                allowed = None if hashes is None else hashes.get(normalized(package["name"]))
                wheels.append(_wheel(package, ranks, allowed, folder_url))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"requirements: the lock is not a valid pylock: {error}", path="requirements") from error
    return tuple(sorted(wheels, key=lambda wheel: wheel.name))


def _applies(package: Mapping[str, Any], target: Target, extras: Collection[str], groups: Collection[str]) -> bool:
    text = package.get("marker")
    if not text:
        return True
    from packaging.markers import Marker

    environment: dict[str, Any] = {**target.markers, "extras": set(extras), "dependency_groups": set(groups)}
    return bool(Marker(text).evaluate(environment, context="lock_file"))


def _wheel(
    package: Mapping[str, Any], ranks: Mapping[Any, int], allowed: Collection[str] | None, folder_url: str
) -> LockedWheel:
    name, version = normalized(package["name"]), str(package.get("version", ""))
    best: tuple[int, LockedWheel] | None = None
    for listed in _listed(package):
        wheel = _locked(name, version, listed, folder_url)
        rank = _rank(wheel.filename, ranks)
        if rank is None or (allowed is not None and wheel.sha256 not in allowed):
            continue
        if best is None or (rank, wheel.filename) < (best[0], best[1].filename):
            best = rank, wheel
    if best is None:
        why = "none with a hash that the requirements allow" if allowed is not None else "source only"
        raise Unsupported(
            f"packages: {name} {version} has no wheel for this base ({why})",
            builder="daemonless",
            field="packages",
            hint=_HINT,
        )
    return best[1]


def _listed(package: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    archive = package.get("archive")
    listed = [archive] if archive else list(package.get("wheels", ()))
    return [one for one in listed if _filename(one).endswith(".whl")]


def _filename(listed: Mapping[str, Any]) -> str:
    if listed.get("name"):
        return str(listed["name"])
    place = str(listed.get("path") or urlsplit(str(listed["url"])).path)
    return posixpath.basename(unquote(place))


def _locked(name: str, version: str, listed: Mapping[str, Any], folder_url: str) -> LockedWheel:
    url = str(listed.get("url") or "")
    if not url:
        path = str(listed["path"])
        url = f"file://{path}" if path.startswith("/") else f"{folder_url}/{path}"
    return LockedWheel(
        name=name,
        version=version or _filename(listed).split("-")[1],
        filename=_filename(listed),
        url=url,
        sha256=str(listed["hashes"]["sha256"]),
        size_bytes=int(listed.get("size", 0)),
    )


def _rank(filename: str, ranks: Mapping[Any, int]) -> int | None:
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    try:
        _, _, _, tags = parse_wheel_filename(filename)
    except InvalidWheelFilename:
        return None
    return min((ranks[tag] for tag in tags if tag in ranks), default=None)
