"""What the plan alone says that this builder cannot do: steps that run in the image, packages without wheels."""

from __future__ import annotations

import re
from typing import Final

from imagespec.builders.assembly.code import check_sources
from imagespec.errors import Unsupported
from imagespec.plan import AptInstall, BuildPlan, CondaInstall, CopyFiles, PythonPackages, RunCommand
from imagespec.requirements.poetry_lock import POETRY_LOCK
from imagespec.wheels.arguments import understood

__all__ = ["FROM_SOURCES", "check_plan"]

FROM_SOURCES: Final = "--builder buildkit builds packages from their sources"
_REFUSED: Final = {
    AptInstall: ("apt_packages", "a base_image that has them"),
    CondaInstall: ("conda_packages", "packages from the package index"),
    RunCommand: ("commands", "a base_image that has their result"),
}
_VERSION_CONTROL: Final = re.compile(r"(^|[\s@])(git|hg|svn|bzr)\+", re.IGNORECASE)
_LOCKS: Final = ("uv.lock", "pyproject.toml", POETRY_LOCK)


def check_plan(plan: BuildPlan) -> None:
    """Raise Unsupported, naming the field, for what no look at base or index could make possible."""
    for step in plan.steps:
        if type(step) in _REFUSED:
            field, instead = _REFUSED[type(step)]
            raise Unsupported(
                f"{field}: the daemonless builder runs nothing in the image",
                builder="daemonless",
                field=field,
                hint=f"--builder buildkit, or {instead}",
            )
        if isinstance(step, PythonPackages):
            _check_packages(step)
        elif isinstance(step, CopyFiles):
            check_sources(step)


def _check_packages(step: PythonPackages) -> None:
    """Raise Unsupported for what says by itself that no wheel can be had: projects, version control, arguments."""
    understood(step.arguments, "pip_extra_args")
    understood(step.options, "requirements")
    if step.projects:
        raise Unsupported(
            f"requirements: {step.projects[0].path} is a project to build",
            builder="daemonless",
            field="requirements",
            hint="copy its sources instead, or --builder buildkit",
        )
    for line in (*step.lines, *step.constraints):
        if _VERSION_CONTROL.search(line):
            raise Unsupported(
                "packages: one is taken from version control, as sources",
                builder="daemonless",
                field="packages",
                hint=FROM_SOURCES,
            )
    if step.lock is not None and step.lock.kind not in _LOCKS and not step.lock.kind.startswith("pylock."):
        raise Unsupported(
            f"requirements: {step.lock.kind} lists more than Python packages",
            builder="daemonless",
            field="requirements",
            hint="--builder buildkit",
        )
