"""Records: what changed between two plans, in the words of those who declared them."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imagespec.ledger import Entry, Ledger
from imagespec.names import Repository
from imagespec.oci import canonical_json
from imagespec.planner import make_plan
from imagespec.record import SHORTENED, Record, difference, in_a_few_words, is_shortened, record_of, shortened
from imagespec.snapshot import ContextEntry, EntryKind, RequirementLines, Snapshot, Tree
from imagespec.spec import Declaration

FILE = ContextEntry(path="app/main.py", kind=EntryKind.FILE, size_bytes=3, sha256=b"1" * 32)
SNAPSHOT = Snapshot(
    trees=(Tree(field="copy[0]", entries=(FILE,)),),
    requirements=RequirementLines(lines=("tabulate==0.9.0",), constraints=("six<2",)),
)
FIELDS: dict[str, Any] = {
    "packages": ["pandas==2.2.2"],
    "apt_packages": ["jq"],
    "env": {"A": "1"},
    "commands": ["make"],
    "python_version": "3.12",
}


def record(snapshot: Snapshot = SNAPSHOT, **changes: Any) -> Record:
    return record_of(make_plan(Declaration(**{**FIELDS, **changes}), snapshot))


def told(after: Record) -> list[str]:
    return [str(change) for change in difference(record(), after)]


def test_nothing_changed() -> None:
    assert told(record()) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"packages": ["pandas==2.2.3"]}, ["packages: pandas changed from 'pandas==2.2.2' to 'pandas==2.2.3'"]),
        ({"packages": ["pandas==2.2.2", "numpy"]}, ["packages: numpy added"]),
        ({"packages": []}, ["packages: pandas gone"]),
        ({"apt_packages": ["jq", "tree"]}, ["apt_packages: tree added"]),
        ({"env": {"A": "2"}}, ["env: A changed from '1' to '2'"]),
        ({"commands": ["make", "ls"]}, ["commands: 2 added"]),
        ({"platform": "linux/arm64"}, ["platform: linux/amd64 gone", "platform: linux/arm64 added"]),
        ({"entrypoint": []}, ["config: entrypoint changed from \"the base's\" to '[]'"]),
        ({"pip_index": "https://i.example/simple"}, ["index: pip_index changed from '' to 'https://i.example/simple'"]),
        ({"builder_options": {"user": "me"}}, ["config: user changed from 'flytekit' to 'me'"]),
        ({"name": "other", "registry": "r.example"}, []),
    ],
)
def test_what_changed_is_named(changes: dict[str, Any], expected: list[str]) -> None:
    assert told(record(**changes)) == expected


def test_files_and_requirement_lines_are_named() -> None:
    lines = RequirementLines(lines=("tabulate==0.8.10",), constraints=("six<2",))
    edited = replace(SNAPSHOT.trees[0], entries=(FILE._replace(sha256=b"2" * 32), FILE._replace(path="new.py")))
    assert told(record(Snapshot(trees=(edited,), requirements=lines))) == [
        "packages: tabulate changed from 'tabulate==0.9.0' to 'tabulate==0.8.10'",
        "files: app/main.py changed",
        "files: new.py added",
    ]


def test_a_version_of_python_changes_the_base_too() -> None:
    assert [line.split(" ")[0] for line in told(record(python_version="3.11"))] == ["base:", "python:"]


def test_one_line_shows_three_changes_and_counts_the_rest() -> None:
    changes = difference(record(), record(packages=["a", "b", "c", "d"]))
    assert in_a_few_words(changes) == "packages: a added; packages: b added; packages: c added; and 2 more"


def test_a_large_group_becomes_a_digest_and_still_differs() -> None:
    many = [f"package-{number}==1" for number in range(500)]
    whole = record(packages=many)
    short = shortened(whole, 2000)
    assert len(canonical_json(short)) <= 2000
    assert set(short["packages"]) == {SHORTENED}
    assert short["apt_packages"] == whole["apt_packages"]
    assert difference(short, whole) == ()
    (change,) = difference(short, record(packages=many[1:]))
    assert str(change) == "packages: changed, and the image's label has no room to say what"


def files(*changed: str, count: int = 400, folder: str = "pkg") -> Record:
    paths = [f"{folder}/{number % 7}/sub/module_{number}.py" for number in range(count)]
    return {"files": {path: f"file {'new' if path in changed else 'old'}" for path in [*paths, *changed, "top.py"]}}


def test_many_files_become_folders_and_what_differs_is_named_as_far_as_it_goes() -> None:
    short = shortened(files(), 2000)
    assert set(short["files"]) == {*(f"pkg/{number}/sub/" for number in range(7)), "top.py"}
    assert is_shortened(short)
    assert not is_shortened(files())
    assert difference(short, files()) == ()
    assert [str(one) for one in difference(short, files("pkg/3/sub/module_3.py"))] == ["files: pkg/3/sub/ changed"]
    assert [str(one) for one in difference(files("other/new.py"), short)] == ["files: other/new.py gone"]
    assert str(difference(short, {"files": {"top.py": "file old"}})[0]) == "files: pkg/0/sub/ gone"
    assert [str(one) for one in difference(short, files("pkg/9/x.py"))] == ["files: pkg/9/x.py added"]
    assert set(shortened(files(), 120)["files"]) == {"pkg/", "top.py"}
    flat = {"files": {f"module_{number}.py": "file old" for number in range(400)}}
    assert set(shortened(flat, 2000)["files"]) == {SHORTENED}


def test_the_ledger_remembers_the_newest_first(tmp_path: Path) -> None:
    ledger, repository = Ledger(tmp_path / "ledger"), Repository.parse("r.example/etl")
    assert ledger.entries(repository) == ()
    for number in range(30):
        ledger.remember(repository, Entry(tag=f"t{number}", record=record(), time_s=float(number)))
    ledger.remember(repository, Entry(tag="t25", record=record(packages=[]), time_s=99.0))
    known = ledger.entries(repository)
    assert [entry.tag for entry in known[:3]] == ["t25", "t29", "t28"]
    assert len(known) == 20
    assert known[0].record == record(packages=[])
    assert ledger.entries(Repository.parse("r.example/other")) == ()


def test_writers_at_the_same_time_lose_no_entry(tmp_path: Path) -> None:
    repository = Repository.parse("r.example/etl")
    threads = [
        threading.Thread(
            target=Ledger(tmp_path).remember, args=(repository, Entry(tag=f"t{number}", record=record(), time_s=1.0))
        )
        for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {entry.tag for entry in Ledger(tmp_path).entries(repository)} == {f"t{number}" for number in range(12)}
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("damage", [b"", b"not gzip", b"\x1f\x8b\x08"])
def test_a_damaged_ledger_counts_as_empty(tmp_path: Path, damage: bytes) -> None:
    ledger, repository = Ledger(tmp_path), Repository.parse("r.example/etl")
    ledger.remember(repository, Entry(tag="t", record=record(), time_s=1.0))
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage)
    assert ledger.entries(repository) == ()
    ledger.remember(repository, Entry(tag="u", record=record(), time_s=2.0))
    assert [entry.tag for entry in ledger.entries(repository)] == ["u"]
