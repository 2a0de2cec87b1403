"""Prints a table computed by the installed packages from the copied data."""

import json
import os
import subprocess
from pathlib import Path

import humanize
from tabulate import tabulate

SIZES = json.loads(Path(__file__).with_name("sizes.json").read_text())


def main() -> None:
    """Print the sizes for people, the number that jq counts, and the greeting from the environment."""
    print(tabulate([(name, humanize.naturalsize(size)) for name, size in SIZES.items()], headers=["data set", "size"]))
    counted = subprocess.run(["jq", "length"], input=json.dumps(SIZES), capture_output=True, text=True, check=True)
    print(f"{counted.stdout.strip()} data sets, counted by jq; {os.environ['GREETING']}")


if __name__ == "__main__":
    main()
