"""A builder that exports the layer cache where the engine can, and builds without it where it cannot."""

from __future__ import annotations

from typing import Final

from imagespec.builders import BuildOptions
from imagespec.builders.wrapped import WrappedBuilder
from imagespec.errors import BuildFailed
from imagespec.events import Emit, Warned
from imagespec.names import Reference
from imagespec.oci import Descriptor
from imagespec.plan import BuildPlan
from imagespec.snapshot import Files
from imagespec.values import replace

__all__ = ["CacheExportingBuilder"]

# What buildx says, before anything is built, when the engine's image store keeps no cache for others.
_REFUSALS: Final = ("cache export is not supported", "cache export feature is currently not supported", "build-cache")


class CacheExportingBuilder(WrappedBuilder):
    """Wraps a builder whose options have ``cache_to``."""

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
