"""``.dockerignore`` as BuildKit reads it: a port of the rules of ``github.com/moby/patternmatcher``.

Order of work there: ``ignorefile.ReadAll`` cleans the lines, ``New`` compiles them, ``MatchesUsingParentResults`` is
asked on the way down, and fsutil's ``filter.go`` prunes folders. Patterns match characters, and case counts.
"""

from __future__ import annotations

import posixpath
import re
from functools import lru_cache
from typing import Final, TypeAlias

from imagespec.errors import SpecError
from imagespec.patterns import lazy_pattern
from imagespec.values import dataclass

__all__ = ["NO_DOCKERIGNORE", "DockerIgnore", "Matched", "parse"]

Matched: TypeAlias = tuple[bool, ...]
"""For one folder: which patterns match it or one of its parents."""

# Go's unicode.IsSpace: Python's strip() would take the separators U+001C to U+001F too.
_SPACES: Final = (
    "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
)
_ANYWHERE = lazy_pattern(r"\*\*/[^/*?\[\\]+")
_ENDING_ANYWHERE = lazy_pattern(r"\*\*/\*[^/*?\[\\]+")
_SYNTAX: Final = "*[]?^\\"
# Characters that moby escapes before it hands the pattern to Go's regexp package.
_ESCAPED: Final = frozenset(".+()|{}$")
# Go's regexp syntax (RE2): classes behind a letter, and the escapes that are one character.
_GO_CLASSES: Final = {"d": "0-9", "s": r"\t\n\f\r ", "w": "0-9A-Za-z_"}
_GO_CHARACTERS: Final = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_GO_ASSERTIONS: Final = {"A": r"\A", "z": r"\Z", "b": r"(?a:\b)", "B": r"(?a:\B)"}
_POSIX: Final = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "ascii": r"\x00-\x7f", "blank": r"\t ", "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9", "graph": "!-~", "lower": "a-z", "print": " -~", "punct": r"!-/:-@\[-`{-~", "space": r"\t\n\v\f\r ",
    "upper": "A-Z", "word": "0-9A-Za-z_", "xdigit": "0-9A-Fa-f",
}  # fmt: skip


class _BadPatternError(ValueError):
    """The pattern is one that filepath.Match or regexp.Compile of Go refuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pattern:
    text: str
    is_exception: bool
    kind: str
    regex: str

    def matches(self, path: str) -> bool:
        return _compiled(self.regex).match(path) is not None

    @property
    def without_trailing_glob(self) -> str:
        return self.text.removesuffix("/**").removesuffix("/*")


class DockerIgnore:
    """The patterns of one ``.dockerignore``; paths are relative to its folder, with '/'."""

    __slots__ = (
        "_by_depth",
        "_endings",
        "_exceptions",
        "_general",
        "_names",
        "_paths",
        "_patterns",
        "_prunes_by_prefix",
        "_suffixes",
    )

    def __init__(self, patterns: tuple[_Pattern, ...] = ()) -> None:
        self._patterns = patterns
        self._names: set[str] = set()
        self._suffixes: tuple[str, ...] = ()
        self._endings: tuple[str, ...] = ()
        self._paths: dict[str, set[str]] = {}
        self._by_depth: dict[int, list[str]] = {}
        self._general: list[str] = []
        for pattern in patterns:
            if not pattern.is_exception:
                self._sort_in(pattern)
        exceptions = tuple(pattern.without_trailing_glob for pattern in patterns if pattern.is_exception)
        self._exceptions = tuple(f"{text}/" for text in exceptions)
        self._prunes_by_prefix = not any(character in text for text in exceptions for character in _SYNTAX)

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def _sort_in(self, pattern: _Pattern) -> None:
        """Note by which part of a path the pattern can be told not to match."""
        text = pattern.text
        if pattern.kind == "exact":
            folder, slash, name = text.rpartition("/")
            self._paths.setdefault(folder + slash, set()).add(name)
        elif _ANYWHERE.fullmatch(text):
            self._names.add(text[3:])
        elif _ENDING_ANYWHERE.fullmatch(text):
            self._suffixes += (text[4:],)
            self._endings += (f"{text[4:]}\0",)
        elif "**" not in text and "[" not in text and "\\" not in text:
            self._by_depth.setdefault(text.count("/"), []).append(pattern.regex)
        else:
            self._general.append(pattern.regex)

    def candidates(self, folder: str, names: list[str], above: Matched) -> set[str]:
        """Return those of a folder's names that some pattern may leave out; the others none does.

        ``folder`` is '' or ends with '/', ``above`` is what ``matched`` gave for it.
        """
        if True in above:
            return set(names)
        found = self._names.intersection(names)
        if self._suffixes:
            suffixes, listed = self._suffixes, "\0".join(names) + "\0"
            if any(map(listed.__contains__, self._endings)):
                found.update([name for name in names if name.endswith(suffixes)])
        if folder in self._paths:
            found.update(self._paths[folder].intersection(names))
        regexes = self._general + self._by_depth.get(folder.count("/"), [])
        if regexes:
            matches = _compiled("|".join(regexes)).match
            found.update([name for name in names if matches(folder + name)])
        return found

    def matched(self, path: str, parent: Matched = ()) -> tuple[bool, Matched]:
        """Return whether ``path`` is left out, and what to pass on for the paths below it.

        This is MatchesUsingParentResults: a pattern that could not change the answer is not asked, and counts as no.
        """
        is_left_out = False
        results: list[bool] = []
        for index, pattern in enumerate(self._patterns):
            match = bool(parent) and parent[index]
            if not match and pattern.is_exception == is_left_out:
                match = pattern.matches(path)
            results.append(match)
            if match:
                is_left_out = not pattern.is_exception
        return is_left_out, tuple(results)

    def may_keep_below(self, path: str) -> bool:
        """Return whether an exception may bring back something below the folder ``path``, which is left out."""
        if not self._prunes_by_prefix:
            return True
        return any(exception.startswith(f"{path}/") for exception in self._exceptions)


NO_DOCKERIGNORE: Final = DockerIgnore()


def parse(text: str, name: str = ".dockerignore") -> DockerIgnore:
    """Return the patterns of a file's text; raise SpecError, naming the line, for one that BuildKit refuses."""
    patterns = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        cleaned = _cleaned(line.removesuffix("\r"))
        if cleaned is None:
            continue
        try:
            patterns.append(_pattern(cleaned))
        except _BadPatternError as error:
            raise SpecError(
                f"{name}:{number}: is not a pattern that Docker accepts: {error}",
                path=f"{name}:{number}",
                hint="'[' opens a list of characters: write '\\[' for the character itself",
            ) from error
    return DockerIgnore(tuple(patterns))


def _cleaned(line: str) -> str | None:
    """Return the line as ignorefile.ReadAll leaves it, or None when it says nothing."""
    if line.startswith("#"):
        return None
    line = line.strip(_SPACES)
    if not line:
        return None
    is_exception = line.startswith("!")
    pattern = line[1:].strip(_SPACES) if is_exception else line
    if pattern:
        pattern = _clean(pattern)
        if len(pattern) > 1 and pattern.startswith("/"):
            pattern = pattern[1:]
    return f"!{pattern}" if is_exception else pattern


def _clean(path: str) -> str:
    """Return Go's filepath.Clean of a path: posixpath would keep two leading slashes."""
    return posixpath.normpath(f"/{path.lstrip('/')}" if path.startswith("/") else path)


def _pattern(line: str) -> _Pattern:
    line = _clean(line.strip(_SPACES))
    is_exception = line.startswith("!")
    text = line[1:] if is_exception else line
    if not text:
        raise _BadPatternError("'!' alone")
    _check_glob(text)
    kind, go_regex = _translated(text)
    if kind == "prefix":
        regex = re.escape(text[:-2])
    elif kind == "suffix":
        # "**/foo" matches "foo" too.
        regex = rf"(?s:.*){re.escape(text[2:])}\Z" + (rf"|{re.escape(text[3:])}\Z" if text[2:3] == "/" else "")
    else:
        regex = _python_regex(go_regex)
    return _Pattern(text=text, is_exception=is_exception, kind=kind, regex=f"(?:{regex})")


@lru_cache(maxsize=1024)
def _compiled(regex: str) -> re.Pattern[str]:
    return re.compile(regex)


def _check_glob(pattern: str) -> None:
    """Raise unless Go's filepath.Match accepts the pattern's syntax."""
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "\\":
            if position == len(pattern):
                raise _BadPatternError("a backslash at the end")
            position += 1
        elif character == "[":
            position = _check_list(pattern, position)


def _check_list(pattern: str, position: int) -> int:
    if pattern[position : position + 1] == "^":
        position += 1
    count = 0
    while not (count and pattern[position : position + 1] == "]"):
        position = _check_member(pattern, position)
        if pattern[position] == "-":
            position = _check_member(pattern, position + 1)
        count += 1
    return position + 1


def _check_member(pattern: str, position: int) -> int:
    """Return the position after one character of a list; something must follow it (filepath.getEsc)."""
    if pattern[position : position + 1] in ("", "-", "]"):
        raise _BadPatternError("a '[' without its list")
    if pattern[position] == "\\":
        position += 1
    position += 1
    if position >= len(pattern):
        raise _BadPatternError("a '[' without its ']'")
    return position


def _translated(pattern: str) -> tuple[str, str]:
    """Return moby's kind of match, and the regular expression (in Go's syntax) that it makes of the pattern."""
    kind, regex = "exact", []
    position = count = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "*":
            is_double = pattern[position : position + 1] == "*"
            if is_double:
                position += 1
                position += pattern[position : position + 1] == "/"
                at_end = position == len(pattern)
                regex.append(".*" if at_end else "(.*/)?")
                kind = "prefix" if at_end and kind == "exact" else "regex"
                kind = "suffix" if count == 0 else kind
            else:
                regex.append("[^/]*")
                kind = "regex"
        elif character == "?":
            regex.append("[^/]")
            kind = "regex"
        elif character in _ESCAPED:
            regex.append(f"\\{character}")
        elif character == "\\" and position < len(pattern):
            regex.append(f"\\{pattern[position]}")
            position += 1
            kind = "regex"
        else:
            regex.append(character)
            kind = "regex" if character in "[]" else kind
        count += 1
    return kind, "".join(regex)


def _python_regex(regex: str) -> str:
    """Return a Go regular expression (of the kinds that ``_translated`` makes) in Python's syntax, anchored."""
    parts: list[str] = []
    position = 0
    while position < len(regex):
        character = regex[position]
        if character == "[":
            part, position = _go_list(regex, position + 1)
            parts.append(part)
        elif character == "\\":
            parts.append(_go_escape(regex[position + 1]))
            position += 2
        elif character == "^":
            parts.append(r"\A")
            position += 1
        elif character in ".*?()":
            # Only "(.*/)?" and ".*" and the star after a list come unescaped out of _translated.
            parts.append(character)
            position += 1
        else:
            parts.append(re.escape(character))
            position += 1
    return rf"{''.join(parts)}\Z"


def _go_escape(character: str) -> str:
    if character in _GO_ASSERTIONS:
        return _GO_ASSERTIONS[character]
    if character.lower() in _GO_CLASSES:
        return f"[{'^' if character.isupper() else ''}{_GO_CLASSES[character.lower()]}]"
    return re.escape(_go_character(character))


def _go_character(character: str) -> str:
    if character in _GO_CHARACTERS:
        return _GO_CHARACTERS[character]
    if character.isalnum() or not character.isascii():
        raise _BadPatternError(f"'\\{character}' has no meaning")
    return character


def _go_list(regex: str, position: int) -> tuple[str, int]:
    """Return a Go character list, whose text starts at ``position``, as Python's, and the position after it."""
    is_negated = regex[position : position + 1] == "^"
    position += is_negated
    members: list[str] = []
    first = True
    while first or regex[position : position + 1] != "]":
        part, position = _go_member(regex, position, first)
        members.append(part)
        first = False
    return f"[{'^' if is_negated else ''}{''.join(members)}]", position + 1


def _go_member(regex: str, position: int, first: bool) -> tuple[str, int]:
    following = regex[position + 1 : position + 2]
    if regex[position : position + 1] == "-" and not first and following not in ("]", ""):
        # RE2 takes a hyphen only first, last, or between the ends of a range.
        raise _BadPatternError("a '-' in the middle of a list")
    if regex.startswith("[:", position):
        close = regex.find(":]", position + 2)
        if close >= 0:
            return _posix_class(regex[position + 2 : close]), close + 2
    if regex[position : position + 1] == "\\" and following.lower() in _GO_CLASSES:
        if following.isupper():
            raise _BadPatternError(f"'\\{following}' inside a list is not supported")
        return _GO_CLASSES[following], position + 2
    low, position = _go_list_character(regex, position)
    if regex[position : position + 1] == "-" and regex[position + 1 : position + 2] not in ("]", ""):
        high, position = _go_list_character(regex, position + 1)
        if high < low:
            raise _BadPatternError("a range that runs backwards")
        return f"{_listed(low)}-{_listed(high)}", position
    return _listed(low), position


def _posix_class(name: str) -> str:
    is_negated = name.startswith("^")
    members = _POSIX.get(name.removeprefix("^"))
    if members is None or is_negated:
        raise _BadPatternError("an unknown character class")
    return members


def _go_list_character(regex: str, position: int) -> tuple[str, int]:
    if position >= len(regex):
        raise _BadPatternError("a '[' without its ']'")
    if regex[position] != "\\":
        return regex[position], position + 1
    if position + 1 >= len(regex):
        raise _BadPatternError("a backslash at the end")
    return _go_character(regex[position + 1]), position + 2


def _listed(character: str) -> str:
    return f"\\{character}" if character in r"\]^-[&~|" else character
