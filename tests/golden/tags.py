"""Prints the tag of every golden case below a folder, as JSON: run by other interpreters and in other places.

Nothing is imported but the package itself, so that it runs where only the package is installed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from imagespec.compose import Composition
from imagespec.settings import Settings
from imagespec.targets import named as targets


def file_of(case: Path) -> str:
    """Return the name of the file that declares a case's image."""
    return next(file.name for file in sorted(case.glob("image.*")))


def tags(folder: Path) -> dict[str, str]:
    """Return the tag of each case, by name."""
    found = {}
    for case in sorted(folder.glob("*/spec")):
        (target,) = targets.load(file_of(case), case)
        settings = Settings.load({"HOME": "/nonexistent"}, case)
        composition = Composition(settings, cwd=str(case), use_stat_cache=False)
        found[case.parent.name] = composition.identify(target).reference.tag or ""
    return found


if __name__ == "__main__":
    print(json.dumps(tags(Path(sys.argv[1]).absolute()), sort_keys=True))
