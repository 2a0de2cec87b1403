"""A builder for images that somebody else makes: it never builds, and says so when one is missing."""

from __future__ import annotations

from typing import Final

from imagespec.builders import BuildOptions
from imagespec.errors import EngineUnavailable
from imagespec.events import Emit
from imagespec.names import Reference
from imagespec.oci import Descriptor
from imagespec.plan import BuildPlan
from imagespec.snapshot import Files

__all__ = ["NoopBuilder"]


class NoopBuilder:
    """Accepts every plan and builds none."""

    name: Final = "noop"

    def check(self, plan: BuildPlan) -> None:
        """Return: there is nothing that it could not carry out."""

    def prepare(self, plan: BuildPlan, options: BuildOptions) -> None:
        """Raise EngineUnavailable: it is only asked when the image is missing."""
        raise EngineUnavailable(
            "build: builder 'noop' builds nothing, and the image is not in the registry",
            hint="build it where it comes from, or choose another builder",
        )

    def build(
        self, plan: BuildPlan, files: Files, target: Reference, *, options: BuildOptions, emit: Emit
    ) -> Descriptor:
        """Raise EngineUnavailable."""
        self.prepare(plan, options)
        raise AssertionError("prepare always raises")
