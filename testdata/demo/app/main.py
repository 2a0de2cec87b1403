"""Prints a table computed by the installed packages from the copied data."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import humanize
from tabulate import tabulate

SIZES = json.loads(Path(__file__).with_name("sizes.json").read_text())


def main() -> None:
    """Print the sizes for people, the number that jq counts, and the greeting from the environment."""
    print(tabulate([(name, humanize.naturalsize(size)) for name, size in SIZES.items()], headers=["data set", "size"]))
    counter = "jq" if shutil.which("jq") else "python"
    print(f"{count(counter)} data sets, counted by {counter}; {os.environ['GREETING']}")


def count(counter: str) -> int:
    """Return the number of data sets, counted by jq where the image has it."""
    if counter == "python":
        return len(SIZES)
    done = subprocess.run(["jq", "length"], input=json.dumps(SIZES), capture_output=True, text=True, check=True)
    return int(done.stdout)


if __name__ == "__main__":
    main()
