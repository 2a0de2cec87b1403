"""When each tag was first seen: an image's own time is fixed, so this is the only age that can be told."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from imagespec.names import Repository

__all__ = ["Sightings"]


class Sightings:
    """A small file per repository below ``folder``: seconds since the epoch by tag."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def first_seen(
        self, repository: Repository, tags: Iterable[str], now_s: float, known: Mapping[str, float]
    ) -> dict[str, float]:
        """Return when each tag was first seen, noting ``now_s`` for new ones; ``known`` are times from elsewhere.

        A tag that is new here, and not known, is left out: nothing can be said of its age yet.
        """
        file = self._folder / f"{hashlib.sha256(str(repository).encode()).hexdigest()[:32]}.json"
        noted = _read(file)
        listed = set(tags)
        times = {tag: time_s for tag, time_s in noted.items() if tag in listed}
        for tag in listed & known.keys():
            times[tag] = min(known[tag], times.get(tag, now_s))
        kept = {**dict.fromkeys(sorted(listed - times.keys()), now_s), **times}
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary = file.with_suffix(f".{os.getpid()}")
            temporary.write_text(json.dumps(kept), encoding="utf-8")
            temporary.replace(file)
        return times


def _read(file: Path) -> dict[str, float]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        return {str(tag): float(time_s) for tag, time_s in value.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
