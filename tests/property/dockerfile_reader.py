"""Reads a Dockerfile as BuildKit does, and says what it means: a second opinion on what ``dockerfile`` writes.

Modelled on BuildKit's ``frontend/dockerfile/parser`` (parser.go, line_parsers.go, split_command.go) and on
``shell/lex.go``, by hand: lines of at most 64 KiB, comments, continuation, here-documents, flags, JSON forms, the
words of ENV and LABEL. It is strict where BuildKit would guess: what our Dockerfiles must not hold is an error.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

MAX_LINE_BYTES = 65_535
_DIRECTIVE = re.compile(r"^#\s*(syntax|escape|check)\s*=", re.IGNORECASE)
_CONTINUED = re.compile(r"([^\\])\\[ \t]*$|^\\[ \t]*$")
_HEREDOC = re.compile(r"^(\d*)<<(-?)([^<]*)$")
_INSTRUCTIONS = {"FROM", "USER", "WORKDIR", "ENV", "ARG", "RUN", "SHELL", "COPY", "ENTRYPOINT", "LABEL"}
# unicode.IsSpace of Go.
_SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


class NotReadable(Exception):
    """BuildKit would refuse it, or read it otherwise than it looks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction: its flags, the rest of its line, and the content of its here-documents."""

    name: str
    flags: tuple[str, ...]
    rest: str
    documents: tuple[str, ...] = ()


@dataclass(slots=True)
class _Lines:
    lines: list[str]
    at: int = 0

    def __iter__(self) -> Iterator[str]:
        while self.at < len(self.lines):
            self.at += 1
            yield self.lines[self.at - 1]


def parse(text: str) -> list[Instruction]:
    """Return the instructions of a Dockerfile; raise NotReadable."""
    if _DIRECTIVE.match(text) or text.startswith("\ufeff"):
        raise NotReadable("a parser directive or a byte order mark at the start")
    lines = _Lines(text.split("\n"))
    for line in lines.lines:
        if len(line.encode()) > MAX_LINE_BYTES:
            raise NotReadable("a line is too long")
    found = []
    for line in lines:
        joined = _joined(_without_comment(line.rstrip("\r").lstrip(_SPACES)), lines)
        if joined.strip(_SPACES):
            found.append(_instruction(joined, lines))
    return found


def _without_comment(line: str) -> str:
    return "" if line.startswith("#") else line


def _joined(line: str, lines: _Lines) -> str:
    whole, is_continued = _CONTINUED.subn(r"\1", line)
    while is_continued:
        following = next(iter(lines), None)
        if following is None:
            raise NotReadable("the last line is continued")
        if following.lstrip(_SPACES).startswith("#") or not following.strip(_SPACES):
            continue
        part, is_continued = _CONTINUED.subn(r"\1", following.rstrip("\r"))
        whole += part
    return whole


def _instruction(line: str, lines: _Lines) -> Instruction:
    name, _, rest = line.strip(_SPACES).partition(" ")
    if name not in _INSTRUCTIONS:
        raise NotReadable(f"not an instruction: {name!r}")
    documents = []
    if name in ("RUN", "COPY") and "<<" in line:
        for word in line.split():
            match = _HEREDOC.match(word)
            if match:
                documents.append(_document(match, lines))
    flags = []
    rest = rest.strip(_SPACES)
    while rest.startswith("--"):
        flag, _, rest = rest.partition(" ")
        flags.append(flag)
        rest = rest.strip(_SPACES)
    return Instruction(name=name, flags=tuple(flags), rest=rest, documents=tuple(documents))


def _document(match: re.Match[str], lines: _Lines) -> str:
    descriptor, chomp, quoted = match.groups()
    names = shlex.split(quoted)
    if descriptor or chomp or len(names) != 1 or quoted != f"'{names[0]}'":
        raise NotReadable("a here-document in a form that we do not write")
    content = []
    for line in lines:
        if line.rstrip("\r\n") == names[0]:
            return "\n".join(content) + "\n"
        content.append(line)
    raise NotReadable("a here-document without an end")


Meaning = tuple[str, ...]


def meaning(text: str, arguments: Mapping[str, str]) -> list[Meaning]:
    """Return what the instructions say: variables and labels with their values, JSON as words, scripts as text.

    The arguments that carry values, and the stage that holds them, are no part of the meaning.
    """
    said: list[Meaning] = []
    known: dict[str, str] = {}
    for one in parse(text):
        if one.name == "ARG" and one.rest in arguments:
            known[one.rest] = arguments[one.rest]
        elif one.name in ("ENV", "LABEL"):
            name, value = name_and_value(one.rest, known)
            if one.name == "ENV":
                known[name] = value
            said.append((one.name, name, value))
        elif (one.name, one.rest) == ("FROM", "variables AS image"):
            continue
        else:
            said.append((one.name, *one.flags, *_rest(one), *_scripts(one)))
    return said


def _rest(one: Instruction) -> tuple[str, ...]:
    if one.name in ("ENTRYPOINT", "COPY") and one.rest.startswith("["):
        words = json.loads(one.rest)
        if not all(isinstance(word, str) for word in words):
            raise NotReadable("JSON that is not a list of texts")
        return tuple(words)
    if one.documents:
        return ()
    return (one.rest.replace(" AS variables", " AS image"),)


def _scripts(one: Instruction) -> tuple[str, ...]:
    for script in one.documents:
        if len(script.encode()) > 131_071:
            raise NotReadable("a script that Linux does not pass to a shell")
    return tuple(re.sub(r"(?m)^unset -v( IMAGESPEC_VALUE_\w+)+\n", "", script, count=1) for script in one.documents)


def name_and_value(rest: str, known: Mapping[str, str]) -> tuple[str, str]:
    """Return the one name and value of an ENV or LABEL instruction, after the expansion of variables."""
    words = _words(rest)
    if len(words) != 1 or "=" not in words[0]:
        raise NotReadable("not one name=value")
    name, _, value = words[0].partition("=")
    return _expanded(name, known), _expanded(value, known)


def _words(rest: str) -> list[str]:
    """Return the words as parseWords does: blanks end a word, except in quotes and after a backslash."""
    words, word, quote, at = [], "", "", 0
    while at < len(rest):
        character = rest[at]
        if character == "\\" and quote != "'" and at + 1 < len(rest):
            word += rest[at : at + 2]
            at += 2
            continue
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in _SPACES:
            if word:
                words.append(word)
            word, at = "", at + 1
            continue
        word += character
        at += 1
    return [*words, word] if word else words


def _expanded(word: str, known: Mapping[str, str]) -> str:
    """Return the word as lex.go expands it. Only what we write: plain text, or one text in double quotes."""
    if not word.startswith('"'):
        if re.search(r"[\"'$\\]", word):
            raise NotReadable("quotes, backslashes or variables outside of quotes")
        return word
    result, at = "", 1
    while at < len(word) and word[at] != '"':
        if word[at] == "\\" and word[at + 1 : at + 2] in ('"', "$", "\\"):
            result, at = result + word[at + 1], at + 2
        elif word[at] == "$":
            match = re.match(r"\$(?:\{(\w+)\}|(\w+))", word[at:])
            if match is None:
                raise NotReadable("a dollar sign that names no variable")
            result += known.get(match[1] or match[2], "")
            at += match.end()
        else:
            result, at = result + word[at], at + 1
    if at != len(word) - 1:
        raise NotReadable("text after the closing quote, or no closing quote")
    return result
