"""Files that a folder or a glob does not mean: the ``exclude`` setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagespec.errors import SettingsError
from imagespec.settings import Settings
from imagespec.targets import named as targets


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for path in ("image.yaml", "tests/image.yaml", "tests/keep/image.yaml", "jobs/a.yaml", "jobs/b.yaml"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f"name: {path.replace('/', '-').removesuffix('.yaml')}\nregistry: r.example\n")
    return tmp_path


def names(project: Path, *sought: str, exclude: tuple[str, ...] = ()) -> list[str]:
    return [one.declaration.name for one in targets.find(sought, project, exclude=exclude).targets]


def test_patterns_are_those_of_a_gitignore(project: Path) -> None:
    assert names(project, ".", exclude=("tests/*", "!tests/keep", "jobs/b.yaml")) == [
        "image",
        "jobs-a",
        "tests-keep-image",
    ]


def test_they_hold_for_globs_and_not_for_what_is_named(project: Path) -> None:
    assert names(project, "*/*.yaml", exclude=("/jobs/",)) == ["tests-image"]
    assert names(project, "jobs/a.yaml", exclude=("/jobs/",)) == ["jobs-a"]


def test_they_come_from_the_settings(project: Path) -> None:
    (project / "imagespec.toml").write_text('exclude = ["tests/"]\n')
    assert Settings.load({"HOME": "/h"}, project).exclude == ("tests/",)
    assert Settings.load({"HOME": "/h", "IMAGESPEC_EXCLUDE": "a/, b"}, project).exclude == ("a/", "b")
    (project / "imagespec.toml").write_text('exclude = "tests/"\n')
    with pytest.raises(SettingsError, match="exclude is not a list of patterns"):
        Settings.load({"HOME": "/h"}, project)
