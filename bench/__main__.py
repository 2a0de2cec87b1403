"""Run the bench: every part, or one, as rows of JSON and a table."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

PARTS = ("fingerprint", "registry", "build", "serialize")


def main() -> None:
    """Write the rows as JSON, and print them as a table."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default: bench/results/<date>.json)")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer runs")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for part in [options.only] if options.only else PARTS:
        rows += importlib.import_module(f"bench.{part}").measure(quick=options.quick)
    out = options.out or Path(__file__).parent / "results" / f"{time.strftime('%Y-%m-%d')}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"machine": _machine(), "rows": rows}, indent=1) + "\n")
    print(_table(rows))
    print(f"bench: wrote {out}", file=sys.stderr)


def _machine() -> dict[str, Any]:
    return {
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["| what | ours | peer | ratio | goal | met |", "|---|---|---|---|---|---|"]
    for one in rows:
        ours, peer = one["ours"]["median_s"] * 1000, one["peer"]["median_s"] * 1000
        goal = "" if one["goal"] is None else f"{'≤' if one.get('at_most') else '≥'} {one['goal']:g}"
        met = {None: "", True: "yes", False: "NO"}[one["met"]]
        lines.append(
            f"| {one['part']}: {one['name']} | {ours:.1f} ms | {peer:.1f} ms ({one['peer']['who']}) | {one['ratio']:g} "
            f"| {goal} | {met} |"
        )
    return "\n".join(lines)


main()
