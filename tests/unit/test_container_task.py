"""What a container task refuses when it is declared."""

from __future__ import annotations

from typing import Any

import pytest

from imagespec import ImageSpec
from imagespec.errors import SpecError
from imagespec.task import ContainerTask, Resources

LATE = ImageSpec(name="late", runtime_packages=["humanize"])
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"image": LATE}, "image", "its runtime_packages are installed by pyflyte's command"),
    ({"resources": Resources(cpu="1"), "requests": Resources(cpu="1")}, "resources", "cannot be used together with"),
    ({"resources": Resources(cpu="1"), "limits": Resources(cpu="1")}, "resources", "cannot be used together with"),
    ({"secret_requests": ["db"]}, "secret_requests", "is a str, not a Secret"),
]


@pytest.mark.parametrize(("changes", "path", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_cannot_be_meant_is_refused_by_name(changes: dict[str, Any], path: str, message: str) -> None:
    fields: dict[str, Any] = {"name": "count", "image": "alpine:3", "command": ["true"], **changes}
    with pytest.raises(SpecError, match=message) as raised:
        ContainerTask(**fields)
    assert raised.value.path == path


def test_an_image_with_packages_at_build_time_is_taken() -> None:
    image = LATE.replaced(runtime_packages=None, packages=["humanize"])
    assert ContainerTask("count", image, ["true"]).image is image
