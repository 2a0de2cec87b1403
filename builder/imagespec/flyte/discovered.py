"""What our own commands ask of flytekit's specs that the user's code has declared."""

from __future__ import annotations

from functools import cache
from typing import Any

from imagespec.flyte.conversion import target_of
from imagespec.flyte.declared import is_ours, key_of
from imagespec.flyte.entities import TaskFiles
from imagespec.identity import Target
from imagespec.values import replace
from imagespec.workspace import Workspace

__all__ = ["is_ours", "loaded_target"]

_task_files = cache(TaskFiles)


def loaded_target(spec: Any, workspace: Workspace, modules: tuple[str, ...], root: str) -> Target:
    """Return what to build for a declared spec, with the files of the loaded tasks that use it.

    ``modules`` are the files for a spec that no task uses, ``root`` the folder they are imported from. An image that is
    only a container of a pod template holds no code, as in flytekit. Raise what ``target_of`` raises.
    """
    files = _task_files()
    key = key_of(spec)
    target = target_of(spec, workspace, files.of(key) or modules)
    return replace(target, code_root="" if files.is_side_only(key) else root)
