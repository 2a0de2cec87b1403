"""What a command prints, where it cannot be taken: a message and a documented exit code, no traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = [("tag", "image.yaml"), ("schema",), ("--help",), ("plan", "--offline", "image.yaml"), ("doctor", "--help")]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_result_that_finds_no_room_is_told(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "image.yaml").write_text("name: demo\n")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "imagespec", *command],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    assert "error: stopped: no space left on device\nhint: make room" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_talk_that_finds_no_room_changes_no_exit_code(tmp_path: Path) -> None:
    (tmp_path / "image.yaml").write_text("name: demo\n")
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "imagespec", "plan", "--offline", "image.yaml", "nowhere.yaml"]
        done = subprocess.run(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=full, text=True, check=False, timeout=60
        )
    assert done.returncode == 2
    assert "demo" in done.stdout


@pytest.mark.parametrize("gone", ["stdout", "stderr"])
@pytest.mark.parametrize(
    ("command", "code"),
    [*((command, 0) for command in COMMANDS), (("plan", "--offline", "image.yaml", "nowhere.yaml"), 2)],
    ids=str,
)
def test_a_reader_that_has_gone_changes_no_exit_code(
    command: tuple[str, ...], code: int, gone: str, tmp_path: Path
) -> None:
    (tmp_path / "image.yaml").write_text("name: demo\n")
    with subprocess.Popen(
        [sys.executable, "-m", "imagespec", *command],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        closed, other = (process.stdout, process.stderr) if gone == "stdout" else (process.stderr, process.stdout)
        closed.close()
        said = other.read()
        assert process.wait(60) == code
    assert "Traceback" not in said
    assert "Broken pipe" not in said
