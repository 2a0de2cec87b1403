"""Regular expressions that are compiled when they are first used: a command starts with dozens, and needs a few."""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast

__all__ = ["lazy_pattern"]


def lazy_pattern(text: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Return what behaves as ``re.compile(text, flags)``; what is wrong with the text is raised at its first use."""
    return cast("re.Pattern[AnyStr]", _Pattern(text, flags))


class _Pattern:
    def __init__(self, text: str | bytes, flags: int) -> None:
        self._text = text
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        # Kept, so that the next call of the same method finds it without coming here.
        found = self.__dict__[name] = getattr(re.compile(self._text, self._flags), name)
        return found
