"""Another name that an absent image may stand under: the one that flytekit gave it."""

from __future__ import annotations

from collections.abc import Callable

from imagespec.errors import NoFlyteTag
from imagespec.events import Emit, Warned
from imagespec.names import Reference
from imagespec.oci import Platform
from imagespec.registry import Resolver
from imagespec.values import dataclass

__all__ = ["StandIn"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """Another name that may hold the image which is absent under its ``own``: the one that flytekit gave it.

    ``find`` computes it, which costs reading files, and raises NoFlyteTag where it cannot be told.
    """

    own: Reference
    images: Resolver
    platforms: tuple[Platform, ...]
    find: Callable[[], Reference]

    def name(self, emit: Emit) -> Reference | None:
        """Return the other name; None, after a warning that says why, where it cannot be told. Raise InputError."""
        try:
            return self.find()
        except NoFlyteTag as error:
            emit(Warned(message=f"{self.own}: not looked for under flytekit's own tag: {error}"))
            return None
