"""What the command says to each wrong spec of testdata/bad."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from click.testing import CliRunner

from imagespec.cli import cli
from imagespec.errors import ImageSpecError
from imagespec.report import error_lines

FOLDER = Path(__file__).resolve().parents[2] / "testdata" / "bad"
MESSAGES = FOLDER / "messages.json"


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def names() -> list[str]:
    """Return the files of the wrong specs."""
    return sorted(file.name for file in FOLDER.iterdir() if file.suffix in (".yaml", ".toml", ".py"))


def said(name: str) -> list[str]:
    """Return the exit code and the lines that a person sees."""
    with _inside(FOLDER):
        result = CliRunner().invoke(cli, ["tag", "--no-stat-cache", name])
    error = result.exception
    if not isinstance(error, ImageSpecError):
        return [f"exit {result.exit_code}", result.output, repr(error)]
    return [f"exit {error.exit_code}", *error_lines(error)]


def rewrite() -> int:
    """Write what is said now; return how many messages are kept."""
    messages = {name: said(name) for name in names()}
    MESSAGES.write_text(json.dumps(messages, indent=1, ensure_ascii=False) + "\n")
    return len(messages)
