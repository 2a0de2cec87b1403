"""docs/settings.md names every setting that the program reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from imagespec import settings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "settings.md").read_text()
SOURCE = Path(settings.__file__).read_text()
VARIABLES = sorted(set(re.findall(r'"((?:IMAGESPEC|FLYTE|DOCKER|REGISTRY|SSL|REQUESTS|CURL)_[A-Z_]+)"', SOURCE)))
KEYS = sorted(set(re.findall(r'"([a-z_]+)"', re.search(r"^_TEXTS: Final = \(([^)]*)\)", SOURCE, re.MULTILINE)[1])))


def test_the_lists_are_found_in_the_source() -> None:
    assert {"IMAGESPEC_CACHE", "IMAGESPEC_MIRRORS", "DOCKER_HOST"} <= set(VARIABLES)
    assert {"store_dir", "builder"} <= set(KEYS)


@pytest.mark.parametrize("name", [*VARIABLES, *KEYS])
def test_every_setting_is_on_the_page(name: str) -> None:
    assert f"`{name}`" in PAGE
