"""The files of a folder that may hold ImageSpecs: data files, and the Python files that it makes sense to import."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["DATA_SUFFIXES", "files_in"]

DATA_SUFFIXES: Final = (".yaml", ".yml", ".toml")
_SKIPPED: Final = ("__pycache__", "node_modules", "site-packages")
_NEVER_IMPORTED: Final = ("setup.py", "conftest.py")
_MENTION: Final = re.compile(rb"ImageSpec|imagespec|flytekit")
_IMPORTED: Final = re.compile(rb"^[ \t]*(?:from[ \t]+([.\w]+)[ \t]+import[ \t]+([^\n#]*)|import[ \t]+([^\n#]*))", re.M)
_MOST_BYTES: Final = 4 << 20


def files_in(folder: Path) -> Iterator[Path]:
    """Yield, sorted, the YAML and TOML files below ``folder`` and the Python files that can have to do with images.

    Those are the files that mention ImageSpec or flytekit, and those that import one of these: whatever else lies in a
    folder is not run. Hidden folders, virtual environments and caches are left out.
    """
    files = sorted(_below(folder))
    texts = {file: _text(file) for file in files if file.suffix == ".py" and file.name not in _NEVER_IMPORTED}
    chosen = _concerned(texts)
    yield from (file for file in files if file.suffix in DATA_SUFFIXES or file in chosen)


def _below(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in _SKIPPED
            and not os.path.exists(os.path.join(root, name, "pyvenv.cfg"))
        ]
        yield from (Path(root, name) for name in names if name.endswith((".py", *DATA_SUFFIXES)) and name[0] != ".")


def _text(file: Path) -> bytes:
    try:
        with open(file, "rb") as stream:
            return stream.read(_MOST_BYTES)
    except OSError:
        return b""


def _concerned(texts: dict[Path, bytes]) -> set[Path]:
    chosen = {file for file, text in texts.items() if _MENTION.search(text)}
    imports = {file: _imported_names(text) for file, text in texts.items() if file not in chosen}
    names = {_name(file) for file in chosen}
    while True:
        more = {file for file, imported in imports.items() if file not in chosen and imported & names}
        if not more:
            return chosen
        chosen |= more
        names |= {_name(file) for file in more}


def _name(file: Path) -> str:
    return file.parent.name if file.name == "__init__.py" else file.stem


def _imported_names(text: bytes) -> set[str]:
    """Return the last names of the modules that a file may import, and of what it takes from them."""
    found: set[str] = set()
    for module, taken, plain in _IMPORTED.findall(text):
        parts = re.findall(rb"\w+", module + b" " + taken + b" " + plain)
        found.update(part.decode(errors="replace") for part in parts)
    return found
