"""A git revision of the user's project as a folder, without touching the user's own work tree."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from imagespec.errors import InputError

__all__ = ["checked_out"]

_TIME_LIMIT_S: Final = 600.0


@contextmanager
def checked_out(cwd: Path, revision: str) -> Iterator[Path]:
    """Yield the folder that stands for ``cwd`` at ``revision``, in a clone that goes away afterwards.

    Raise InputError when ``cwd`` is in no git work tree, or there is no such revision or folder.
    """
    top = Path(_git(cwd, revision, "rev-parse", "--show-toplevel").strip())
    commit = _git(cwd, revision, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}").strip()
    with tempfile.TemporaryDirectory(prefix="imagespec-revision-") as folder:
        clone = Path(folder, top.name)
        _git(top, revision, "clone", "--quiet", "--shared", "--no-checkout", "--", str(top), str(clone))
        _git(clone, revision, "checkout", "--quiet", "--detach", commit)
        inside = clone / cwd.resolve().relative_to(top.resolve())
        if not inside.is_dir():
            raise InputError(f"revision {revision}: this folder is not in it", path=str(cwd), hint="start further up")
        yield inside


def _git(cwd: Path, revision: str, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=cwd, capture_output=True, text=True, check=True, timeout=_TIME_LIMIT_S
        )
    except FileNotFoundError as error:
        raise InputError(f"revision {revision}: there is no git", path=str(cwd), hint="install git") from error
    except subprocess.SubprocessError as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise InputError(
            f"revision {revision}: git: {said[-1] if said else error}",
            path=str(cwd),
            hint="name a branch, tag or commit",
        ) from error
    return done.stdout
