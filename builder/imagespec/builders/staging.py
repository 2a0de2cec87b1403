"""A fresh folder per build, with the files that a plan names, verified while they are written."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from imagespec.dockerfile import step_folder
from imagespec.errors import InputError
from imagespec.plan import BuildPlan, CopyFiles, PythonPackages
from imagespec.snapshot import ContextEntry, EntryKind, Files, TextFile

__all__ = ["stage_files", "work_folder"]

# 1980-01-01: the earliest time that a zip archive can hold; the same for every file, so that layers repeat.
_EPOCH_S: Final = 315_532_800
_OWNER_FILE: Final = "owner.pid"


@contextmanager
def work_folder(store: Path) -> Iterator[Path]:
    """Yield a new private folder, removed at the end; folders of processes that died are removed too.

    BuildKit tells files of a context apart by size and time, not by content: a folder is never used twice.
    """
    parent = store / "work"
    parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(parent)
    with tempfile.TemporaryDirectory(prefix="build-", dir=parent) as folder:
        work = Path(folder)
        (work / _OWNER_FILE).write_text(str(os.getpid()))
        yield work


def stage_files(context: Path, plan: BuildPlan, files: Files, texts: tuple[TextFile, ...]) -> None:
    """Write the plan's sources and ``texts`` below ``context``; raise InputChanged when a source is not what it was."""
    context.mkdir()
    for text in texts:
        path = context / text.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.data)
    for index, step in enumerate(plan.steps):
        folder = context / step_folder(index)
        if isinstance(step, CopyFiles):
            folder.mkdir()
            _stage_all(folder, step.entries, files)
        elif isinstance(step, PythonPackages):
            for project in step.projects:
                _stage_all(folder, project.entries, files)
    _normalise(context)


def _stage_all(folder: Path, entries: tuple[ContextEntry, ...], files: Files) -> None:
    for entry in entries:
        _stage(folder, entry, files)


def _stage(folder: Path, entry: ContextEntry, files: Files) -> None:
    path = folder / entry.path
    path.parent.mkdir(parents=True, exist_ok=True)
    if entry.kind is EntryKind.FOLDER:
        path.mkdir(exist_ok=True)
    elif entry.kind is EntryKind.LINK:
        path.symlink_to(entry.target)
    elif entry.digest is None:
        raise InputError(f"copy: no content is known for {entry.path}", path=entry.path)
    else:
        with files.open(entry.digest) as source, path.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
        path.chmod(0o755 if entry.executable else 0o644)


def _normalise(context: Path) -> None:
    for folder, folders, names in os.walk(context):
        for name in [*folders, *names]:
            path = os.path.join(folder, name)
            if os.path.isdir(path) and not os.path.islink(path):
                os.chmod(path, 0o755)
            os.utime(path, (_EPOCH_S, _EPOCH_S), follow_symlinks=False)


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.iterdir():
        if _is_abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    try:
        os.kill(int((folder / _OWNER_FILE).read_text()), 0)
    except (ProcessLookupError, ValueError):
        return True
    except OSError:
        # No owner on file yet (a folder just made), or another user's process.
        return False
    return False
