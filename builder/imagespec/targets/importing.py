"""The user's Python modules, imported in child processes with a time limit: what was found, or why it was not."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from imagespec.errors import Cancelled, ImageSpecError, ImportFailed, InputMissing, SpecError
from imagespec.identity import Target
from imagespec.spec import Declaration
from imagespec.targets.interchange import declaration_from
from imagespec.values import dataclass
from imagespec.workers import Workers

__all__ = ["Found", "PythonModule", "import_all"]

_CHILD: Final = "imagespec.targets.discovery"


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonModule:
    """A module to look for specs in: ``name`` below ``root``, its ``file`` ("" when Python is to find it).

    ``attribute`` is the path of the one that is asked for, "" for all. ``scan`` is the folder or
    glob that it was found by, "" when it was named itself: in a scan a module may have none, and does not repeat specs
    of another. ``shown`` is for people.
    """

    name: str
    root: Path
    shown: str
    file: str = ""
    attribute: str = ""
    scan: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a module gave: its specs, or the error that stands in their place."""

    targets: tuple[Target, ...] = ()
    error: ImageSpecError | None = None


def import_all(modules: Sequence[PythonModule], cwd: Path, time_limit_s: float) -> list[Found]:
    """Return what each module holds, in order. Modules of one root share a process, so that they meet one another.

    All of them are imported before any is looked into: which code an image needs shows when all its tasks are loaded.
    A module that takes longer than ``time_limit_s`` is stopped; the others are then imported in a new process. Ctrl-C
    ends all of them.
    """
    roots: dict[Path, list[int]] = {}
    for index, module in enumerate(modules):
        roots.setdefault(module.root, []).append(index)
    results: list[Found] = [Found()] * len(modules)
    children = _Children()

    def import_root(root: Path) -> None:
        left = roots[root]
        while left:
            told = _answers([modules[index] for index in left], root, cwd, time_limit_s, children)
            for position, found in told.items():
                results[left[position]] = found
            left = [index for position, index in enumerate(left) if position not in told]

    with Workers(os.cpu_count() or 1) as workers:
        try:
            for root in roots:
                workers.submit(partial(import_root, root))
            workers.wait()
        except BaseException:
            children.end()
            raise
    return results


class _Children:
    """The processes that import, to be ended from another thread."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._is_over = False

    @contextmanager
    def child(self, writer: int, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
        """Give a process that answers to ``writer``; it ends with the block, and all that it has started."""
        with self._changing:
            if self._is_over:
                raise Cancelled("import: stopped before it began")
            child = subprocess.Popen(
                [sys.executable, "-m", _CHILD],
                stdin=subprocess.PIPE,
                # What the user's module prints is talk, not our result.
                stdout=sys.stderr.fileno() if _has_file(sys.stderr) else subprocess.DEVNULL,
                cwd=cwd,
                pass_fds=(writer,),
                start_new_session=True,
            )
            self._running.add(child)
        try:
            yield child
        finally:
            # Taken off before it is waited for: its number may be another process's from then on.
            with self._changing:
                self._running.discard(child)
            _kill(child)
            child.wait()

    def end(self) -> None:
        """End those that run, and begin no other."""
        with self._changing:
            self._is_over = True
            for child in self._running:
                _kill(child)


def _answers(
    modules: list[PythonModule], root: Path, cwd: Path, time_limit_s: float, children: _Children
) -> dict[int, Found]:
    """Return what a child process says of the modules, by their position.

    After a hang or a crash that is the module it happened in, and those that had been answered before.
    """
    reader, writer = os.pipe()
    order = {
        "root": str(root),
        "cwd": str(cwd),
        "answers": writer,
        "items": [
            {
                "module": module.name,
                "file": module.file,
                "shown": module.shown,
                "attribute": module.attribute,
                "scan": module.scan,
            }
            for module in modules
        ],
    }
    with (
        os.fdopen(reader, "rb", buffering=0),
        os.fdopen(writer, "wb", buffering=0) as answers,
        children.child(writer, cwd) as child,
    ):
        answers.close()
        assert child.stdin is not None
        with suppress(BrokenPipeError), child.stdin:
            child.stdin.write(json.dumps(order).encode())
        return dict(_read(reader, child, modules, time_limit_s))


def _read(
    reader: int, child: subprocess.Popen[bytes], modules: list[PythonModule], time_limit_s: float
) -> Iterator[tuple[int, Found]]:
    """Yield position and answer of each module: a line when it is imported, then, after all of them, what it holds."""
    lines = _Lines(reader)
    for is_answer in (False, True):
        for position, module in enumerate(modules):
            try:
                line = lines.next(time.monotonic() + time_limit_s)
            except TimeoutError:
                yield position, Found(error=_failed(module, f"it was not done after {time_limit_s:g} s", _SLOW_HINT))
                return
            except EOFError:
                yield position, Found(error=_failed(module, f"the process ended with {_ending(child)}", ""))
                return
            if is_answer:
                yield position, _found(json.loads(line), module)


class _Lines:
    """The lines that come out of a pipe."""

    def __init__(self, reader: int) -> None:
        self._reader = reader
        self._pending = b""

    def next(self, deadline: float) -> bytes:
        """Return the next line; raise TimeoutError when there is none by then, EOFError when none will come."""
        while b"\n" not in self._pending:
            ready, _, _ = select.select([self._reader], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            block = os.read(self._reader, 1 << 16)
            if not block:
                raise EOFError
            self._pending += block
        line, _, self._pending = self._pending.partition(b"\n")
        return line


_SLOW_HINT: Final = "let the module do its work in functions, or set IMAGESPEC_IMPORT_LIMIT (seconds)"


def _found(answer: dict[str, Any], module: PythonModule) -> Found:
    if "error" in answer:
        given = answer["error"]
        kind = InputMissing if given["type"] == "InputMissing" else SpecError
        return Found(error=kind(given["message"], path=given["path"], hint=given["hint"]))
    if "raised" in answer:
        traceback = tuple(answer["traceback"])
        return Found(error=_failed(module, answer["raised"], "mend the module, or name another target", traceback))
    read: list[Declaration] = []
    targets = tuple(
        Target(
            declaration=declaration_from(one["spec"], read),
            origin=one["origin"],
            modules=tuple(one["modules"]),
            code_root=one["code_root"],
        )
        for one in answer["found"]
    )
    return Found(targets=targets)


def _failed(module: PythonModule, what: str, hint: str, traceback: tuple[str, ...] = ()) -> ImportFailed:
    return ImportFailed(f"import {module.shown}: {what}", path=module.shown, traceback=traceback, hint=hint)


def _ending(child: subprocess.Popen[bytes]) -> str:
    status = child.wait()
    return f"exit code {status}" if status >= 0 else signal.Signals(-status).name


def _kill(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and whatever the user's code has started in its session."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def _has_file(stream: Any) -> bool:
    try:
        return bool(stream.fileno() >= 0)
    except (OSError, ValueError, AttributeError):
        return False
