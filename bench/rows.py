"""What every part of the bench shares: whole processes run A B A B, and their figures as rows."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Run", "Runner", "cache_folder", "in_turn", "peer_python", "row", "say"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One process: seconds from start to end, its peak memory, and the figures it printed as ``name=seconds``."""

    wall_s: float
    peak_bytes: int
    printed: Mapping[str, float]

    def seconds(self, what: str) -> float:
        return self.wall_s if what == "wall" else self.printed[what]


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """A command, and what must be done before each of its runs (outside the time)."""

    who: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[], None] = lambda: None

    def run(self) -> Run:
        """Return the figures of one run; raise RuntimeError with its output when it fails."""
        self.before()
        environment = {**_plain_environment(), **self.environment}
        with tempfile.TemporaryFile() as out:
            start = time.perf_counter()
            process = subprocess.Popen(self.command, stdout=out, stderr=subprocess.STDOUT, env=environment)
            _, status, usage = os.wait4(process.pid, 0)
            wall_s = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            text = out.read().decode("utf-8", "replace")
        if process.returncode != 0:
            raise RuntimeError(f"{self.who}: exit status {process.returncode}: {text[-2000:]}")
        unit = 1 if sys.platform == "darwin" else 1024
        return Run(wall_s=wall_s, peak_bytes=usage.ru_maxrss * unit, printed=_figures(text))


def in_turn(runners: Sequence[Runner], times: int) -> list[list[Run]]:
    """Return the runs of each runner, taken in turn (A B A B), after one run of each that does not count."""
    for runner in runners:
        runner.run()
    rounds = [[runner.run() for runner in runners] for _ in range(times)]
    return [list(runs) for runs in zip(*rounds, strict=True)]


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

    ``ratio`` is peer/ours, and must reach the goal; with ``at_most`` it is ours/peer, and must not pass it.
    """
    mine, theirs = [run.seconds(what) for run in ours], [run.seconds(what) for run in peer]
    pairs = [b / a for a, b in zip(mine, theirs, strict=True)]
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
        **({"at_most": True} if at_most else {}),
        **more,
    }


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
            [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages], check=True
        )
        (folder / ".ready").touch()
    return str(python)


def _plain_environment() -> dict[str, str]:
    """Return the environment without what slows one side down: both may keep their bytecode."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("IMAGESPEC_", "FLYTE", "PYTHON"))}
    return {**kept, "PYTHONPYCACHEPREFIX": str(cache_folder() / "bytecode"), "NO_COLOR": "1"}


def _figures(text: str) -> dict[str, float]:
    pairs = (line.split("=", 1) for line in text.splitlines() if line.startswith("bench_"))
    return {name.removeprefix("bench_"): float(value) for name, value in pairs}


def _spread(seconds: Sequence[float], runs: Sequence[Run]) -> dict[str, float]:
    return {
        "median_s": round(statistics.median(seconds), 6),
        "min_s": round(min(seconds), 6),
        "max_s": round(max(seconds), 6),
        "peak_bytes": max(run.peak_bytes for run in runs),
    }
