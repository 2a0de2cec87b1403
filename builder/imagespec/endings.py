"""What became of one image among many."""

from __future__ import annotations

from imagespec.ensure import BuildRequest, BuildResult
from imagespec.errors import Cancelled, ImageSpecError
from imagespec.events import ImageState
from imagespec.values import dataclass

__all__ = ["Ending"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What became of a request: a ``result``, or an ``error``; ``blocked_by`` is the parent that failed before it."""

    request: BuildRequest
    result: BuildResult | None = None
    error: ImageSpecError | None = None
    blocked_by: BuildRequest | None = None

    @property
    def state(self) -> ImageState:
        """The state that it ended in."""
        if self.result is not None:
            return ImageState(self.result.outcome.value)
        if self.blocked_by is not None:
            return ImageState.BLOCKED
        return ImageState.STOPPED if isinstance(self.error, Cancelled) else ImageState.FAILED

    @property
    def detail(self) -> str:
        """Why it ended like that."""
        if self.result is not None:
            return self.result.reason
        if self.blocked_by is not None:
            return f"it is based on {self.blocked_by.label}"
        return str(self.error)
