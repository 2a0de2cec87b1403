"""Processes of the bed: started with a mark, found again by it, ended one by one and never by name."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: In the environment of every process we start: "<folder>|<part>". It survives us, so a later run knows its own.
MARK = "IMAGESPEC_TESTBED_OWNER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that cannot be mistaken for a later one of the same number: ``started`` is its start in clock ticks."""

    pid: int
    started: int


def mark(folder: Path, part: str) -> str:
    return f"{folder}|{part}"


def identify(pid: int) -> Process | None:
    """The process now running under this number, None when there is none (a dead, unreaped one counts as none)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else Process(pid=pid, started=int(fields[19]))


def is_alive(process: Process) -> bool:
    return identify(process.pid) == process


def name(process: Process) -> str:
    """What the kernel calls it (15 characters at most)."""
    return _read(f"/proc/{process.pid}/comm").decode(errors="replace").strip()


def spawn(argv: Sequence[str], *, owner: str, log: Path, env: Mapping[str, str]) -> Process:
    """Starts a process that outlives us, its output in the log file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as output:
        child = subprocess.Popen(
            argv,
            env={**env, MARK: owner},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            start_new_session=True,
        )
    return identify(child.pid) or Process(pid=child.pid, started=-1)


def owned(owner: str) -> list[Process]:
    """Running processes that carry the mark, whoever started them and whatever became of the one who did."""
    wanted = f"{MARK}={owner}".encode()
    return [p for p in _all() if wanted in _read(f"/proc/{p.pid}/environ").split(b"\0")]


def inside(folder: Path) -> list[Process]:
    """Running processes whose root file system lies in the folder: what runs in a container of our engine."""
    ours = _link("/proc/self/ns/mnt")
    return [p for p in _all() if _link(f"/proc/{p.pid}/ns/mnt") not in ("", ours) and _rooted_in(p.pid, folder)]


def stop(processes: Iterable[Process], *, grace_s: float) -> None:
    """Asks each to end, and ends it after the grace; returns when all are gone."""
    handles = [h for h in (_open(p) for p in processes) if h is not None]
    try:
        _signal(handles, signal.SIGTERM)
        left = _wait(handles, grace_s)
        _signal(left, signal.SIGKILL)
        _wait(left, 10)
    finally:
        for handle in handles:
            os.close(handle)


def _all() -> list[Process]:
    try:
        numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except FileNotFoundError:  # not Linux: nothing of ours can run there
        return []
    found = (identify(pid) for pid in numbers if pid != os.getpid())
    return [p for p in found if p is not None]


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:  # gone meanwhile, or somebody else's
        return b""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _rooted_in(pid: int, folder: Path) -> bool:
    prefix = os.fsencode(f"{folder}/")
    for line in _read(f"/proc/{pid}/mountinfo").splitlines():
        if line.split(b" ")[4] == b"/":
            return prefix in line
    return False


def _open(process: Process) -> int | None:
    """A handle that stays with this very process; None when it is gone."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    if is_alive(process):
        return handle
    os.close(handle)
    return None


def _signal(handles: Iterable[int], number: signal.Signals) -> None:
    for handle in handles:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)


def _wait(handles: Sequence[int], timeout_s: float) -> list[int]:
    """The ones still running after the time given."""
    deadline = time.monotonic() + timeout_s
    left = list(handles)
    while left and (rest := deadline - time.monotonic()) > 0:
        poll = select.poll()
        for handle in left:
            poll.register(handle, select.POLLIN)
        gone = {handle for handle, _ in poll.poll(int(rest * 1000) + 1)}
        left = [handle for handle in left if handle not in gone]
    return left
