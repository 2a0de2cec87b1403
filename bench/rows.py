"""What every part of the bench shares: whole processes run A B A B, and their figures as rows.

``Runner`` is a command, ``Run`` what one process of it took, ``in_turn`` takes the runs of several in turn, and ``row``
makes of two sides' runs what the report shows. Of our own commands one run more is sampled: where its time goes.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

__all__ = [
    "ROOT",
    "Run",
    "Runner",
    "attempts",
    "cache_folder",
    "failure",
    "in_turn",
    "limit",
    "only_step",
    "patience_s",
    "peer_python",
    "row",
    "say",
    "steps_seen",
    "test_bed",
]

ROOT = Path(__file__).resolve().parents[1]
_OURS = ("imagespec", "with us")
_PLACES = 6

#: How many seconds rounds of the same commands may go on: on a busy machine there are fewer of them.
patience_s = ContextVar("patience_s", default=40.0)
#: The one step to measure, by its function's name; "" for all. ``steps_seen`` is told of every step there was.
only_step = ContextVar("only_step", default="")
steps_seen: ContextVar[list[str]] = ContextVar("steps_seen")
_TOLD = 300
#: A command that takes longer than this hangs: the slowest, with empty caches, take half a minute.
_HANGS_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One process: seconds from start to end, its peak memory, and the figures it printed as ``bench_name=seconds``.

    ``cpu_s`` is the processor time of it and of its children, which a machine with other work hardly changes.
    ``places`` are the largest parts of its time, (where, share), of a run that was sampled.
    """

    wall_s: float
    peak_bytes: int
    printed: Mapping[str, float]
    command: str = ""
    places: tuple[tuple[str, float], ...] = ()
    cpu_s: float = 0.0

    def seconds(self, what: str) -> float:
        return self.wall_s if what == "wall" else self.printed[what]


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """A command, and what must be done before each of its runs (outside the time)."""

    who: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[], None] = lambda: None
    statuses: Sequence[int] = (0,)
    hangs_s: float = _HANGS_S

    def run(self) -> Run:
        """Return the figures of one run; raise RuntimeError with its output when it fails, TimeoutError if it hangs."""
        self.before()
        environment = {**_plain_environment(), **self.environment}
        with tempfile.TemporaryFile() as out:
            start = time.perf_counter()
            process = subprocess.Popen(
                self.command, stdout=out, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
            with _ended_after(process.pid, self.hangs_s) as ended:
                _, status, usage = os.wait4(process.pid, 0)
            wall_s = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            text = out.read().decode("utf-8", "replace")
        if ended:
            raise TimeoutError(f"{self.who}: ended after {self.hangs_s:.0f} s: {text[-2000:]}")
        if process.returncode not in self.statuses:
            raise RuntimeError(f"{self.who}: exit status {process.returncode}: {text[-2000:]}")
        unit = 1 if sys.platform == "darwin" else 1024
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        command = shlex.join([*(["env", *variables] if variables else []), *self.command])
        return Run(
            wall_s=wall_s,
            peak_bytes=usage.ru_maxrss * unit,
            printed=_figures(text),
            command=command,
            cpu_s=usage.ru_utime + usage.ru_stime,
        )

    def places(self) -> tuple[tuple[str, float], ...]:
        """Run once more, sampled, and return where the largest parts of the time went, as shares of the whole."""
        with tempfile.NamedTemporaryFile(suffix=".json") as out:
            head = [sys.executable, str(Path(__file__).with_name("profiled.py")), out.name]

            def before() -> None:
                self.before()
                command[:] = [*head, *_after_python(self.command)]

            command: list[str] = []
            try:
                run = replace(self, command=command, before=before).run()
                seconds: dict[str, float] = json.loads(Path(out.name).read_text())
            except (RuntimeError, TimeoutError, ValueError) as error:
                say(f"{self.who}: without a profile: {error}")
                return ()
        seconds["start and end of the process"] = max(0.0, run.wall_s - sum(seconds.values()))
        ordered = sorted(seconds.items(), key=lambda item: -item[1])
        return tuple((where, round(taken / run.wall_s, 3)) for where, taken in ordered[:_PLACES])


@contextmanager
def _ended_after(process_id: int, seconds: float) -> Iterator[list[int]]:
    """End the process, and what it started, when it takes too long, or when we are interrupted; then say so."""
    ended: list[int] = []

    def end() -> None:
        ended.append(process_id)
        with suppress(ProcessLookupError):
            os.killpg(process_id, signal.SIGKILL)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield ended
    except BaseException:
        end()
        raise
    finally:
        timer.cancel()


def in_turn(runners: Sequence[Runner], times: int, clock: Callable[[], float] = time.monotonic) -> list[list[Run]]:
    """Return the runs of each runner, taken in turn (A B A B), after one run of each that does not count.

    There are ``times`` rounds, or fewer when they take longer than ``patience_s``, but one at least.
    """
    end = clock() + patience_s.get()
    for runner in runners:
        _run(runner)
    rounds = [[_run(runner) for runner in runners]]
    while len(rounds) < times and clock() < end:
        rounds.append([_run(runner) for runner in runners])
    found = [list(runs) for runs in zip(*rounds, strict=True)]
    for runner, runs in zip(runners, found, strict=True):
        if runner.who.startswith(_OURS) and _after_python(runner.command):
            runs[0] = replace(runs[0], places=runner.places())
    return found


def _run(runner: Runner) -> Run:
    """Run a command; once more when it fails, since a package index does not answer every time."""
    try:
        return runner.run()
    except RuntimeError as error:
        say(f"{runner.who}: once more, since it failed: {str(error)[-200:]}")
        return runner.run()


def attempts(part: str, steps: Iterable[Callable[[], Iterable[dict[str, Any]]]]) -> Iterator[dict[str, Any]]:
    """Yield the rows of each step; of one that fails, a record with its ``error`` instead, and go on.

    Where ``only_step`` is set, that one alone is done. Each row has the command that repeats it.
    """
    for step in steps:
        name = getattr(step, "__name__", "") or str(step)
        steps_seen.get([]).append(name)
        if only_step.get() not in ("", name):
            continue
        command = f"make bench ONLY={part} STEP={name}"
        try:
            for found in step():
                yield {**found, "command": command}
        except Exception as error:
            say(f"{part}, {name}: {error}")
            yield {**failure(part, name, error), "command": command}


def failure(part: str, name: str, error: Exception) -> dict[str, Any]:
    """Return the record of what could not be measured, with the end of what was said."""
    said = str(error)
    told = said if len(said) <= _TOLD else f"{said[: _TOLD // 3]} […] {said[-_TOLD:]}"
    return {"part": part, "name": name, "error": f"{type(error).__name__}: {told}"}


def row(
    part: str,
    name: str,
    ours: Sequence[Run],
    peer: Sequence[Run],
    who: str,
    *,
    what: str = "wall",
    goal: float | None = None,
    at_most: bool = False,
    **more: Any,
) -> dict[str, Any]:
    """Return one row of the report.

    ``ratio`` is peer/ours, and must reach the goal; with ``at_most`` it is ours/peer, and must not pass it. Of whole
    processes there is ``cpu_ratio`` too: the same of processor time, as it was where the machine was idle. ``more`` is
    kept as it is; known to the report are ``limit`` (of the function of that name), ``bytes_pushed``, ``requests``,
    ``peer_bytes_pushed``, ``peer_requests``, ``remains`` (a sentence) and ``points`` (of a growing size).
    """
    mine, theirs = [run.seconds(what) for run in ours], [run.seconds(what) for run in peer]
    pairs = [b / a for a, b in _paired(mine, theirs)]
    pairs = [1 / pair for pair in pairs] if at_most else pairs
    ratio = statistics.median(pairs)
    met = None if goal is None else (ratio <= goal if at_most else ratio >= goal)
    return {
        "part": part,
        "name": name,
        "ours": _spread(mine, ours),
        "peer": {**_spread(theirs, peer), "who": who},
        "ratio": round(ratio, 2),
        "ratio_spread": [round(min(pairs), 2), round(max(pairs), 2)],
        "goal": goal,
        "met": met,
        **(_cpu_ratio(ours, peer, at_most) if what == "wall" else {}),
        **({"at_most": True} if at_most else {}),
        **_profile(ours),
        **more,
    }


def _cpu_ratio(ours: Sequence[Run], peer: Sequence[Run], at_most: bool) -> dict[str, float]:
    pairs = _paired([run.cpu_s for run in ours], [run.cpu_s for run in peer])
    if not all(map(all, pairs)):
        return {}
    return {"cpu_ratio": round(statistics.median(a / b if at_most else b / a for a, b in pairs), 2)}


def _paired(mine: Sequence[float], theirs: Sequence[float]) -> list[tuple[float, float]]:
    """Return what stands beside what: run by run, or where the two were not taken in turn, beside the median."""
    if len(mine) == len(theirs):
        return list(zip(mine, theirs, strict=True))
    if len(mine) > len(theirs):
        return [(one, statistics.median(theirs)) for one in mine]
    return [(statistics.median(mine), one) for one in theirs]


def limit(what: str, runs: Sequence[Run], figure: str = "wall") -> dict[str, Any]:
    """Return what a row says of the machine's own limit: what was done, and its median in seconds."""
    return {"what": what, "median_s": round(statistics.median(run.seconds(figure) for run in runs), 6)}


def say(text: str) -> None:
    """Tell the person who waits what is being done."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def cache_folder() -> Path:
    """Return the folder that keeps trees, environments and bytecode between runs."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "imagespec-bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def peer_python(*packages: str) -> str:
    """Return the interpreter of an environment that holds these packages, made from the package index when absent."""
    name = "-".join(package.replace("==", "-") for package in packages)
    folder = cache_folder() / f"venv-{name}-{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        say(f"installing {' '.join(packages)} for the comparison")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", *packages], check=True
        )
        (folder / ".ready").touch()
    return str(python)


def test_bed() -> dict[str, Any]:
    """Return what the test-bed tells of itself (engine, registry, bases), started when it is not up."""
    command = [sys.executable, str(ROOT / "testdata" / "testbed" / "bed.py"), "up", "--json"]
    told: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
    return told


def _after_python(command: Sequence[str]) -> list[str]:
    """Return what follows the interpreter in a command of ours, or nothing when it is none that can be sampled."""
    words = list(command)
    if words[:1] == [sys.executable] and words[1:2] in (["-c"], ["-m"]):
        return words[1:]
    if words and Path(words[0]) == Path(sys.executable).with_name("imagespec"):
        return ["-m", "imagespec", *words[1:]]
    return []


def _profile(runs: Sequence[Run]) -> dict[str, Any]:
    places = next((run.places for run in runs if run.places), ())
    return {"profile": [list(place) for place in places]} if places else {}


def _plain_environment() -> dict[str, str]:
    """Return the environment without what slows one side down: both may keep their bytecode."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("IMAGESPEC_", "FLYTE", "PYTHON"))}
    return {**kept, "PYTHONPYCACHEPREFIX": str(cache_folder() / "bytecode"), "NO_COLOR": "1"}


def _figures(text: str) -> dict[str, float]:
    pairs = (line.split("=", 1) for line in text.splitlines() if line.startswith("bench_"))
    return {name.removeprefix("bench_"): float(value) for name, value in pairs}


def _spread(seconds: Sequence[float], runs: Sequence[Run]) -> dict[str, Any]:
    return {
        "median_s": round(statistics.median(seconds), 6),
        "min_s": round(min(seconds), 6),
        "max_s": round(max(seconds), 6),
        "peak_bytes": max(run.peak_bytes for run in runs),
        "runs": len(runs),
        "command": runs[0].command,
    }
