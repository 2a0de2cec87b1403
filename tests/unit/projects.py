"""Small projects on a real disk, and what a workspace makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imagespec.errors import ImageSpecError
from imagespec.snapshot import ContextEntry, Snapshot
from imagespec.sources.ignore import IgnoreRules
from imagespec.spec import Declaration
from imagespec.workspace import Workspace


def write(root: Path, files: dict[str, str | bytes]) -> Path:
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def take(folder: Path, modules: tuple[str, ...] = (), ignore: IgnoreRules | None = None, **fields: Any) -> Snapshot:
    workspace = Workspace(cwd=str(folder), ignore=ignore or IgnoreRules())
    return workspace.take(Declaration(**fields), modules=modules)


def everything(root: Path, **keywords: Any) -> tuple[ContextEntry, ...]:
    return take(root.parent, source_root=str(root), source_copy_mode="ALL", **keywords).trees[0].entries


def paths(entries: tuple[ContextEntry, ...]) -> list[str]:
    return [entry.path for entry in entries]


def wrong(project: Path, **fields: Any) -> ImageSpecError:
    with pytest.raises(ImageSpecError) as caught:
        take(project, **fields)
    return caught.value
