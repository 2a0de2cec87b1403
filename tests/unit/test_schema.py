"""The JSON Schema: valid itself, complete, and in agreement with every spec of the project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from imagespec.builder_options import BUILD_KEYS, PLAN_KEYS
from imagespec.schema import json_schema
from imagespec.spec import FIELD_NAMES

ROOT = Path(__file__).resolve().parents[2]


def specs() -> list[Path]:
    found = [ROOT / "testdata" / "demo" / "image.yaml", *(ROOT / "testdata" / "golden").rglob("*.yaml")]
    return sorted(path for path in found if "name" in (yaml.safe_load(path.read_text()) or {}))


def errors(value: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(json_schema())
    return [error.message for error in validator.iter_errors(value)]


def test_it_is_a_schema_and_describes_every_field_and_option() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    properties = schema["$defs"]["spec"]["properties"]
    assert tuple(properties) == FIELD_NAMES
    assert all(shape["description"] for shape in properties.values())
    assert set(properties["builder_options"]["properties"]) == {*PLAN_KEYS, *BUILD_KEYS}


@pytest.mark.parametrize("path", specs(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_spec_of_the_project_is_valid(path: Path) -> None:
    assert errors(yaml.safe_load(path.read_text())) == []


@pytest.mark.parametrize(
    "value",
    [
        {"nam": "x"},
        {"python_version": 3.1},
        {"packages": "numpy"},
        {"source_copy_mode": "SOME"},
        {"tag_format": "latest"},
        {"base_image": {"packagess": []}},
        {"builder_options": {"cahce": True}},
        {"pip_secret_mounts": [["only-one"]]},
        "a text",
    ],
    ids=str,
)
def test_what_is_wrong_is_found(value: Any) -> None:
    assert errors(value)
