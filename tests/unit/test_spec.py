"""The declaration as a value: what it accepts, what it refuses, and that nothing changes it."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from enum import Enum
from pathlib import PurePosixPath
from typing import Any

import pytest

from imagespec import ImageSpec
from imagespec.errors import SpecError
from imagespec.planner import spec_id
from imagespec.spec import FIELD_NAMES, CopyFileDetection, Declaration

FLYTE_FIELDS = """
name python_version builder source_root env registry packages conda_packages conda_channels requirements apt_packages
cuda cudnn base_image platform pip_index pip_extra_index_url pip_secret_mounts pip_extra_args registry_config entrypoint
commands tag_format source_copy_mode copy python_exec runtime_packages builder_options builder_config
"""

FULL: dict[str, Any] = {
    "name": "Team/App",
    "python_version": "3.12",
    "builder": "buildkit",
    "source_root": "src",
    "env": {"B": "2", "A": "1"},
    "registry": "GHCR.io/Team",
    "packages": ["Pandas>=2", "b"],
    "conda_packages": ["numpy=1"],
    "conda_channels": ["conda-forge"],
    "requirements": PurePosixPath("requirements.txt"),
    "apt_packages": ["git"],
    "cuda": "12",
    "cudnn": "8",
    "base_image": "debian",
    "platform": ["linux/arm64", "linux/amd64"],
    "pip_index": "https://index.example/simple",
    "pip_extra_index_url": ["https://other.example/simple"],
    "pip_secret_mounts": [[".netrc", "/root/.netrc"]],
    "pip_extra_args": "--pre",
    "registry_config": "config.json",
    "entrypoint": ["a", ""],
    "commands": ["true"],
    "tag_format": "{spec_hash}-dev",
    "source_copy_mode": "all",
    "copy": ["app", PurePosixPath("data")],
    "python_exec": "/usr/bin/python3",
    "runtime_packages": ["pytest"],
    "builder_options": {"labels": {"b": "1", "a": [1, 2.5, None, True]}},
    "builder_config": {"uv_image": "uv:1"},
}


def test_the_fields_are_flytes() -> None:
    assert list(FIELD_NAMES) == FLYTE_FIELDS.split()
    assert set(FULL) == set(FIELD_NAMES)


def test_every_field_is_kept_normalised_and_immutable() -> None:
    spec = Declaration(**FULL)
    assert spec.name == "team/app"
    assert spec.registry == "ghcr.io/team"
    assert spec.packages == ("pandas>=2", "b")
    assert list(spec.env or {}) == ["A", "B"]
    assert spec.base_image == "docker.io/library/debian:latest"
    assert spec.platform == "linux/amd64,linux/arm64"
    assert spec.copy == ("app", "data")
    assert spec.requirements == "requirements.txt"
    assert spec.pip_secret_mounts == ((".netrc", "/root/.netrc"),)
    assert spec.source_copy_mode is CopyFileDetection.ALL
    assert (spec.builder_options or {})["labels"]["a"] == (1, 2.5, None, True)
    hash(spec)
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        spec.env["C"] = "3"  # type: ignore[index]


def test_later_changes_of_what_was_given_change_nothing() -> None:
    packages, options = ["a"], {"labels": {"x": "y"}}
    spec = Declaration(packages=packages, builder_options=options)
    packages.append("b")
    options["labels"]["x"] = "z"
    assert spec == Declaration(packages=["a"], builder_options={"labels": {"x": "y"}})


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda spec: pickle.loads(pickle.dumps(spec))])
def test_copies_and_pickles_are_equal(duplicate: Any) -> None:
    spec = ImageSpec(**{**FULL, "base_image": ImageSpec(packages=["a"])}, folder="/x").force_push()
    other = duplicate(spec)
    assert other == spec
    assert spec_id(other) == spec_id(spec)
    assert (other.is_forced, other.folder) == (True, "/x")


def test_an_unknown_key_is_named_with_the_nearest_one() -> None:
    with pytest.raises(SpecError, match=r"^package: is not a field of ImageSpec$") as caught:
        Declaration(package=["a"])  # type: ignore[call-arg]
    assert caught.value.hint == "did you mean 'packages'?"
    assert caught.value.path == "package"
    with pytest.raises(SpecError, match=r"^zzz:") as caught:
        Declaration(zzz=1)  # type: ignore[call-arg]
    assert caught.value.hint.startswith("one of: apt_packages, ")


def test_errors_are_value_errors_with_exit_code_2() -> None:
    with pytest.raises(ValueError, match="python_version") as caught:
        Declaration(python_version=3.10)  # type: ignore[arg-type]
    assert isinstance(caught.value, SpecError)
    assert caught.value.exit_code == 2
    assert "3.10 without quotes is the number 3.1" in caught.value.hint


class FlyteMode(Enum):
    ALL = 7


@pytest.mark.parametrize("value", [CopyFileDetection.ALL, "ALL", "all", FlyteMode.ALL])
def test_copy_modes_come_in_many_forms(value: Any) -> None:
    assert Declaration(source_root=".", source_copy_mode=value).source_copy_mode is CopyFileDetection.ALL


def test_a_source_root_alone_means_the_loaded_modules() -> None:
    assert Declaration(source_root=".").source_copy_mode is CopyFileDetection.LOADED_MODULES
    assert Declaration().source_copy_mode is None
    assert Declaration(source_copy_mode="NO_COPY").source_copy_mode is CopyFileDetection.NO_COPY
    assert Declaration(source_copy_mode="ALL").source_root is None, "the project's folder may come later"
    with pytest.raises(SpecError, match="is not a copy mode") as caught:
        Declaration(source_copy_mode="EVERYTHING")
    assert caught.value.path == "source_copy_mode"


@pytest.mark.parametrize(
    ("method", "field"),
    [
        ("with_packages", "packages"),
        ("with_apt_packages", "apt_packages"),
        ("with_commands", "commands"),
        ("with_copy", "copy"),
        ("with_runtime_packages", "runtime_packages"),
    ],
)
def test_with_adds_and_keeps_force_and_type(method: str, field: str) -> None:
    first = ImageSpec(**{field: ["aa"]}, folder="/x")
    more = getattr(getattr(first.force_push(), method)("bb"), method)(["cc", "dd"])
    assert getattr(more, field) == ("aa", "bb", "cc", "dd")
    assert getattr(first, field) == ("aa",)
    assert (type(more), more.is_forced, more.folder) == (ImageSpec, True, "/x")
    assert getattr(getattr(ImageSpec(), method)("bb"), field) == ("bb",)


def test_with_checks_what_is_added() -> None:
    with pytest.raises(SpecError, match=r"^apt_packages\[1\]: "):
        Declaration(apt_packages=["git"]).with_apt_packages("rm -rf /")


def test_builder_options_are_added_one_by_one() -> None:
    spec = Declaration(builder_options={"user": "a", "cache": True}).with_builder_options({"user": "b"})
    assert spec.builder_options == {"user": "b", "cache": True}


def test_from_env_pins_what_is_installed_here() -> None:
    spec = ImageSpec.from_env(pinned_packages=["pytest"], packages=["a"], name="x")
    assert spec.packages is not None
    assert spec.packages[0] == "a"
    assert spec.packages[1] == f"pytest=={pytest.__version__}"
    assert spec.python_version is not None
    with pytest.raises(SpecError, match=r"^pinned_packages\[0\]: no-such-package is not installed here"):
        ImageSpec.from_env(pinned_packages=["no-such-package"])
    with pytest.raises(SpecError, match=r"^python_version: from_env takes it"):
        ImageSpec.from_env(python_version="3.11")


def test_force_is_no_part_of_identity() -> None:
    spec = Declaration(packages=["a"])
    assert spec.force_push() == spec
    assert spec.force_push().is_forced
    assert not spec.is_forced
    assert hash(spec.force_push()) == hash(spec)


@pytest.mark.parametrize("is_sent_beside", [True, False])
@pytest.mark.parametrize(
    ("declared", "baked", "beside"),
    [
        ({}, {"source_root": "/p", "source_copy_mode": "LOADED_MODULES"}, {}),
        ({"source_root": "src"}, {"source_root": "src"}, {"source_root": "src"}),
        ({"source_copy_mode": "ALL"}, {"source_root": "/p", "source_copy_mode": "ALL"}, None),
        ({"source_copy_mode": "NO_COPY"}, {"source_copy_mode": "NO_COPY"}, None),
        ({"source_root": "src", "source_copy_mode": "ALL"}, {"source_root": "src", "source_copy_mode": "ALL"}, None),
    ],
)
def test_the_code_goes_into_the_image_or_beside_it(
    declared: dict[str, Any], baked: dict[str, Any], beside: dict[str, Any] | None, is_sent_beside: bool
) -> None:
    wanted = baked if beside is None or not is_sent_beside else beside
    given = Declaration(**declared)
    assert given.with_code("/p", is_sent_beside=is_sent_beside) == Declaration(**wanted)
    assert given.with_code(None, is_sent_beside=is_sent_beside) == given
