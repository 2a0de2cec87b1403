"""``.gitignore`` as git itself reads it: a port of the rules of ``dir.c`` and ``wildmatch.c`` (gitignore(5)).

Git matches bytes, not characters (``?`` is one byte), so patterns and paths are bytes here. Only ``.gitignore`` files
count: ``core.excludesFile`` and ``.git/info/exclude`` belong to one machine, and would give each its own tag.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from imagespec.values import dataclass

__all__ = ["NO_GITIGNORE", "GitIgnore", "Rule", "parse"]

_BOM: Final = b"\xef\xbb\xbf"
_GLOB_BYTES: Final = frozenset(b"*?[\\")
_MOST_MEMBERS: Final = 16
_SLASH: Final = ord("/")
_NEVER: Final = rb"(?!)"

# wildmatch.c, ISALPHA() and the others: the C locale's classes, ASCII only.
_CLASSES: Final[dict[bytes, bytes]] = {
    b"alnum": rb"[0-9A-Za-z]",
    b"alpha": rb"[A-Za-z]",
    b"blank": rb"[ \t]",
    b"cntrl": rb"[\x00-\x1f\x7f]",
    b"digit": rb"[0-9]",
    b"graph": rb"[!-~]",
    b"lower": rb"[a-z]",
    b"print": rb"[ -~]",
    b"punct": rb"[!-/:-@\[-`{-~]",
    b"space": rb"[ \t\n\r\f\v]",
    b"upper": rb"[A-Z]",
    b"xdigit": rb"[0-9A-Fa-f]",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One line: ``regex`` matches a name (``by_name``) or a path from the work tree's top.

    ``literal`` and ``suffixes`` say the same where they can; ``above`` is a folder that all it matches lies in.
    """

    regex: bytes
    is_negated: bool
    folders_only: bool
    by_name: bool
    literal: bytes | None
    suffixes: tuple[bytes, ...]
    above: bytes

    def matches(self, path: bytes, name: bytes, is_folder: bool) -> bool:
        """Return whether this line speaks about the path."""
        if self.folders_only and not is_folder:
            return False
        text = name if self.by_name else path
        if self.literal is not None:
            return text == self.literal
        if self.suffixes:
            return text.endswith(self.suffixes)
        return _compiled(self.regex).match(text) is not None


def parse(data: bytes, folder: bytes = b"") -> tuple[Rule, ...]:
    """Return the rules of one ``.gitignore``; ``folder`` is where it lies, from the top, "" or ending with '/'."""
    lines = data.removeprefix(_BOM).split(b"\n")
    rules = (_rule(_line(line), folder) for line in lines if line and not line.startswith(b"#"))
    return tuple(rule for rule in rules if rule is not None)


def _line(line: bytes) -> bytes:
    return _without_trailing_spaces(line.removesuffix(b"\r").split(b"\0", 1)[0])


def _without_trailing_spaces(line: bytes) -> bytes:
    end = position = 0
    while position < len(line):
        if line[position] == 0x5C:
            position += 1
            if position == len(line):
                return line
            end = position + 1
        elif line[position] != 0x20:
            end = position + 1
        position += 1
    return line[:end]


def _rule(pattern: bytes, folder: bytes) -> Rule | None:
    is_negated = pattern.startswith(b"!")
    pattern = pattern[1:] if is_negated else pattern
    folders_only = pattern.endswith(b"/")
    pattern = pattern[:-1] if folders_only else pattern
    if not pattern:
        return None
    by_name = b"/" not in pattern
    plain = next((index for index, byte in enumerate(pattern) if byte in _GLOB_BYTES), len(pattern))
    suffixes: tuple[bytes, ...] = ()
    above = folder
    if by_name:
        regex = _regex(pattern, crosses_slashes=True)
        literal = pattern if plain == len(pattern) else None
        suffixes = _suffixes(pattern[1:]) if pattern[0] == 0x2A else ()
    else:
        if pattern.startswith(b"/"):
            pattern, plain = pattern[1:], plain - 1
        # git compares the part before the first special byte by itself, so the rest starts a pattern of its own.
        regex = re.escape(folder + pattern[:plain]) + _regex(pattern[plain:], crosses_slashes=False)
        literal = folder + pattern if plain == len(pattern) else None
        above += pattern[: pattern.rfind(b"/", 0, plain) + 1]
    return Rule(
        regex=regex,
        is_negated=is_negated,
        folders_only=folders_only,
        by_name=by_name,
        literal=literal,
        suffixes=suffixes,
        above=above,
    )


def _suffixes(pattern: bytes) -> tuple[bytes, ...]:
    """Return the endings that ``*`` and this pattern stand for, or none when they are not a few plain ones."""
    endings = [b""]
    position = 0
    while position < len(pattern):
        if pattern[position] == 0x5B:
            members, position = _bracket(pattern, position + 1)
            if members is None or len(members) > _MOST_MEMBERS:
                return ()
            endings = [ending + bytes((byte,)) for ending in endings for byte in sorted(members)]
        elif pattern[position] in _GLOB_BYTES or len(endings) > _MOST_MEMBERS:
            return ()
        else:
            endings = [ending + pattern[position : position + 1] for ending in endings]
            position += 1
    return tuple(endings)


def _regex(pattern: bytes, *, crosses_slashes: bool) -> bytes:
    """Return wildmatch's pattern as a regular expression; ``crosses_slashes`` is the absence of WM_PATHNAME."""
    parts: list[bytes] = []
    position = 0
    while position < len(pattern):
        byte = pattern[position]
        if byte == 0x5C:
            if position + 1 == len(pattern):
                return _NEVER
            parts.append(re.escape(pattern[position + 1 : position + 2]))
            position += 2
        elif byte == 0x3F:
            parts.append(rb"[^\0]" if crosses_slashes else rb"[^/]")
            position += 1
        elif byte == 0x2A:
            part, position = _stars(pattern, position, crosses_slashes)
            parts.append(part)
        elif byte == 0x5B:
            members, position = _bracket(pattern, position + 1)
            if members is None:
                return _NEVER
            parts.append(_one_of(members if crosses_slashes else members - {_SLASH}))
        else:
            parts.append(re.escape(bytes((byte,))))
            position += 1
    return b"".join(parts)


def _stars(pattern: bytes, start: int, crosses_slashes: bool) -> tuple[bytes, int]:
    """Return the expression for the stars at ``start``, and where the pattern goes on."""
    end = start
    while end < len(pattern) and pattern[end] == 0x2A:
        end += 1
    if crosses_slashes:
        return rb"[^\0]*", end
    rest = pattern[end:]
    opens = start == 0 or pattern[start - 1] == _SLASH
    if end - start < 2 or not opens or not (not rest or rest.startswith((b"/", b"\\/"))):
        return rb"[^/]*", end
    if rest.startswith(b"/"):
        return rb"(?:.*/)?", end + 1
    return rb".*", end


def _bracket(pattern: bytes, start: int) -> tuple[frozenset[int] | None, int]:
    """Return the bytes that the bracket expression after '[' matches (None: it never ends), and where it ends."""
    position = start
    is_negated = pattern[position : position + 1] in (b"!", b"^")
    position += is_negated
    members: set[int] = set()
    previous: int | None = None
    first = True
    while first or pattern[position : position + 1] != b"]":
        first = False
        found, previous, position = _member(pattern, position, previous)
        if found is None:
            return None, position
        members |= found
    chosen = frozenset(range(256)) - members if is_negated else frozenset(members)
    return chosen, position + 1


def _member(pattern: bytes, position: int, previous: int | None) -> tuple[set[int] | None, int | None, int]:
    """Return the bytes of one member, the byte a range may start from, and the position after it."""
    if position >= len(pattern):
        return None, None, position
    byte = pattern[position]
    if byte == 0x5C:
        if position + 1 >= len(pattern):
            return None, None, position
        return {pattern[position + 1]}, pattern[position + 1], position + 2
    after = pattern[position + 1 : position + 2]
    if byte == 0x2D and previous and after not in (b"", b"]"):
        position += 2 if after == b"\\" else 1
        if position >= len(pattern):
            return None, None, position
        return set(range(previous, pattern[position] + 1)), None, position + 1
    if byte == 0x5B and after == b":":
        return _named_class(pattern, position)
    return {byte}, byte, position + 1


def _named_class(pattern: bytes, position: int) -> tuple[set[int] | None, int | None, int]:
    close = pattern.find(b"]", position + 2)
    if close < 0:
        return None, None, position
    if close < position + 3 or pattern[close - 1] != 0x3A:
        return {0x5B}, 0x5B, position + 1
    regex = _CLASSES.get(pattern[position + 2 : close - 1])
    if regex is None:
        return None, None, position
    return {byte for byte in range(256) if re.fullmatch(regex, bytes((byte,)))}, None, close + 1


def _one_of(members: frozenset[int]) -> bytes:
    if not members:
        return _NEVER
    return b"[%s]" % b"".join(b"\\x%02x" % byte for byte in sorted(members))


@lru_cache(maxsize=4096)
def _compiled(regex: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"(?:%s)\Z" % regex, re.DOTALL)


def _searching(regex: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"\0(?:%s)\0" % regex, re.DOTALL)


class GitIgnore:
    """The rules that hold in one folder: those of its parents, outermost first, then its own. Immutable."""

    __slots__ = ("_endings", "_name_regex", "_names", "_paths", "_suffixes", "_trees", "rules")

    def __init__(self, rules: tuple[Rule, ...] = ()) -> None:
        self.rules = rules
        positive = [rule for rule in rules if not rule.is_negated]
        self._names = frozenset(rule.literal for rule in positive if rule.by_name and rule.literal is not None)
        self._suffixes = tuple(ending for rule in positive for ending in rule.suffixes)
        globs = [rule for rule in positive if rule.literal is None and not rule.suffixes]
        names = [rule.regex for rule in globs if rule.by_name]
        self._endings = tuple(ending + b"\0" for ending in self._suffixes)
        # For all of a folder's names at once, with NUL before and after each.
        self._name_regex = _searching(b"|".join(names)).search if names else None
        self._trees = tuple((rule.above, rule.regex) for rule in globs if not rule.by_name)
        self._paths: dict[bytes, set[bytes]] = {}
        for rule in positive:
            if not rule.by_name and rule.literal is not None:
                folder, _, name = rule.literal.rpartition(b"/")
                self._paths.setdefault(folder + b"/" if folder else b"", set()).add(name)

    def extended(self, data: bytes, folder: bytes) -> GitIgnore:
        """Return these rules with those of a ``.gitignore`` in ``folder`` ("" or ending with '/') added."""
        rules = parse(data, folder)
        return GitIgnore(self.rules + rules) if rules else self

    def without_those_that_exclude(self, path: bytes, name: bytes) -> GitIgnore:
        """Return these rules without the lines that exclude the folder ``path``: for a folder that was asked for."""
        git = self
        while git.ignores(path, name, True):
            git = GitIgnore(tuple(rule for rule in git.rules if rule.is_negated or not rule.matches(path, name, True)))
        return git

    def candidates(self, folder: bytes, names: list[bytes]) -> set[bytes]:
        """Return those of a folder's names that some line excludes; the others no line does."""
        found = set(self._names.intersection(names))
        listed = b"\0%s\0" % b"\0".join(names)
        if any(map(listed.__contains__, self._endings)):
            suffixes = self._suffixes
            found.update([name for name in names if name.endswith(suffixes)])
        if self._name_regex is not None and self._name_regex(listed):
            search = self._name_regex
            found.update([name for name in names if search(b"\0%s\0" % name)])
        if folder in self._paths:
            found.update(self._paths[folder].intersection(names))
        trees = [regex for above, regex in self._trees if folder.startswith(above)]
        if trees:
            matches = _compiled(b"|".join(trees)).match
            found.update([name for name in names if matches(folder + name)])
        return found

    def ignores(self, path: bytes, name: bytes, is_folder: bool) -> bool:
        """Return whether the rules exclude ``path`` (from the top), whose parents they do not exclude."""
        for rule in reversed(self.rules):
            if rule.matches(path, name, is_folder):
                return not rule.is_negated
        return False


NO_GITIGNORE: Final = GitIgnore()
