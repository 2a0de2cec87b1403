"""What a build by BuildKit needs on disk: a private folder, and the build context as one archive."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from imagespec.dockerfile import step_folder
from imagespec.errors import InputError
from imagespec.plan import BuildPlan, CopyFiles, PythonPackages
from imagespec.snapshot import ContextEntry, EntryKind, Files, TextFile

__all__ = ["work_folder", "write_context"]

# 1980-01-01: the earliest time that a zip archive can hold; the same for every file, so that layers repeat.
_EPOCH_S: Final = 315_532_800
_OWNER_FILE: Final = "owner.lock"


@contextmanager
def work_folder(cache_dir: Path) -> Iterator[Path]:
    """Yield a new private folder, removed at the end; folders of processes that died are removed too."""
    parent = cache_dir / "work"
    parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        # Whoever holds the guard may tell the folders of the dead: those of the living are locked by then.
        with _locked(cache_dir / "work.lock", fcntl.LOCK_EX):
            _remove_abandoned(parent)
            cleanup = tempfile.TemporaryDirectory(prefix="build-", dir=parent, ignore_cleanup_errors=True)
            work = Path(stack.enter_context(cleanup))
            stack.enter_context(_locked(work / _OWNER_FILE, fcntl.LOCK_EX))
        yield work


@contextmanager
def _locked(file: Path, how: int) -> Iterator[None]:
    """Hold a lock on the file, which the kernel lifts when the process ends; raise OSError when it cannot be had."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)


def write_context(stream: BinaryIO, plan: BuildPlan, files: Files, texts: tuple[TextFile, ...]) -> None:
    """Write the build context as a tar archive: ``texts``, then the plan's sources, each in its step's folder.

    An archive, because BuildKit's transfer of a folder tells files apart by size and time, and would put the old
    content of a file in the image when both are the same. Raise InputChanged when a source is not what it was.
    """
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for text in texts:
            archive.addfile(_member(text.path, len(text.data)), io.BytesIO(text.data))
        for index, step in enumerate(plan.steps):
            folder = step_folder(index)
            if isinstance(step, CopyFiles):
                _add(archive, folder, step.entries, files)
            elif isinstance(step, PythonPackages):
                for project in step.projects:
                    _add(archive, folder, project.entries, files)


def _add(archive: tarfile.TarFile, folder: str, entries: Sequence[ContextEntry], files: Files) -> None:
    for entry in entries:
        member = _member(f"{folder}/{entry.path}", entry.size_bytes)
        if entry.kind is EntryKind.FOLDER:
            member.type, member.mode, member.size = tarfile.DIRTYPE, 0o755, 0
            archive.addfile(member)
        elif entry.kind is EntryKind.LINK:
            member.type, member.linkname, member.size = tarfile.SYMTYPE, entry.target, 0
            archive.addfile(member)
        elif entry.digest is None:
            raise InputError(f"copy: no content is known for {entry.path}", path=entry.path)
        else:
            member.mode = 0o755 if entry.executable else 0o644
            with files.open(entry.digest) as source:
                archive.addfile(member, source)
                # The read that reaches the end is the one that verifies the digest.
                source.read(1)


def _member(path: str, size_bytes: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.size, member.mtime, member.mode = size_bytes, _EPOCH_S, 0o644
    return member


def _remove_abandoned(parent: Path) -> None:
    """Remove the folders whose owner is gone: a lock tells it across containers too, where a process id does not."""
    for folder in parent.iterdir():
        try:
            with _locked(folder / _OWNER_FILE, fcntl.LOCK_EX | fcntl.LOCK_NB):
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue
