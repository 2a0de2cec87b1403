"""What ``plan --resolved`` shows: the packages of an image, with versions and hashes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from imagespec.compose import Composition
from imagespec.errors import Unsupported
from imagespec.identity import Target
from imagespec.oci import Platform
from imagespec.values import dataclass
from imagespec.wheels.pins import Pinned, requirement_lines

__all__ = ["Resolution", "resolution_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The packages by platform; ``is_recorded`` says that the image itself tells of them, as it was built."""

    name: str
    is_recorded: bool
    pins: Mapping[Platform, tuple[Pinned, ...]]

    def lines(self) -> Iterator[str]:
        """Yield a requirements file that installs the same again."""
        yield f"# {self.name}"
        yield "# as recorded in the image" if self.is_recorded else "# as they resolve now"
        yield from requirement_lines(self.pins)

    def record(self) -> dict[str, Any]:
        """Return the same as plain data."""
        platforms = {str(platform): [_record(pin) for pin in pins] for platform, pins in self.pins.items()}
        return {"from": "image" if self.is_recorded else "index", "platforms": platforms}


def resolution_of(composition: Composition, target: Target, *, offline: bool) -> Resolution:
    """Return what the image has by its own record, or what its packages resolve to now where there is none.

    ``offline`` asks no registry whether the image exists. Raise Unsupported where only a build can tell.
    """
    name = composition.identify(target).name
    recorded = {} if offline else composition.recorded(target)
    if recorded:
        return Resolution(name=name, is_recorded=True, pins=recorded)
    try:
        return Resolution(name=name, is_recorded=False, pins=composition.resolved(target))
    except Unsupported as error:
        raise Unsupported(
            f"plan --resolved: {error}",
            builder=error.builder,
            field=error.field,
            hint="what BuildKit installs is known after the build: run pip list in the image",
        ) from error


def _record(pin: Pinned) -> dict[str, str]:
    return {"name": pin.name, "version": pin.version, "sha256": pin.sha256}
