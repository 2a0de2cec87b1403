"""Which installer arguments have a meaning where nothing is installed, and what they say to the resolver.

``pip_extra_args`` and the option lines of a requirements file are uv's (and pip's) own flags.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from imagespec.errors import Unsupported
from imagespec.values import dataclass

__all__ = ["Understood", "understood"]

_WITH_VALUE: Final = {
    **{name: name for name in ("--default-index", "--index", "--find-links", "--index-url", "--extra-index-url")},
    **{name: name for name in ("--index-strategy", "--keyring-provider", "--resolution", "--prerelease")},
    **{name: name for name in ("--exclude-newer", "--allow-insecure-host", "--torch-backend", "--fork-strategy")},
    "-i": "--index-url",
    "-f": "--find-links",
    "--trusted-host": "--allow-insecure-host",
}
_FLAGS: Final = {
    "--pre": ("--prerelease", "allow"),
    "--no-index": ("--no-index",),
    "--no-deps": ("--no-deps",),
    "--no-sources": ("--no-sources",),
    "--offline": ("--offline",),
    "--refresh": ("--refresh",),
    "--no-cache": ("--refresh",),
    "--no-cache-dir": ("--refresh",),
}
# What always holds here: the newest fitting version, and wheels only.
_IMPLIED: Final = ("--upgrade", "-U", "--prefer-binary", "--no-build", "--no-compile", "--no-compile-bytecode")
_REQUIRE_HASHES: Final = "--require-hashes"
_ONLY_BINARY: Final = "--only-binary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Understood:
    """Words for the resolver, and whether every package must have a hash in the requirements."""

    words: tuple[str, ...]
    requires_hashes: bool = False


def understood(arguments: Iterable[str], field: str) -> Understood:
    """Return what the arguments say to the resolver; raise Unsupported, naming the argument, for any other."""
    words: list[str] = []
    requires_hashes = False
    left = [part for argument in arguments for part in _parts(argument)]
    while left:
        name = left.pop(0)
        if name in _WITH_VALUE or name == _ONLY_BINARY:
            if not left:
                raise _unsupported(name, field, "has no value")
            value = left.pop(0)
            words += [_WITH_VALUE[name], value] if name in _WITH_VALUE else []
        elif name in _FLAGS:
            words += _FLAGS[name]
        elif name == _REQUIRE_HASHES:
            requires_hashes = True
        elif name not in _IMPLIED:
            raise _unsupported(name, field, "has no meaning for the daemonless builder, which installs nothing")
    return Understood(words=tuple(words), requires_hashes=requires_hashes)


def _parts(argument: str) -> list[str]:
    """Return the words of ``--name=value`` and of an option line ``--name value``."""
    name, space, value = argument.strip().partition(" ")
    if space and name.startswith("-"):
        return [*_parts(name), value.strip()]
    name, equals, value = argument.partition("=")
    return [name, value] if equals and name.startswith("--") else [argument]


def _unsupported(name: str, field: str, why: str) -> Unsupported:
    shown = name if name.isprintable() and len(name) < 80 and "://" not in name else "an argument"
    return Unsupported(
        f"{field}: {shown} {why}", builder="daemonless", field=field, hint="leave it out, or use --builder buildkit"
    )
