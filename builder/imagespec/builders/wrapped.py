"""What wrappers of builders share: they do what the builder inside does, but for what they change."""

from __future__ import annotations

from imagespec.builders import Builder, BuildOptions
from imagespec.plan import BuildPlan

__all__ = ["WrappedBuilder"]


class WrappedBuilder:
    """Passes on name, check and prepare; a wrapper adds ``build``."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder

    @property
    def name(self) -> str:
        """The name of the builder inside."""
        return self._builder.name

    def check(self, plan: BuildPlan) -> None:
        """Raise Unsupported as the builder inside does."""
        self._builder.check(plan)

    def prepare(self, plan: BuildPlan, options: BuildOptions) -> None:
        """Raise as the builder inside does."""
        self._builder.prepare(plan, options)
