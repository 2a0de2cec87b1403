"""Which Python of the machine compiles bytecode for a base's."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from imagespec.builders.assembly.bytecode import find_compiler
from imagespec.builders.assembly.store import Store
from imagespec.settings import Settings


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def python(path: Path, version: str, implementation: str = "cpython") -> Path:
    """Write a program that answers as a Python of this version does."""
    path.parent.mkdir(parents=True)
    path.write_text(f'#!/bin/sh\necho \'["{path}", "{version}", "{implementation}"]\'\n')
    path.chmod(0o755)
    return path


def test_this_one_serves_its_own_version(store: Store) -> None:
    found = find_compiler(f"{sys.version_info[0]}.{sys.version_info[1]}", (), store)
    assert found is not None
    assert found.version == ".".join(map(str, sys.version_info[:3]))


def test_those_of_a_pattern_are_looked_at_newest_first(store: Store, tmp_path: Path) -> None:
    python(tmp_path / "versions/3.99.1/bin/python3.99", "3.99.1")
    newest = python(tmp_path / "versions/3.99.2/bin/python3.99", "3.99.2")
    python(tmp_path / "versions/3.98.1/bin/python3.98", "3.98.1")
    found = find_compiler("3.99", [f"{tmp_path}/versions/{{minor}}.*/bin/python{{minor}}"], store)
    assert found is not None
    assert (found.path, found.version) == (str(newest), "3.99.2")


@pytest.mark.parametrize(("version", "implementation"), [("3.98.1", "cpython"), ("3.99.1", "pypy")])
def test_one_that_is_another_is_left_out(store: Store, tmp_path: Path, version: str, implementation: str) -> None:
    other = python(tmp_path / "versions/3.99.1/bin/python3.99", version, implementation)
    assert find_compiler("3.99", [str(other)], store) is None


def test_pyenv_is_where_its_variable_says(tmp_path: Path) -> None:
    given = Settings.load({"HOME": "/home/me", "PYENV_ROOT": "/opt/pyenv"}, tmp_path).interpreters
    assert given == ("/opt/pyenv/versions/{minor}.*/bin/python{minor}",)
    assert Settings.load({"HOME": "/home/me"}, tmp_path).interpreters[0].startswith("/home/me/.pyenv/versions/")
