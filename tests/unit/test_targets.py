"""What the command line names, to declarations."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from imagespec.errors import ImageSpecError, InputMissing, SpecError
from imagespec.spec import Declaration
from imagespec.targets.named import load, reference_of

unique = itertools.count()


def one(name: str, folder: Path) -> Declaration:
    (target,) = load(name, folder)
    return target.declaration


def module(folder: Path, text: str) -> str:
    """Write a module under a name that no other test uses, and return the name."""
    name = f"specs_{next(unique)}_of_a_test"
    (folder / f"{name}.py").write_text(f"from imagespec import ImageSpec\n{text}")
    return name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "name: demo\nenv: {A: b}\n"),
        ("a.yml", "{name: demo, env: {A: b}}"),
        ("a.toml", "name = 'demo'\nenv = {A = 'b'}\n"),
    ],
)
def test_a_data_file_is_one_spec_beside_its_files(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / name).write_text(text)
    spec = one(f"sub/{name}", tmp_path)
    assert (spec.name, spec.env) == ("demo", {"A": "b"})
    assert spec.folder == str(tmp_path / "sub")


def test_a_list_is_many_specs_each_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("- name: one\n- name: two\n  base_image: {name: base, packages: [x]}\n")
    first, second = load("a.yaml", tmp_path)
    assert (first.origin, first.declaration.name, second.origin) == ("a.yaml[0]", "one", "a.yaml[1]")
    assert isinstance(second.declaration.base_image, Declaration)
    assert second.declaration.base_image.packages == ("x",)


def test_python_files_and_modules_by_attribute(tmp_path: Path) -> None:
    name = module(tmp_path, "image = ImageSpec(name='one')\nclass Jobs:\n    etl = ImageSpec(name='two')\n")
    assert one(f"{name}:image", tmp_path).name == "one"
    assert one(f"{name}.py:Jobs.etl", tmp_path).name == "two"
    assert {target.declaration.name for target in load(f"{name}.py", tmp_path)} >= {"one"}


@pytest.mark.parametrize("name", ["nowhere.yaml", "nowhere.toml", "nowhere.py", "nowhere_at_all:image"])
def test_what_is_not_there_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputMissing) as caught:
        load(name, tmp_path)
    assert caught.value.hint


def test_what_is_no_spec_is_told(tmp_path: Path) -> None:
    name = module(tmp_path, "number = 4\n")
    for target in (f"{name}:number", f"{name}:missing", f"{name}.py", "no such thing"):
        with pytest.raises(SpecError):
            load(target, tmp_path)


@pytest.mark.parametrize("target", ["", " "])
def test_a_target_that_is_empty_does_not_mean_everything(target: str, tmp_path: Path) -> None:
    (tmp_path / "image.yaml").write_text("name: demo\npackages: [x]\n")
    assert load(".", tmp_path)
    with pytest.raises(SpecError, match="target: is empty"):
        load(target, tmp_path)


def test_an_error_names_the_file_and_the_place(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("- name: one\n- {name: two, base_image: {pakages: [x]}}\n")
    with pytest.raises(
        ImageSpecError, match=r"^a\.yaml\[1\]: base_image: pakages is not a field of ImageSpec$"
    ) as caught:
        load("a.yaml", tmp_path)
    assert caught.value.hint == "did you mean 'packages'?"


def test_an_error_in_the_users_module_names_the_line(tmp_path: Path) -> None:
    name = module(tmp_path, "\nimage = ImageSpec(name='one', apt_packages='git')\n")
    with pytest.raises(SpecError, match=rf"^{name}\.py:3: apt_packages: must be a list, not text$"):
        load(f"{name}.py", tmp_path)


@pytest.mark.parametrize("text", ["ghcr.io/team/app:v1", "localhost:5000/app", "ubuntu"])
def test_references_are_told_from_files_and_modules(tmp_path: Path, text: str) -> None:
    assert reference_of(text, tmp_path) is not None


@pytest.mark.parametrize("text", ["image.yaml", "x.py", "x.py:image", "json:loads", "folder"])
def test_files_and_modules_are_no_references(tmp_path: Path, text: str) -> None:
    (tmp_path / "folder").mkdir()
    assert reference_of(text, tmp_path) is None
