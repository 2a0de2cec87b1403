"""A builder that exports the layer cache where the engine can, and builds without it where it cannot."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from imagespec.builders import Builder, BuildOptions
from imagespec.errors import BuildFailed
from imagespec.events import Emit, Warned
from imagespec.names import Reference
from imagespec.oci import Descriptor
from imagespec.plan import BuildPlan
from imagespec.snapshot import Files

__all__ = ["CacheExportingBuilder"]

# What buildx says, before anything is built, when the engine's image store keeps no cache for others.
_REFUSALS: Final = ("cache export is not supported", "cache export feature is currently not supported", "build-cache")


class CacheExportingBuilder:
    """Wraps a builder whose options have ``cache_to``."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder

    @property
    def name(self) -> str:
        """The name of the builder that does the work."""
        return self._builder.name

    def check(self, plan: BuildPlan) -> None:
        """Raise Unsupported as the builder does."""
        self._builder.check(plan)

    def prepare(self, plan: BuildPlan, options: BuildOptions) -> None:
        """Raise as the builder does."""
        self._builder.prepare(plan, options)

    def build(
        self, plan: BuildPlan, files: Files, target: Reference, *, options: BuildOptions, emit: Emit
    ) -> Descriptor:
        """Build as the builder does, a second time without the export when the engine refuses that."""
        try:
            return self._builder.build(plan, files, target, options=options, emit=emit)
        except BuildFailed as error:
            if not options.cache_to or not any(refusal in str(error).lower() for refusal in _REFUSALS):
                raise
        hint = "turn on the containerd image store, or use a builder of another driver"
        emit(Warned(message="this engine cannot export a layer cache: built without", hint=hint))
        return self._builder.build(plan, files, target, options=replace(options, cache_to=""), emit=emit)
