"""A YAML or TOML file's bytes to plain data, with errors that name the file, the line and the way out."""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any, Final

from imagespec.errors import SpecError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["parse"]

_TWICE: Final = "is there twice"
_SEVERAL: Final = "found another document"


def parse(name: str, data: bytes) -> Any:
    """Return what the file says; raise SpecError for what cannot be read, and for a key that is there twice."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SpecError(f"read {name}: line {line} is not UTF-8 text", path=name, hint="save it as UTF-8") from error
    try:
        return _toml(name, text) if name.endswith(".toml") else _yaml(name, text)
    except RecursionError as error:
        raise SpecError(f"read {name}: is nested too deeply", path=name, hint="write it flat") from error


def _toml(name: str, text: str) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said = f"{error}"[:1].lower() + f"{error}"[1:]
        hint = 'in TOML, text stands in quotes: name = "demo"'
        raise SpecError(f"read {name}: not TOML: {said}", path=name, hint=hint) from error


def _yaml(name: str, text: str) -> Any:
    import yaml

    try:
        return yaml.load(text, _loader())  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark, problem = error.problem_mark, error.problem or "cannot be read"
        line = f"line {mark.line + 1}: " if mark else ""
        if _SEVERAL in problem:
            hint = "write several specs as a list, each after a dash"
            raise SpecError(f"read {name}: {line}holds a second document", path=name, hint=hint) from error
        if _TWICE in problem:
            raise SpecError(f"read {name}: {line}{problem}", path=name, hint="join them, or remove one") from error
        hint = "indent with spaces" if r"'\t'" in problem else "check the indentation, brackets and quotes around there"
        raise SpecError(f"read {name}: {line}not YAML: {problem}", path=name, hint=hint) from error
    except (yaml.YAMLError, ValueError) as error:
        said = " ".join(str(error).split())
        raise SpecError(f"read {name}: not YAML: {said}", path=name, hint="write it as plain text") from error


@lru_cache(maxsize=1)
def _loader() -> Any:
    """Return YAML's safe loader, which takes the last of two equal keys without a word, made to refuse them."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                    if (key.tag, key.value) in seen:
                        problem = f"the key {key.value!r} {_TWICE}"
                        raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                    seen.add((key.tag, key.value))
            return super().construct_mapping(node, deep)

    return Loader
