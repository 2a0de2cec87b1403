"""Renderings do not change by accident: golden files pin them, and a released recipe may not change its meaning."""

from __future__ import annotations

import pytest

from imagespec.plan import RECIPE
from tests.golden.cases import FOLDER, changed_under_a_released_recipe, names, outcome, recorded
from tests.property.dockerfile_reader import parse


@pytest.mark.parametrize("name", names())
def test_a_case_is_as_it_was(name: str) -> None:
    for file, text in outcome(name).texts:
        kept = FOLDER / name / file
        assert kept.exists(), "a new case: run make golden"
        assert text == kept.read_bytes().decode(), f"{file} changed: if that is meant, raise RECIPE and run make golden"


@pytest.mark.parametrize("name", names())
def test_a_dockerfile_is_one_that_buildkit_reads(name: str) -> None:
    instructions = parse((FOLDER / name / "Dockerfile").read_bytes().decode())
    assert instructions[0].name == "FROM"
    assert [one.name for one in instructions][-2:] == ["USER", "ENV"]


def test_the_recorded_recipe_is_the_one_that_holds() -> None:
    record = recorded()
    digests = {name: outcome(name).digest for name in names()}
    assert record["recipe"] == RECIPE, "RECIPE was raised: run make golden"
    assert record["cases"] == digests, "a rendering changed: raise RECIPE, if it is released, and run make golden"
    assert len(digests) >= 60


def test_a_released_recipe_may_not_change_its_meaning() -> None:
    record = {"recipe": 3, "is_released": True, "cases": {"a": "1", "b": "2"}}
    assert changed_under_a_released_recipe(record, {"a": "1", "b": "3", "new": "4"}, 3) == ["b"]
    assert changed_under_a_released_recipe(record, {"a": "1", "b": "3"}, 4) == []
    assert changed_under_a_released_recipe({**record, "is_released": False}, {"b": "3"}, 3) == []


def test_different_specs_have_different_tags() -> None:
    tags = {name: (FOLDER / name / "tag").read_text() for name in names()}
    assert len(set(tags.values())) == len(tags)
