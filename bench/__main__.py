"""Run the bench: every part, or one; rows as JSON, as a table in Markdown, and as a page.

What a part finds is written as soon as it is there, so an interruption or a part that fails loses no other part's rows.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.page import page
from bench.rows import failure, only_step, patience_s, say, steps_seen
from bench.table import farthest_text, markdown

HERE = Path(__file__).resolve().parent
_QUICK_PATIENCE_S = 8.0

#: The modules that measure each part. Each has ``measure(quick=…)``, which returns rows or yields them.
PARTS = {
    "startup": ("startup", "container_start"),
    "fingerprint": ("fingerprint",),
    "registry": ("registry",),
    "build": ("build", "peers"),
    "serialize": ("serialize",),
    "many": ("many",),
    "growth": ("growth",),
}


def main() -> int:
    """Write what was measured, and print it as a table; return 1 when something could not be measured."""
    parser = argparse.ArgumentParser(prog="bench", description="Side-by-side benchmarks of imagespec and its peers.")
    parser.add_argument("--only", choices=PARTS, action="append", help="one part; may be given more than once")
    parser.add_argument("--step", default="", help="one step of a part, as the rows' commands name it")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: bench/results/<date>.json)")
    parser.add_argument("--page", type=Path, default=HERE / "report.html", help="where the page goes")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer runs; under five minutes in all")
    options = parser.parse_args()
    if options.quick:
        patience_s.set(_QUICK_PATIENCE_S)
    only_step.set(options.step)
    steps_seen.set([])
    out = options.out or HERE / "results" / f"{time.strftime('%Y-%m-%d')}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {
        "machine": _machine(),
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "commit": _commit(),
        "quick": options.quick,
        "seconds": {},
        "rows": [],
        "failures": [],
    }
    try:
        for part in options.only or PARTS:
            started = time.monotonic()
            for found in measured(part, PARTS[part], options.quick):
                report["failures" if "error" in found else "rows"].append(found)
                _write(out, options.page, report)
            report["seconds"][part] = round(time.monotonic() - started, 1)
            say(f"{part}: {report['seconds'][part]:.0f} s")
            _write(out, options.page, report)
    except KeyboardInterrupt:
        say(f"interrupted: what was measured is in {out} and {options.page}")
        return 130
    finally:
        _write(out, options.page, report)
    if options.step and options.step not in steps_seen.get():
        say(f"--step: there is no {options.step!r}, but {', '.join(steps_seen.get())}")
        return 2
    print(markdown(report))
    say(f"wrote {out} and {options.page}")
    return 1 if report["failures"] else 0


def measured(part: str, modules: Sequence[str], quick: bool) -> Iterator[dict[str, Any]]:
    """Yield the rows of these modules; of one that fails, a record with its ``error``, and go on."""
    for module in modules:
        try:
            found: Iterable[dict[str, Any]] = importlib.import_module(f"bench.{module}").measure(quick=quick)
            yield from found
        except Exception as error:
            say(f"{part}: {module}: {error}")
            yield failure(part, module, error)


def _write(out: Path, page_file: Path, report: dict[str, Any]) -> None:
    out.write_text(json.dumps(report, indent=1) + "\n")
    out.with_suffix(".md").write_text(f"{markdown(report)}\n{farthest_text(report['rows'])}")
    page_file.write_text(page(report, (HERE / "report.template.html").read_text()))


def _commit() -> str:
    command = ["git", "-C", str(HERE), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _machine() -> dict[str, Any]:
    return {
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "processor": _processor(),
        "python": platform.python_version(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load": os.getloadavg()[0],
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


if __name__ == "__main__":
    sys.exit(main())
