"""Which paths flytekit's reading of ``.dockerignore`` leaves out: docker-py's matcher, faults and all.

Source: docker-py 7.1, ``docker/utils/build.py`` and ``fnmatch.py``. Our own matching is in ``dockerignore``, which does
as Docker does; this one exists only to say what flytekit's tag is made of.
"""

from __future__ import annotations

import posixpath
import re

from imagespec.values import dataclass

__all__ = ["FlyteDockerIgnore", "PatternError"]


class PatternError(ValueError):
    """A pattern from which docker-py makes no regular expression; the message is the pattern."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    regex: re.Pattern[str]
    depth: int
    is_exception: bool


@dataclass(frozen=True, slots=True)
class FlyteDockerIgnore:
    """The patterns of one file, the last one that matches deciding."""

    patterns: tuple[_Pattern, ...]

    @classmethod
    def parse(cls, text: str) -> FlyteDockerIgnore:
        """Return the patterns of a file's text; raise PatternError."""
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        given = [line.strip() for line in lines if not line.startswith("#")]
        return cls(tuple(one for line in (*given, "!.dockerignore") if (one := _pattern(line)).depth))

    def matches(self, path: str) -> bool:
        """Return whether ``path`` is left out."""
        parents = [part for part in posixpath.dirname(path).split("/") if part not in ("", ".")]
        is_left_out = False
        for pattern in self.patterns:
            is_match = pattern.regex.match(path.lower()) is not None
            if not is_match and pattern.depth <= len(parents):
                above = "/".join(parents[: pattern.depth])
                is_match = pattern.regex.match(above.lower()) is not None
            if is_match:
                is_left_out = not pattern.is_exception
        return is_left_out


def _pattern(line: str) -> _Pattern:
    text = line.removeprefix("!")
    parts = [part for part in text.strip().split("/") if part not in ("", ".")]
    index = 0
    while index < len(parts):
        if parts[index] != "..":
            index += 1
            continue
        del parts[index]
        if index > 0:
            del parts[index - 1]
            index -= 1
    try:
        regex = re.compile(_translated("/".join(parts).lower()))
    except re.error as error:
        raise PatternError(repr(line)) from error
    return _Pattern(regex, len(parts), line.startswith("!"))


def _translated(pattern: str) -> str:
    found, index = "^", 0
    while index < len(pattern):
        character = pattern[index]
        index += 1
        if character == "*" and pattern[index : index + 1] == "*":
            index += 2 if pattern[index + 1 : index + 2] == "/" else 1
            found += ".*" if index >= len(pattern) else "(.*/)?"
        elif character in "*?":
            found += "[^/]*" if character == "*" else "[^/]"
        elif character == "[":
            text, index = _bracket(pattern, index)
            found += text
        else:
            found += re.escape(character)
    return f"{found}$"


def _bracket(pattern: str, start: int) -> tuple[str, int]:
    """Return the regular expression of what begins with a bracket before ``start``, and where it ends."""
    end = start + 1 if pattern[start : start + 1] == "!" else start
    end = end + 1 if pattern[end : end + 1] == "]" else end
    end = pattern.find("]", end)
    if end < 0:
        return r"\[", start
    inside = pattern[start:end].replace("\\", "\\\\")
    if inside.startswith("!"):
        inside = f"^{inside[1:]}"
    elif inside.startswith("^"):
        inside = f"\\{inside}"
    return f"[{inside}]", end + 1
