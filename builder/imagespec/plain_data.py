"""Plain data as users write it (text, lists, mappings), checked and made immutable.

A message names the field and the way out. A value is shown only when it is printable.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NoReturn

from imagespec.errors import SpecError

__all__ = ["FrozenDict", "frozen", "kind_of", "mapping", "one_line", "refuse", "strings", "text", "variables"]

# Linux passes a program at most 128 KiB in one argument or variable (execve(2), MAX_ARG_STRLEN), and a Dockerfile
# line holds 64 KiB; all variables, twice (as build arguments too), and the arguments must fit in 2 MiB.
_MAX_VARIABLE_BYTES: Final = 130_000
_MAX_VARIABLES_BYTES: Final = 500_000
_MAX_LINE_BYTES: Final = 4_096
_MAX_DEPTH: Final = 20
_TOO_LONG: Final = "Linux cannot hand it to a program: put it in a file, and copy that"


_KINDS: Final[tuple[tuple[type, str], ...]] = (
    (str, "text"),
    (bool, "true or false"),
    (int, "a number"),
    (float, "a number"),
    (type(None), "nothing"),
    (Mapping, "a mapping"),
    (list, "a list"),
    (tuple, "a list"),
)


class FrozenDict(Mapping[str, Any]):
    """An immutable, hashable mapping; equal to any mapping with the same items."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, Any]) -> None:
        self._items = dict(items)

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)


def refuse(path: str, message: str, value: object = None, hint: str = "") -> NoReturn:
    """Raise SpecError for the field ``path``, with the value where it can be shown."""
    shown = ""
    if isinstance(value, str):
        shown = f": {value!r}" if value.isprintable() and len(value) <= 200 else ": (not shown: not printable or long)"
    raise SpecError(f"{path}: {message}{shown}", path=path, hint=hint)


def kind_of(value: object) -> str:
    """Return what the value is, in the words of people who write YAML."""
    if _is_date(value):
        return "a date"
    return next((name for kind, name in _KINDS if isinstance(value, kind)), type(value).__name__)


def _is_date(value: object) -> bool:
    # Told without its module, which nothing else needs: YAML's reader has imported it where there are dates.
    return type(value).__module__ == "datetime"


def text(path: str, value: object, *, hint: str = "") -> str:
    """Return ``value`` if it is text that UTF-8 can write and that holds no NUL."""
    if not isinstance(value, str):
        refuse(path, f"must be text, not {kind_of(value)}", hint=hint or _text_hint(value))
    if "\0" in value:
        refuse(path, "holds a NUL character, which no operating system can pass on")
    try:
        value.encode()
    except UnicodeEncodeError:
        refuse(path, "is not valid Unicode", hint="remove the lone surrogate characters")
    return value


def _text_hint(value: object) -> str:
    if isinstance(value, (bool, int, float)) or _is_date(value):
        return 'in YAML, put the value in quotes: "…"'
    return "give it a value, or remove it" if value is None else "write it as one text"


def one_line(path: str, value: object) -> str:
    """Return ``value`` if it is text without control characters; the value is not echoed when it has some."""
    line = text(path, value)
    if not line or line != line.strip():
        refuse(path, "is empty or has spaces around it", hint="remove the spaces, or the field")
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in line):
        refuse(path, "holds a line break or another control character", hint="write it on one line")
    if len(line.encode()) > _MAX_LINE_BYTES:
        refuse(path, f"is longer than {_MAX_LINE_BYTES} bytes")
    return line


def strings(path: str, value: object, check: Callable[[str, object], str]) -> tuple[str, ...] | None:
    """Return the list with every element checked as ``path[i]``, or None."""
    if value is None:
        return None
    if isinstance(value, (str, bytes)) or not isinstance(value, (list, tuple, set, frozenset)):
        refuse(
            path, f"must be a list, not {kind_of(value)}", hint='put it in brackets, also when it is only one: ["…"]'
        )
    items = sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
    return tuple(check(f"{path}[{index}]", item) for index, item in enumerate(items))


def variables(path: str, value: Mapping[str, object]) -> dict[str, str]:
    """Return names and texts, sorted by name, no text and no sum of them longer than Linux can pass on."""
    found = {name: text(f"{path}.{name}", value[name]) for name in sorted(value)}
    sizes = {name: len(name.encode()) + len(one.encode()) for name, one in found.items()}
    for name, size_bytes in sizes.items():
        if size_bytes > _MAX_VARIABLE_BYTES:
            refuse(f"{path}.{name}", f"is longer than {_MAX_VARIABLE_BYTES:,} bytes", hint=_TOO_LONG)
    if sum(sizes.values()) > _MAX_VARIABLES_BYTES:
        refuse(path, f"is longer than {_MAX_VARIABLES_BYTES:,} bytes in all", hint=_TOO_LONG)
    return found


def frozen(path: str, value: object, depth: int = 0) -> Any:
    """Return plain data (text, numbers, booleans, lists, mappings of text keys) made immutable."""
    if depth > _MAX_DEPTH:
        refuse(path.split(".")[0].split("[")[0], f"is nested more than {_MAX_DEPTH} deep")
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return text(path, value)
    if isinstance(value, (list, tuple)):
        return tuple(frozen(f"{path}[{index}]", item, depth + 1) for index, item in enumerate(value))
    if isinstance(value, Mapping):
        for key in value:
            one_line(f"{path} (a key)", key)
        return FrozenDict({key: frozen(f"{path}.{key}", value[key], depth + 1) for key in sorted(value)})
    refuse(path, f"must be plain data, not {kind_of(value)}", hint="text, numbers, true or false, lists, mappings")


def mapping(path: str, value: object) -> FrozenDict | None:
    """Return plain data that is a mapping, made immutable, or None."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        refuse(path, f"must be a mapping, not {kind_of(value)}", hint="for example {key: value}")
    result: FrozenDict = frozen(path, value)
    return result
