"""Several buildx builders as one: builds are spread over them, and what one of them drops another one picks up."""

from __future__ import annotations

import hashlib
import re
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from imagespec.builders import Builder, BuildOptions
from imagespec.builders.wrapped import WrappedBuilder
from imagespec.errors import EngineError, EngineUnavailable, IntegrityError
from imagespec.events import Emit, Warned
from imagespec.names import Reference
from imagespec.oci import Descriptor
from imagespec.plan import BuildPlan
from imagespec.snapshot import Files
from imagespec.values import replace

__all__ = ["InstancePool", "SpreadBuilder", "docker_context", "instance_answers"]

_RUNNING: Final = re.compile(r"^Status:\s+running\s*$", re.MULTILINE)
_PATIENCE_S: Final = 30.0


class InstancePool:
    """The buildx builders of a run, by name; safe to call from several threads."""

    def __init__(self, names: Sequence[str], answers: Callable[[str], bool]) -> None:
        """``answers`` tells whether a builder works; it is asked only after a build on it has failed."""
        self._running: dict[str, int] = dict.fromkeys(names, 0)
        self._lost: dict[str, int] = {}
        self._answers = answers
        self._lock = threading.Lock()

    @property
    def lost(self) -> tuple[tuple[str, int], ...]:
        """The builders that stopped answering, each with how many builds it dropped."""
        with self._lock:
            return tuple(self._lost.items())

    @contextmanager
    def one(self) -> Iterator[str]:
        """Give the builder with the fewest builds; raise EngineUnavailable when none answers any more."""
        with self._lock:
            alive = [name for name in self._running if name not in self._lost]
            if not alive:
                raise EngineUnavailable(
                    f"build: no builder instance answers any more: {', '.join(self._lost)}",
                    hint="look at them with docker buildx ls",
                )
            name = min(alive, key=self._running.__getitem__)
            self._running[name] += 1
        try:
            yield name
        finally:
            with self._lock:
                self._running[name] -= 1

    def is_lost(self, name: str) -> bool:
        """Return whether this builder has stopped answering, asking it; a build that it had is counted as dropped."""
        with self._lock:
            known = name in self._lost
        if not known and self._answers(name):
            return False
        with self._lock:
            self._lost[name] = self._lost.get(name, 0) + 1
        return True


class SpreadBuilder(WrappedBuilder):
    """A builder that gives each build to one instance of a pool, and to another one when that one is lost."""

    def __init__(self, builder: Builder, pool: InstancePool) -> None:
        super().__init__(builder)
        self._pool = pool

    def prepare(self, plan: BuildPlan, options: BuildOptions) -> None:
        """Look at what does not depend on the instance; a dead instance is found out by building."""
        with self._pool.one() as instance:
            self._builder.prepare(plan, replace(options, builder_instance=instance))

    def build(
        self, plan: BuildPlan, files: Files, target: Reference, *, options: BuildOptions, emit: Emit
    ) -> Descriptor:
        """Build on one instance after another until one has not died meanwhile; raise as the builder does."""
        while True:
            with self._pool.one() as instance:
                try:
                    given = replace(options, builder_instance=instance)
                    return self._builder.build(plan, files, target, options=given, emit=emit)
                except (EngineError, IntegrityError):
                    if options.cancellation.cancelled or not self._pool.is_lost(instance):
                        raise
            emit(Warned(message=f"builder instance {instance} does not answer any more", hint="another one builds it"))


def docker_context(docker_config_dir: Path, name: str) -> str | None:
    """Return ``name`` when it is a docker context and no buildx builder, else None.

    Source: the docker client's context store keeps each context under the sha256 of its name.
    """
    stored = docker_config_dir / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest() / "meta.json"
    is_builder = (docker_config_dir / "buildx" / "instances" / name).exists()
    return name if name and stored.exists() and not is_builder else None


def instance_answers(docker: str, name: str) -> bool:
    """Return whether buildx says that a node of this builder is running."""
    try:
        done = subprocess.run(
            [docker, "buildx", "inspect", name], capture_output=True, text=True, check=False, timeout=_PATIENCE_S
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0 and _RUNNING.search(done.stdout) is not None
