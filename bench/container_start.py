"""How long a container's first imports take, with bytecode in the image and without, in images of both builders.

Each run is a new container, so nothing that an import writes helps the next one; the pages of the image's files are in
the machine's memory for both sides.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.build import SCIENCE
from bench.rows import ROOT, Runner, attempts, cache_folder, in_turn, row, say, test_bed

PART = "startup"
_IMPORTS = "numpy, pandas, sklearn.linear_model"
_TIMED = f"""\
import time
start = time.perf_counter()
import {_IMPORTS}
print(f'bench_import={{time.perf_counter() - start}}')
"""
_SPEC = """\
name: start
base_image: {base}
packages: [{packages}]
builder_options: {{bytecode: {bytecode}}}
"""


def measure(*, quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield a row with bytecode and one without; none when ``quick``: its images take too long."""
    yield from attempts(PART, [] if quick else [container_start])


def container_start() -> Iterator[dict[str, Any]]:
    """Yield the rows."""
    bed = test_bed()
    environment = {
        "PATH": os.pathsep.join([*bed["path"], os.environ["PATH"]]),
        "DOCKER_HOST": bed["docker_host"],
        "DOCKER_CONFIG": bed["docker_config"],
    }
    for bytecode in (True, False):
        with_it = "with bytecode" if bytecode else "without bytecode"
        say(f"images of {', '.join(SCIENCE)}, {with_it}, by both builders")
        images = [_image(bed, builder, environment, bytecode=bytecode) for builder in ("daemonless", "buildkit")]
        runners = [
            _container(who, image, environment) for who, image in zip(("imagespec", "buildx"), images, strict=True)
        ]
        ours, peer = in_turn(runners, 7)
        yield row(PART, f"container start: import {_IMPORTS}, {with_it}", ours, peer, "buildx", what="import")


def _image(bed: dict[str, Any], builder: str, environment: dict[str, str], *, bytecode: bool) -> str:
    """Return the reference of the image that a builder makes of the one spec."""
    folder = cache_folder() / "container-start" / f"{builder}-{bytecode}"
    folder.mkdir(parents=True, exist_ok=True)
    base = f"{bed['registry']}/{bed['bases']['python3.11']}"
    text = _SPEC.format(base=base, packages=", ".join(SCIENCE), bytecode=str(bytecode).lower())
    (folder / "image.yaml").write_text(text)
    command = [sys.executable, "-m", "imagespec", "build", "image.yaml", "--builder", builder]
    done = subprocess.run(
        [*command, "--registry", f"{bed['registry']}/bench-start-{builder}"],
        cwd=folder,
        env={**os.environ, **environment, "PYTHONPATH": str(Path(ROOT, "builder"))},
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{builder}: {done.stderr[-2000:]}")
    return done.stdout.strip()


def _container(who: str, image: str, environment: dict[str, str]) -> Runner:
    docker = ["docker", "run", "--rm", "--quiet", "--network", "none", "--entrypoint", "python", image]
    return Runner(who=who, command=[*docker, "-c", _TIMED], environment=environment)
