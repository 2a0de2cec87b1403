"""A builder in memory: pushes a small image into a registry, and does what a test tells it to."""

from __future__ import annotations

import threading
from collections.abc import Callable

from imagespec.builders import BuildOptions
from imagespec.events import Emit, StepFinished, StepStarted
from imagespec.names import Reference
from imagespec.oci import Descriptor
from imagespec.plan import BuildPlan
from imagespec.registry import Registry
from imagespec.snapshot import Files
from tests.fakes.images import write_image

__all__ = ["FakeBuilder"]


class FakeBuilder:
    """``Builder`` over a registry. ``built`` lists (target, base) in the order of the builds' ends.

    ``before`` is called with the target before anything is pushed: it may raise, wait or count.
    """

    name = "fake"

    def __init__(self, registry: Registry, before: Callable[[Reference], None] | None = None) -> None:
        self.built: list[tuple[Reference, Reference | None]] = []
        self.most_at_once = 0
        self._registry = registry
        self._before = before or (lambda target: None)
        self._lock = threading.Lock()
        self._running = 0

    def check(self, plan: BuildPlan) -> None:
        """Return: every plan will do."""

    def prepare(self, plan: BuildPlan, options: BuildOptions) -> None:
        """Return: nothing is needed."""

    def build(
        self, plan: BuildPlan, files: Files, target: Reference, *, options: BuildOptions, emit: Emit
    ) -> Descriptor:
        """Push a small image; return its descriptor."""
        with self._lock:
            self._running += 1
            self.most_at_once = max(self.most_at_once, self._running)
        try:
            emit(StepStarted(step="1", title="make it"))
            self._before(target)
            manifest = write_image(self._registry, target.repository)
            self._registry.write_manifest(target, manifest)
            emit(StepFinished(step="1", title="make it", duration_s=0.0))
        finally:
            with self._lock:
                self._running -= 1
        with self._lock:
            self.built.append((target, options.base))
        return manifest.descriptor
