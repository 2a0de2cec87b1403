"""What an environment's packages resolved to: versions and hashes, as an image's labels carry them.

No address of an index is kept: the same packages give the same record wherever they were fetched from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from imagespec.oci import Platform, canonical_json
from imagespec.values import dataclass

__all__ = ["LABEL_ENVIRONMENT", "LABEL_LOCK", "Pinned", "is_lock_label", "lock_labels", "pins_of", "requirement_lines"]

LABEL_LOCK: Final = "io.imagespec.lock"
LABEL_ENVIRONMENT: Final = "io.imagespec.environment"
"""The fingerprint of the environment that the lock is of: an image based on it by other means keeps its labels."""

# containerd takes no label whose name and value are longer than this together.
_LIMIT_BYTES: Final = 4096
_MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """One package of an environment; ``sha256`` is its wheel's, in hex, "" where nobody knows it."""

    name: str
    version: str
    sha256: str = ""


def lock_labels(pins: Iterable[Pinned], environment: str) -> dict[str, str]:
    """Return the labels that record ``pins``, as many as their limit asks for; {} where there are none.

    ``environment`` is the fingerprint of the environment that has them.
    """
    parts: list[dict[str, str]] = []
    room = 0
    for pin in sorted(pins, key=_key):
        text = f"{pin.version} sha256:{pin.sha256}" if pin.sha256 else pin.version
        needed = len(canonical_json({pin.name: text}))
        if needed > room:
            parts.append({})
            room = _LIMIT_BYTES - len(_label(len(parts)))
        parts[-1][pin.name] = text
        room -= needed
    labels = {_label(number): canonical_json(part).decode() for number, part in enumerate(parts, 1)}
    return {**labels, LABEL_ENVIRONMENT: environment} if labels else {}


def _key(pin: Pinned) -> tuple[str, str]:
    return pin.name, pin.version


def _label(number: int) -> str:
    return LABEL_LOCK if number == 1 else f"{LABEL_LOCK}.{number}"


def is_lock_label(name: str) -> bool:
    """Return whether a label is one that :func:`lock_labels` makes."""
    return name in (LABEL_LOCK, LABEL_ENVIRONMENT) or name.startswith(f"{LABEL_LOCK}.")


def pins_of(labels: Mapping[str, str]) -> tuple[Pinned, ...]:
    """Return what an image's labels record, by name; () where they record nothing that can be read."""
    found: dict[str, Pinned] = {}
    for label in sorted(name for name in labels if is_lock_label(name) and name != LABEL_ENVIRONMENT):
        try:
            part = json.loads(labels[label])
        except ValueError:
            return ()
        for name, text in part.items() if isinstance(part, dict) else ():
            version, _, digest = str(text).partition(" ")
            found[name] = Pinned(name=name, version=version, sha256=digest.removeprefix("sha256:"))
    return tuple(sorted(found.values(), key=_key))


def requirement_lines(pins: Mapping[Platform, Sequence[Pinned]]) -> Iterator[str]:
    """Yield the lines of a requirements file that installs just these, on all of the platforms."""
    found: dict[tuple[str, str], dict[Platform, str]] = {}
    for platform, pinned in pins.items():
        for pin in pinned:
            found.setdefault((pin.name, pin.version), {})[platform] = pin.sha256
    for (name, version), hashes in sorted(found.items()):
        machines = sorted(_MACHINES.get(one.architecture, one.architecture) for one in hashes)
        marker = " or ".join(f'platform_machine == "{machine}"' for machine in machines)
        line = f"{name}=={version}" + (f" ; {marker}" if len(hashes) < len(pins) else "")
        yield line + "".join(f" --hash=sha256:{one}" for one in sorted({*hashes.values()} - {""}))
