"""docs/seed.md answers for every name of flytekit's page, and what it says can be imported."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = json.loads((ROOT / "testdata" / "seed" / "names.json").read_text())
_ROW = re.compile(r"\| `(?P<name>[\w.]+)` \| (?P<kind>\w+) \| (?P<text>.+) \|")


def names() -> Iterator[str]:
    for name, members in NAMES["classes"].items():
        yield name
        yield from (f"{name}.{member}" for member in (*members["methods"], *members["properties"]))
    yield from (*NAMES["functions"], *NAMES["variables"])


def rows() -> list[tuple[str, str, str]]:
    text = (ROOT / "docs" / "seed.md").read_text()
    return [(row["name"], row["kind"], row["text"]) for row in _ROW.finditer(text)]


def resolved(path: str) -> Any:
    """Return what a dotted path leads to: a module's attribute, a class's member, or a field of a dataclass."""
    parts = path.split(".")
    for count in range(len(parts), 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            value = getattr(value, part)
        return value
    raise AssertionError(path)


def test_every_name_has_one_answer_and_no_other_name_has() -> None:
    assert sorted(name for name, _, _ in rows()) == sorted(names())
    assert len(list(names())) > 130


@pytest.mark.parametrize(("name", "kind", "text"), rows(), ids=[name for name, _, _ in rows()])
def test_the_answer_holds(name: str, kind: str, text: str) -> None:
    if kind == "absent":
        assert len(text) > 20, "the reason is said"
        return
    path = text.strip("`")
    value = resolved(path)
    assert path.startswith(
        "imagespec.flyte.execution." if kind == "flytekit" else ("imagespec.task.", "imagespec.ImageSpec")
    )
    if kind == "ours" and inspect.isfunction(value):
        assert inspect.getdoc(value), "what it returns is said"


OURS = {name: text.strip("`") for name, kind, text in rows() if kind == "ours" and name in NAMES["classes"]}


@pytest.mark.parametrize("name", OURS)
def test_our_classes_take_the_parameters_of_the_page(name: str) -> None:
    made = resolved(OURS[name])
    # An ImageSpec's constructor takes any keyword, to say which fields there are when it is given another.
    taken = made.__dataclass_fields__ if name == "ImageSpec" else inspect.signature(made).parameters
    given = [one for one in NAMES["classes"][name]["parameters"] if one != "kwargs"]
    assert [one for one in given if one not in taken] == []
