"""Start-up: the import, ``--help`` and the tag of a plain spec, beside bare Python, flytekit, flyte-sdk 2 and docker.

All are whole cold processes with their bytecode at hand. The limit is an interpreter that does nothing; docker is a
compiled program, so it may be below it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.rows import Runner, attempts, cache_folder, in_turn, peer_python, row, say, test_bed

PART = "startup"
FLYTEKIT, FLYTE = "flytekit==1.16.31", "flyte==2.12.1"
BARE = "python -c pass"

_SPEC = "name: bench\npackages: [pandas]\napt_packages: [git]\npython_version: '3.11'\n"
_FLYTEKIT_TAG = """
from flytekit import ImageSpec
print(ImageSpec(name="bench", packages=["pandas"], apt_packages=["git"], python_version="3.11").tag)
"""
_FLYTE_TAG = """
import flyte
image = flyte.Image.from_debian_base(name="bench", registry="localhost", python_version=(3, 11), install_flyte=False)
print(image.with_pip_packages("pandas").with_apt_packages("git").uri)
"""


def measure(*, quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the rows; ``quick`` means fewer runs."""
    bench = _Bench(3 if quick else 11)
    yield from attempts(PART, [bench.imports, bench.help, bench.tags])


class _Bench:
    def __init__(self, times: int) -> None:
        bed = test_bed()
        self._times = times
        self._flytekit, self._flyte = peer_python(FLYTEKIT), peer_python(FLYTE)
        self._environment = {"PATH": os.pathsep.join([*bed["path"], os.environ["PATH"]])}
        self._bare = Runner(who=BARE, command=[sys.executable, "-c", "pass"])

    def imports(self) -> list[dict[str, Any]]:
        """The package alone: what a workflow's module pays for naming an image."""
        return self._rows(
            "import imagespec",
            [sys.executable, "-c", "from imagespec import ImageSpec"],
            {
                "import flytekit": [self._flytekit, "-c", "from flytekit import ImageSpec"],
                "import flyte (sdk 2)": [self._flyte, "-c", "from flyte import Image"],
            },
        )

    def help(self) -> list[dict[str, Any]]:
        """What a person waits for before the first word."""
        return self._rows(
            "imagespec --help",
            [_program("imagespec"), "--help"],
            {
                "pyflyte --help": [str(Path(self._flytekit).with_name("pyflyte")), "--help"],
                "flyte --help (sdk 2)": [str(Path(self._flyte).with_name("flyte")), "--help"],
                "docker buildx build --help": ["docker", "buildx", "build", "--help"],
                "docker --help": ["docker", "--help"],
            },
        )

    def tags(self) -> list[dict[str, Any]]:
        """The name of an image that needs no file: the command, beside what prints it with the peers."""
        file = cache_folder() / "startup" / "image.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(_SPEC)
        return self._rows(
            "imagespec tag of a plain spec",
            [_program("imagespec"), "tag", str(file)],
            {
                "flytekit, ImageSpec(…).tag": [self._flytekit, "-c", _FLYTEKIT_TAG],
                "flyte sdk 2, Image(…).uri": [self._flyte, "-c", _FLYTE_TAG],
            },
        )

    def _rows(self, name: str, command: Sequence[str], peers: dict[str, list[str]]) -> list[dict[str, Any]]:
        say(name)
        ours = Runner(who="imagespec", command=command, environment=self._environment)
        others = [Runner(who=who, command=words, environment=self._environment) for who, words in peers.items()]
        mine, bare, *theirs = in_turn([ours, self._bare, *others], self._times)
        rows = [row(PART, name, mine, runs, who) for who, runs in zip(peers, theirs, strict=True)]
        return [*rows, row(PART, f"{name}, against bare Python", mine, bare, BARE, at_most=True)]


def _program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))
