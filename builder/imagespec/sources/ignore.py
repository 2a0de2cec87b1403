"""Which files are left out of what is copied: the choice of rules, and the standard list."""

from __future__ import annotations

from typing import Final

from imagespec.values import dataclass

__all__ = ["DEFAULT", "STANDARD_NAMES", "STANDARD_SUFFIXES", "VIRTUAL_ENVIRONMENT_MARKER", "IgnoreRules", "is_standard"]

# flytekit's StandardIgnore (*.pyc, .cache, __pycache__), and what version control, tools and editors leave behind.
STANDARD_NAMES: Final = frozenset(
    name.encode()
    for name in (
        *(".git", ".hg", ".svn", ".bzr", "CVS", ".jj"),
        *("__pycache__", ".cache", ".venv", ".tox", ".nox", ".eggs", ".ipynb_checkpoints", ".hypothesis"),
        *(".mypy_cache", ".pytest_cache", ".ruff_cache", ".pytype", ".pyre", ".coverage"),
        *(".idea", ".vscode", ".DS_Store", "Thumbs.db", "desktop.ini"),
    )
)
STANDARD_SUFFIXES: Final = (b".pyc", b".pyo", b"~", b".swp", b".swo", b".egg-info")
VIRTUAL_ENVIRONMENT_MARKER: Final = b"pyvenv.cfg"
"""A folder that holds this file is a virtual environment, whatever its name (PEP 405)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoreRules:
    """Which rules apply. ``tracked`` keeps what git tracks even where a ``.gitignore`` excludes it, as git does."""

    gitignore: bool = True
    tracked: bool = True
    dockerignore: bool = True
    standard: bool = True


DEFAULT: Final = IgnoreRules()


def is_standard(name: bytes) -> bool:
    """Return whether the standard list leaves out files and folders of this name."""
    return name in STANDARD_NAMES or name.endswith(STANDARD_SUFFIXES)
