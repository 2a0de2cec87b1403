"""What belongs to the execution of workflows, and so stays flytekit's: under one roof with ``imagespec.task``."""

from __future__ import annotations

from flytekit.core.container_task import Any, Enum, FlyteContext, LiteralMap, PythonTask

__all__ = ["Any", "Enum", "FlyteContext", "LiteralMap", "PythonTask"]
