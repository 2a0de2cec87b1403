"""``imagespec cache``: what is kept on this machine, and how it is pruned."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from imagespec.builders.assembly.store import Store
from imagespec.cli import cli
from imagespec.errors import SettingsError, SpecError


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with four files of 1,000 bytes, used one after the other."""
    made = Store(tmp_path / "daemonless")
    for number, kind in enumerate(("wheels", "layers", "layers", "bytecode")):
        made.write(kind, lambda out, n=number: (out.write(bytes(1000)), f"file{n}")[1])  # type: ignore[misc]
        os.utime(made.path(kind, f"file{number}"), (number + 1, number + 1))
    made.close()
    return made


def run(store: Store, *words: str) -> Result:
    folder = store.path("wheels", "x").parents[3]
    return CliRunner().invoke(cli, ["cache", *words], env={"IMAGESPEC_CACHE": str(folder)})


def test_a_line_a_kind_and_the_sum(store: Store) -> None:
    lines = run(store, "list").output.splitlines()
    assert [line.split()[:2] for line in lines] == [["bytecode", "1"], ["layers", "2"], ["wheels", "1"], ["in", "all"]]
    assert lines[-1].split() == ["in", "all", "4", "files", "0.0", "MB"]


def test_a_record_a_file(store: Store) -> None:
    records = [json.loads(line) for line in run(store, "list", "--format", "json").output.splitlines()]
    assert {"kind": "wheels", "name": "file0", "bytes": 1000, "used": 1.0} in records
    assert len(records) == 4


@pytest.mark.parametrize(
    ("keep", "removed"),
    [("0", 4), ("1000", 3), ("2K", 2), ("2.5k", 2), ("4000B", 0), ("1MB", 0), ("1 GiB", 0)],
)
def test_what_was_used_last_stays_within_the_limit(store: Store, keep: str, removed: int) -> None:
    assert run(store, "prune", "--keep", keep).output.startswith(f"removed {removed} files")
    assert {one.name for one in store.list()} == {f"file{number}" for number in range(removed, 4)}


def test_without_a_size_the_limit_of_the_settings_holds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(store, "prune").output == "removed 0 files, 0.0 MB\n"
    monkeypatch.setenv("IMAGESPEC_CACHE_LIMIT", "2K")
    assert run(store, "prune").output.startswith("removed 2 files")
    monkeypatch.setenv("IMAGESPEC_CACHE_LIMIT", "some")
    wrong = run(store, "prune")
    assert isinstance(wrong.exception, SettingsError)
    assert str(wrong.exception) == "IMAGESPEC_CACHE_LIMIT: 'some' is not a size"


def test_what_is_removed_is_told(store: Store) -> None:
    told = [
        json.loads(line)["name"] for line in run(store, "prune", "--keep", "3K", "--format", "json").output.splitlines()
    ]
    assert told == ["file0"]


@pytest.mark.parametrize("keep", ["much", "-1", "1X", ""])
def test_what_is_no_size_is_refused(store: Store, keep: str) -> None:
    wrong = run(store, "prune", "--keep", keep)
    assert isinstance(wrong.exception, SpecError)
    assert "is not a size" in str(wrong.exception)
    assert "500M" in wrong.exception.hint
    assert len(list(store.list())) == 4


def test_an_empty_machine_has_nothing(tmp_path: Path) -> None:
    nothing = Store(tmp_path / "daemonless")
    assert run(nothing, "list").output.split() == ["in", "all", "0", "files", "0.0", "MB"]
    assert run(nothing, "prune").output == "removed 0 files, 0.0 MB\n"
