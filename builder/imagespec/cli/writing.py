"""Files that commands write where people say: they appear complete or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from imagespec.errors import SettingsError

__all__ = ["check_writable", "whole", "write_whole"]

_BLOCK_BYTES = 1 << 20


def check_writable(path: Path) -> None:
    """Raise SettingsError when ``path`` cannot be written later; its folder is made, and nothing else is left."""
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            with path.open("ab"):
                return
        temporary = _beside(path)
        temporary.open("xb").close()
        temporary.unlink()


def write_whole(path: Path, text: str) -> None:
    """Write a text in UTF-8; raise SettingsError."""
    with whole(path) as file:
        file.write(text.encode())


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Give a file whose content is at ``path`` when the block has ended, and only then; raise SettingsError.

    What stands there and is no plain file (``/dev/stdout``, a pipe), or is in a folder that takes no others, is written
    to as it is.
    """
    with _told(path):
        real = Path(os.path.realpath(path))
        temporary = _beside(real)
        opened = None
        if real.is_file() or not real.exists():
            with suppress(PermissionError):
                opened = temporary.open("xb", buffering=_BLOCK_BYTES)
        if opened is None:
            with path.open("wb", buffering=_BLOCK_BYTES) as file:
                yield file
            return
        try:
            with opened:
                yield opened
            if real.exists():
                temporary.chmod(real.stat().st_mode & 0o7777)
            temporary.replace(real)
        finally:
            temporary.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.parent / f".imagespec-{os.getpid()}-{os.urandom(4).hex()}"


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise _unwritable(path, "its folder is a file") from error
    except OSError as error:
        raise _unwritable(path, (error.strerror or str(error)).lower()) from error


def _unwritable(path: Path, why: str) -> SettingsError:
    return SettingsError(f"write {path}: {why}", variable=str(path), hint="name another file, or make room for it")
