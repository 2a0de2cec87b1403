"""Random small trees with ignore files whose lines are made from the trees' own paths, so that they often match."""

from __future__ import annotations

from pathlib import Path
from random import Random

_NAMES = (
    "a",
    "b",
    "ab",
    "abc",
    "foo",
    "bar",
    "foo.txt",
    "a.py",
    ".hid",
    "Foo",
    "a b",
    "é",
    "x[1]",
    "a*b",
    "-",
    "build",
    "]",
)
_PIECES = (
    *("a", "b", "*", "**", "?", "/", "/**", "**/", "/**/", "[ab]", "[!a]", "[^a]", "[a-f]", "[f-a]", "[]a]", "[]-a]"),
    *("[a-]", "[[:alpha:]]", "[![:upper:]]", "[[:nope:]]", "[", "[a", "\\", "\\*", "\\[", "\\ ", " ", "#", "!", "***"),
    *("[\\]]", "[a\\-c]", "[--0]", "[[a]", "[*]", "[?]", "[/]", "\t", "]", "-", "^", "$", "+", "(", "|", "{a,b}", "."),
)
_BEFORE = ("", "", "", "", "", "/", "/", "**/", "#", "\\#", " ", "./", "../")
_AFTER = ("", "", "", "", "", "/", "/", "/*", "/**", " ", "  ", "\\ ", "\r", "//", "\\")


def tree(random: Random) -> dict[str, str]:
    """Return path to content of a few files; a name is not a file in one path and a folder in another."""
    files: dict[str, str] = {}
    names = random.sample(_NAMES, random.randint(3, 6))
    for _ in range(random.randint(3, 12)):
        parts = [random.choice(names) for _ in range(random.randint(1, 4))]
        above = {"/".join(parts[:count]) for count in range(1, len(parts))}
        path = "/".join(parts)
        if not above & files.keys() and not any(other.startswith(f"{path}/") for other in files):
            files[path] = ""
    return files


def ignore_file(random: Random, files: dict[str, str]) -> str:
    """Return the text of an ignore file that speaks about the tree's paths more often than not."""
    return "\n".join(_line(random, sorted(files)) for _ in range(random.randint(1, 6)))


def _line(random: Random, paths: list[str]) -> str:
    parts = random.choice(paths).split("/")
    start = random.randrange(len(parts))
    pattern = "/".join(parts[start : random.randint(start + 1, len(parts))])
    pattern = _literal(random, pattern)
    for _ in range(random.choice((0, 0, 1, 1, 2))):
        at = random.randint(0, len(pattern))
        pattern = pattern[:at] + random.choice(_PIECES) + pattern[at + random.randint(0, 2) :]
    return random.choice(("", "", "", "!")) + random.choice(_BEFORE) + pattern + random.choice(_AFTER)


def _literal(random: Random, pattern: str) -> str:
    """Return the path with its special characters escaped, now and then forgotten."""
    escaped = "".join(f"\\{character}" if character in "*[?" else character for character in pattern)
    return escaped if random.random() < 0.8 else pattern


def write(root: Path, files: dict[str, str]) -> None:
    """Make the files below ``root``."""
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())


def folders_of(files: dict[str, str]) -> list[str]:
    """Return every folder of the tree, '' first."""
    found = {""}
    for path in files:
        parts = path.split("/")
        found |= {"/".join(parts[:count]) for count in range(1, len(parts))}
    return sorted(found)
