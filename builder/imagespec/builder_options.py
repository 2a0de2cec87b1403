"""``ImageSpec.builder_options``: the documented keys, each either identity (in the plan) or how to build."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from imagespec import fields, plain_data
from imagespec.errors import SpecError
from imagespec.patterns import lazy_pattern
from imagespec.values import dataclass

__all__ = ["BUILD_KEYS", "PLAN_KEYS", "HowToBuild", "WhatToBuild", "parse"]

PLAN_KEYS: Final = ("build_args", "bytecode", "commands_first", "extras", "groups", "labels", "user", "workdir")
BUILD_KEYS: Final = ("cache", "cache_from", "cache_to", "compression", "network", "secrets", "ssh")

_COMPRESSIONS: Final = ("gzip", "gzip-member", "zstd", "uncompressed")
_NETWORKS: Final = ("default", "host", "none")
_NAME: Final = lazy_pattern(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_VARIABLE: Final = lazy_pattern(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_SSH: Final = lazy_pattern(r"[A-Za-z0-9_-]+(=[^,\"]+)?")
_LABEL: Final = lazy_pattern(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,254}")
_SYSTEM_FOLDERS: Final = ("/", "/home", "/mnt", "/opt", "/srv", "/tmp", "/var")
_SYSTEM_ROOTS: Final = ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "proc", "run", "sbin", "sys", "usr")
_USER_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatToBuild:
    """The keys that decide bytes: they are part of the plan, so of the tag."""

    user: str | None = None
    workdir: str | None = None
    commands_first: bool = False
    bytecode: bool = True
    labels: tuple[tuple[str, str], ...] = ()
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    build_args: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HowToBuild:
    """The keys that only say how: never hashed. ``compression`` "" leaves the choice to the builder.

    ``secrets`` are pairs (file here, path that steps see); ``ssh`` are agents or keys as buildx takes them.
    """

    use_cache: bool = True
    cache_from: tuple[str, ...] = ()
    cache_to: str = ""
    compression: str = ""
    network: str = ""
    secrets: tuple[tuple[str, str], ...] = ()
    ssh: tuple[str, ...] = ()


def parse(options: Mapping[str, Any] | None) -> tuple[WhatToBuild, HowToBuild]:
    """Return both halves of ``builder_options``; raise SpecError for an unknown key or a wrong value."""
    given = dict(options or {})
    for key in given:
        if key not in PLAN_KEYS and key not in BUILD_KEYS:
            hint = fields.choice_hint(key, [*PLAN_KEYS, *BUILD_KEYS])
            raise SpecError(f"builder_options.{key}: is not a builder option", path=f"builder_options.{key}", hint=hint)
    what = WhatToBuild(
        user=_given(given, "user", _user),
        workdir=_given(given, "workdir", _workdir),
        commands_first=_given(given, "commands_first", _boolean) or False,
        bytecode=given.get("bytecode") is None or _boolean("builder_options.bytecode", given["bytecode"]),
        labels=_texts(given, "labels", _label),
        extras=tuple(sorted(set(_given(given, "extras", _names) or ()))),
        groups=tuple(sorted(set(_given(given, "groups", _names) or ()))),
        build_args=_texts(given, "build_args", _variable),
    )
    how = HowToBuild(
        use_cache=given.get("cache") is None or _boolean("builder_options.cache", given["cache"]),
        cache_from=_given(given, "cache_from", _lines) or (),
        cache_to=_given(given, "cache_to", plain_data.one_line) or "",
        compression=_given(given, "compression", _one_of(_COMPRESSIONS)) or "",
        network=_given(given, "network", _one_of(_NETWORKS)) or "",
        secrets=fields.secret_mounts("builder_options.secrets", given.get("secrets")) or (),
        ssh=_given(given, "ssh", _ssh) or (),
    )
    return what, how


def _given(options: Mapping[str, Any], key: str, check: Any) -> Any:
    value = options.get(key)
    return None if value is None else check(f"builder_options.{key}", value)


def _boolean(path: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise SpecError(
            f"{path}: must be true or false, not {plain_data.kind_of(value)}", path=path, hint="write it without quotes"
        )
    return value


def _lines(path: str, value: object) -> tuple[str, ...]:
    return plain_data.strings(path, value, plain_data.one_line) or ()


def _one_of(choices: tuple[str, ...]) -> Any:
    def check(path: str, value: object) -> str:
        choice = plain_data.one_line(path, value)
        if choice not in choices:
            told = f"{path}: {choice!r} is not one of {', '.join(choices)}"
            raise SpecError(told, path=path, hint=fields.choice_hint(choice, list(choices)))
        return choice

    return check


def _user(path: str, value: object) -> str:
    name = plain_data.one_line(path, value)
    # useradd(8): lower-case letters, digits, '_' and '-', 32 characters, not starting with a digit or '-'.
    if not (set(name) <= _USER_CHARACTERS and len(name) <= 32 and not name[0].isdigit() and name[0] != "-"):
        raise SpecError(
            f"{path}: {name!r} is not a user's name", path=path, hint="lower-case letters, digits, '_' and '-'"
        )
    return name


def _workdir(path: str, value: object) -> str:
    workdir = fields.absolute_path(path, value)
    # The user of the image becomes the owner of all that is in it.
    if workdir in _SYSTEM_FOLDERS or workdir.split("/")[1] in _SYSTEM_ROOTS:
        raise SpecError(f"{path}: {workdir!r} belongs to the system", path=path, hint="for example /srv/app")
    return workdir


def _label(path: str, value: object) -> str:
    name = plain_data.one_line(path, value)
    if _LABEL.fullmatch(name) is None:
        hint = "letters, digits, '.', '_', '-' and '/', at most 255: for example org.opencontainers.image.source"
        raise SpecError(f"{path}: {name!r} is not a label's name", path=path, hint=hint)
    return name


def _texts(options: Mapping[str, Any], key: str, check: Any) -> tuple[tuple[str, str], ...]:
    """Return a mapping of names to texts, sorted by name."""
    path, value = f"builder_options.{key}", options.get(key)
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise SpecError(
            f"{path}: must map names to text, not {plain_data.kind_of(value)}",
            path=path,
            hint="for example {name: text}",
        )
    for name in value:
        check(path, name)
    return tuple(plain_data.variables(path, value).items())


def _names(path: str, value: object) -> tuple[str, ...]:
    return plain_data.strings(path, value, _name) or ()


def _name(path: str, value: object) -> str:
    name = plain_data.one_line(path, value)
    # PEP 508, names of extras; PEP 735 uses the same for groups.
    if _NAME.fullmatch(name) is None:
        raise SpecError(f"{path}: is not a name", path=path, hint="letters, digits, '.', '_' and '-'")
    return name


def _variable(path: str, value: object) -> str:
    name = plain_data.one_line(path, value)
    if _VARIABLE.fullmatch(name) is None or name.startswith("IMAGESPEC_"):
        raise SpecError(f"{path}: {name!r} is not a build argument's name", path=path, hint="letters, digits and '_'")
    return name


def _ssh(path: str, value: object) -> tuple[str, ...]:
    agents = _lines(path, value)
    if len(agents) > 1:
        raise SpecError(f"{path}: only one can be given", path=path, hint="add the keys to one agent")
    for agent in agents:
        if _SSH.fullmatch(agent) is None:
            raise SpecError(f"{path}: is not id or id=path", path=path, hint='for example ["default"]')
    return agents
