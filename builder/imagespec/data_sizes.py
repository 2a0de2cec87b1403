"""Sizes of data as people write them: ``500M``, ``2.5G``, ``0``; units are powers of 1024."""

from __future__ import annotations

import re
from typing import Final

from imagespec.patterns import lazy_pattern

__all__ = ["size_in_bytes"]

_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE: Final = lazy_pattern(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?", re.IGNORECASE)


def size_in_bytes(text: str) -> int | None:
    """Return the size in bytes, None for a text that is none."""
    match = _SIZE.fullmatch(text.strip())
    return int(float(match[1]) * _UNITS[match[2].upper()]) if match else None
