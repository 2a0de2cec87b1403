"""The user's modules while they are imported: who stops the command stops them, and what they have started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PATIENCE_S = 30.0
SLOW = """
import os, subprocess, sys, time
started = subprocess.Popen(["sleep", "120"])
with open("beating", "w") as file:
    file.write(f"{os.getpid()} {started.pid}")
os.rename("beating", "running")
time.sleep(120)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", [("tag",), ("build",), ("plan", "--offline")], ids=" ".join)
def test_an_import_that_is_interrupted_ends_at_once_with_all_that_it_started(
    command: tuple[str, ...], number: signal.Signals, tmp_path: Path
) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    # A second root is a second child: that one must not be begun any more, or be ended too.
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "quick.py").write_text("from imagespec import ImageSpec\nimage = ImageSpec()\n")
    arguments = [sys.executable, "-m", "imagespec", *command, "slow.py", "other/quick.py"]
    with subprocess.Popen(
        arguments, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            running = _written(tmp_path / "running")
            began = time.monotonic()
            process.send_signal(number)
            said, errors = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert time.monotonic() - began < PATIENCE_S / 3
    assert process.returncode == 130
    assert said == ""
    assert "Traceback" not in errors
    assert "error: stopped" in errors
    deadline = time.monotonic() + PATIENCE_S
    while (left := [number for number in running if _is_there(number)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left == []


def _written(file: Path) -> list[int]:
    deadline = time.monotonic() + PATIENCE_S
    while not file.exists():
        assert time.monotonic() < deadline, "the module was not imported"
        time.sleep(0.01)
    return [int(number) for number in file.read_text().split()]


def _is_there(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{process_id}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
