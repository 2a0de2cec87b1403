"""Processes of the bed: started with a mark, found again by it, ended one by one and never by name."""

from __future__ import annotations

import contextlib
import fcntl
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

_NS_GET_PARENT = 0xB702


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that cannot be mistaken for a later one of the same number: ``started`` is its start in clock ticks."""

    pid: int
    started: int


def mark(folder: Path, part: str) -> str:
    return f"{folder}|{part}"


def identify(pid: int) -> Process | None:
    """The process now running under this number, None when there is none (a dead, unreaped one counts as none)."""
    fields = _stat(pid)
    return None if not fields or fields[0] in ("Z", "X") else Process(pid=pid, started=int(fields[19]))


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
    """Running processes that carry the mark, whoever started them and whatever became of the one who did.

    A container may hold a bed at the same path: only processes beside us count, and their descendants.
    """
    wanted = f"{MARK}={owner}".encode()
    marked = [p for p in _all() if wanted in _read(f"/proc/{p.pid}/environ").split(b"\0")]
    here = _namespace("self")
    ours = {p.pid for p in marked if _namespace(p.pid) == here}
    while grown := {p.pid for p in marked if p.pid not in ours and _parent(p.pid) in ours}:
        ours |= grown
    return [p for p in marked if p.pid in ours]


def inside(folder: Path) -> list[Process]:
    """Running processes whose root file system lies in the folder: what runs in a container of our engine.

    Containers of a bed within a container have namespaces two levels below ours, and do not count.
    """
    here, mounts = _namespace("self"), _link("/proc/self/ns/mnt")
    return [
        p
        for p in _all()
        if _link(f"/proc/{p.pid}/ns/mnt") not in ("", mounts)
        and here in (_namespace(p.pid), _parent_namespace(p.pid))
        and _rooted_in(p.pid, folder)
    ]


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


def _stat(pid: int) -> list[str]:
    """The fields of the process's status line from its state on; empty when there is no such process."""
    return _read(f"/proc/{pid}/stat").decode(errors="replace").rpartition(")")[2].split()


def _parent(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def _namespace(pid: int | str) -> int | None:
    """The number of the process's PID namespace."""
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        return None


def _parent_namespace(pid: int) -> int | None:
    """The number of the PID namespace around the process's own; None where that is out of our sight."""
    try:
        with open(f"/proc/{pid}/ns/pid", "rb") as own:
            around = fcntl.ioctl(own, _NS_GET_PARENT)
            with open(around, "rb") as handle:
                return os.fstat(handle.fileno()).st_ino
    except OSError:
        return None


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
