"""The usual builder: the daemonless one wherever it can serve, BuildKit for the rest, and it says why."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Final, Protocol

from imagespec.builders import Builder, BuildOptions
from imagespec.errors import Cancelled, EngineUnavailable, ImageSpecError, RegistryError, Unsupported
from imagespec.events import Emit, StepFinished
from imagespec.fingerprint import environment_reference
from imagespec.names import Reference
from imagespec.oci import Descriptor
from imagespec.plan import BuildPlan, environment_of
from imagespec.snapshot import Files

__all__ = ["AutoBuilder", "CodeBuilder"]


class CodeBuilder(Builder, Protocol):
    """A builder that can put sources on an environment that is in the registry, whoever made it."""

    def build_on_environment(
        self, plan: BuildPlan, files: Files, target: Reference, *, options: BuildOptions, emit: Emit
    ) -> Descriptor | None:
        """Return what stands under ``target`` now, or None when the plan's environment is not in the registry."""
        ...


class AutoBuilder:
    """Chooses for each plan, in this order: its environment is there, so only sources are pushed; the plan is within
    the daemonless builder's means; BuildKit builds it, or its environment when sources come last.

    With ``is_loading`` images go to the local engine, which only BuildKit fills.
    """

    name: Final = "auto"

    def __init__(self, *, daemonless: CodeBuilder, full: Callable[[], Builder], is_loading: bool) -> None:
        """``full`` makes the other builder, when it is needed."""
        self._daemonless = daemonless
        self._make_full = full
        self._is_loading = is_loading

    @cached_property
    def _full(self) -> Builder:
        return self._make_full()

    def check(self, plan: BuildPlan) -> None:
        """Raise Unsupported when neither builder can carry the plan out."""
        if self._refusal(plan) is not None:
            self._full.check(plan)

    def prepare(self, plan: BuildPlan, options: BuildOptions) -> None:
        """Return: what there is to look at depends on the target, so ``build`` looks."""

    def build(
        self, plan: BuildPlan, files: Files, target: Reference, *, options: BuildOptions, emit: Emit
    ) -> Descriptor:
        """Build with the first builder that can; raise EngineUnavailable with both reasons when none can."""
        if self._is_loading:
            return self._build_full(plan, files, target, options, emit, "images for the local engine are loaded by it")
        if options.use_cache:
            done = self._daemonless.build_on_environment(plan, files, target, options=options, emit=emit)
            if done is not None:
                return done
        refusal = self._refusal(plan) or self._unfitness(plan, options)
        if refusal is None:
            return self._daemonless.build(plan, files, target, options=options, emit=emit)
        return self._build_full(plan, files, target, options, emit, refusal)

    def _build_full(
        self, plan: BuildPlan, files: Files, target: Reference, options: BuildOptions, emit: Emit, why: str
    ) -> Descriptor:
        try:
            self._full.prepare(plan, options)
        except EngineUnavailable as error:
            raise EngineUnavailable(f"{error}; and without an engine: {why}", hint=error.hint) from error
        emit(StepFinished(step="builder", title=f"{self._full.name} builds it: {why}", duration_s=0.0))
        environment, kept = environment_of(plan), environment_reference(plan, target)
        if environment is None or kept is None or self._is_loading:
            return self._full.build(plan, files, target, options=options, emit=emit)
        self._full.build(environment, files, kept, options=options, emit=emit)
        done = self._daemonless.build_on_environment(plan, files, target, options=options, emit=emit)
        return done or self._full.build(plan, files, target, options=options, emit=emit)

    def _refusal(self, plan: BuildPlan) -> str | None:
        try:
            self._daemonless.check(plan)
        except Unsupported as error:
            return str(error)
        return None

    def _unfitness(self, plan: BuildPlan, options: BuildOptions) -> str | None:
        """Return why looking at base and packages says that the daemonless builder cannot, None when it can."""
        try:
            self._daemonless.prepare(plan, options)
        except (RegistryError, Cancelled):
            # Another builder would fail on it too, and say it less clearly; and who stops one wants none.
            raise
        except ImageSpecError as error:
            return str(error)
        return None
