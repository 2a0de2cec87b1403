"""What cannot be built is refused by name, before anything is written."""

from __future__ import annotations

from typing import Any

import pytest

from imagespec.builders import BuildOptions
from imagespec.errors import InputMissing, Unsupported, WrongPlatform
from tests.fakes.registry import FakeRegistry
from tests.integration.daemonless.places import SOURCES, Offline
from tests.integration.sources import plan_of

pytestmark = pytest.mark.integration


def test_a_package_without_a_wheel_is_refused_before_anything_is_written(offline: Offline) -> None:
    registry = FakeRegistry()
    plan = plan_of(SOURCES, offline.digest, base_image=f"oci-layout:{offline.layout}", packages=["docopt==0.6.2"])
    with pytest.raises(Unsupported, match=r"docopt==0\.6\.2 has no wheel") as raised:
        offline.builder(registry).prepare(plan, offline.options())
    assert raised.value.field == "packages"
    assert "buildkit" in raised.value.hint
    assert not [method for method, _ in registry.calls if method.startswith(("write", "mount"))]


@pytest.mark.parametrize(
    ("declared", "field"),
    [
        ({"apt_packages": ["curl"]}, "apt_packages"),
        ({"conda_packages": ["curl"]}, "conda_packages"),
        ({"commands": ["true"]}, "commands"),
        ({"packages": ["x @ git+https://git.test/x"]}, "packages"),
        ({"pip_extra_args": "--target /x"}, "pip_extra_args"),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(offline: Offline, declared: dict[str, Any], field: str) -> None:
    with pytest.raises(Unsupported) as raised:
        offline.builder(FakeRegistry()).check(offline.plan(**declared))
    assert raised.value.field == field
    assert "buildkit" in raised.value.hint


def test_a_base_without_the_python_asked_for(offline: Offline) -> None:
    with pytest.raises(Unsupported, match=r"no Python 3\.12, it has 3\.11\.2") as raised:
        offline.builder(FakeRegistry()).prepare(offline.plan(python_version="3.12"), offline.options())
    assert raised.value.field == "python_version"


def test_a_base_of_another_platform(offline: Offline) -> None:
    with pytest.raises(WrongPlatform):
        offline.builder(FakeRegistry()).prepare(offline.plan(platform="linux/arm64"), offline.options())


def test_a_base_that_is_not_there(offline: Offline) -> None:
    plan = offline.plan(base_image="registry.test/nothing:here")
    with pytest.raises(InputMissing, match=r"registry\.test/nothing:here"):
        offline.builder(FakeRegistry()).prepare(plan, BuildOptions())
