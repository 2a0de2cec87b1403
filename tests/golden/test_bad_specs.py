"""Wrong specs are answered in one paragraph that names the place and the way out, with exit code 2."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.golden.bad import FOLDER, MESSAGES, names, said

EXPECTED: dict[str, list[str]] = json.loads(MESSAGES.read_text())


@pytest.mark.parametrize("name", names())
def test_a_wrong_spec_is_answered_as_expected(name: str) -> None:
    assert said(name) == EXPECTED.get(name), "a message changed: read it as a stranger would, then make golden"


@pytest.mark.parametrize("name", names())
def test_an_answer_says_where_what_and_the_way_out(name: str) -> None:
    code, *lines = EXPECTED[name]
    assert code == "exit 2"
    assert [line.split(": ")[0] for line in lines] == ["error", "hint"]
    assert name in lines[0], "which file it is about"
    assert all(line.isprintable() and len(line) < 500 for line in lines)
    assert "hunter2" not in "".join(lines)
    assert "failed to" not in lines[0]


def test_there_are_many() -> None:
    assert len(EXPECTED) >= 60
    assert sorted(EXPECTED) == names()


def test_the_command_says_the_same_without_a_traceback() -> None:
    files = ("packages-credentials.yaml", "toml-broken.toml", "copy-outside.yaml")
    for name in files:
        command = [sys.executable, "-m", "imagespec", "tag", name]
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False, timeout=60)
        assert [f"exit {done.returncode}", *done.stderr.splitlines()] == EXPECTED[name]
        assert done.stdout == ""
