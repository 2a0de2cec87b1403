"""Sources in memory, as ``Files``, and the plans that copy them."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from imagespec.names import Digest
from imagespec.plan import BuildPlan
from imagespec.planner import make_plan
from imagespec.snapshot import ContextEntry, EntryKind, Snapshot, Tree
from imagespec.spec import Declaration

__all__ = ["Sources", "layout_digest", "plan_of"]


class Sources:
    """Files by digest; ``entries`` are sorted by path. A path that ends in ``.sh`` is executable."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._data: dict[Digest, bytes] = {}
        entries = []
        for path, data in sorted(files.items()):
            raw = hashlib.sha256(data).digest()
            self._data[Digest("sha256", raw.hex())] = data
            entries.append(ContextEntry(path, EntryKind.FILE, path.endswith(".sh"), len(data), raw))
        self.entries = tuple(entries)

    def open(self, digest: Digest) -> BinaryIO:
        return io.BytesIO(self._data[digest])


def plan_of(sources: Sources | None = None, base_digest: Digest | None = None, **declared: Any) -> BuildPlan:
    """Return the plan of a declaration that copies ``sources``."""
    trees = (Tree(field="source_root", entries=sources.entries),) if sources is not None else ()
    return make_plan(Declaration(name="test", **declared), Snapshot(trees=trees, base_digest=base_digest))


def layout_digest(layout: Path) -> Digest:
    """Return the digest of the first image of a layout."""
    return Digest.parse(json.loads((layout / "index.json").read_text())["manifests"][0]["digest"])
