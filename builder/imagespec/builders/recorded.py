"""A builder that has somebody told of every image it made."""

from __future__ import annotations

from collections.abc import Callable

from imagespec.builders import Builder, BuildOptions
from imagespec.builders.wrapped import WrappedBuilder
from imagespec.events import Emit
from imagespec.names import Reference
from imagespec.oci import Descriptor
from imagespec.plan import BuildPlan
from imagespec.snapshot import Files

__all__ = ["RecordedBuilder"]


class RecordedBuilder(WrappedBuilder):
    """Does what the builder inside does; ``made`` is called after each image that was built."""

    def __init__(self, builder: Builder, made: Callable[[BuildPlan, Reference, Descriptor, Emit], None]) -> None:
        super().__init__(builder)
        self._made = made

    def build(
        self, plan: BuildPlan, files: Files, target: Reference, *, options: BuildOptions, emit: Emit
    ) -> Descriptor:
        """Build with the builder inside, then tell."""
        descriptor = self._builder.build(plan, files, target, options=options, emit=emit)
        self._made(plan, target, descriptor, emit)
        return descriptor
