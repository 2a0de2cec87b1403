"""Sixty images in six chains, each based on the one before: all to be made, all there, one changed.

Ours is the command as people run it, a cold process with the wheels at hand. Beside it: itself one by one, which is a
command for each image, parents first, and one command with ``--jobs 1``; one ``docker buildx build --push`` after the
other, as a script in CI would (uv with a warm cache mount); and, when all are there, flytekit's own tags and its
``exist()``. The script gets one chain only, since every image takes it the same
time; figures beside it are seconds for one image. (``buildx bake`` of all sixty at once overwhelmed the engine here.)
"""

from __future__ import annotations

import os
import shlex
import shutil
import statistics
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.environment import buildx_build, engine, install_dockerfile, tag_as
from bench.rows import Run, Runner, attempts, cache_folder, in_turn, peer_python, row, say, test_bed
from bench.servers import count_requests

PART = "many"
CHAINS, DEPTH = 6, 10
COUNT = CHAINS * DEPTH
FLYTEKIT = "flytekit==1.16.31"
NAME, BUILDX = f"{COUNT} images in {CHAINS} chains", "docker buildx build --push"
COLD_GOAL, WARM_LIMIT_S = 1.6, 1.5
_PACKAGES = (
    "tabulate==0.9.0", "humanize==4.12.3", "idna==3.7", "six==1.17.0", "toolz==1.0.0",
    "pathspec==0.12.1", "attrs==25.3.0", "packaging==25.0", "iniconfig==2.1.0", "tomli==2.2.1",
)  # fmt: skip

_IMAGES = """
import os
from imagespec import ImageSpec

PACKAGES = {packages!r}


def chain(number):
    spec = {base!r}
    for depth, package in enumerate(PACKAGES):
        last = number == {chains} - 1 and depth == len(PACKAGES) - 1
        salt = os.environ["BENCH_SALT"] + (os.environ["BENCH_EDIT"] if last else "")
        spec = ImageSpec(
            name=f"chain{{number}}-{{depth}}",
            registry=os.environ["BENCH_REGISTRY"],
            base_image=spec,
            packages=[package],
            env={{f"SALT_{{number}}_{{depth}}": salt}},
        )
        yield spec


for number in range({chains}):
    globals().update((f"image_{{number}}_{{depth}}", spec) for depth, spec in enumerate(chain(number)))
"""
_FLYTEKIT = """
import os, sys
from flytekit import ImageSpec

present = 0
for number in range({chains}):
    for depth, package in enumerate({packages!r}):
        spec = ImageSpec(name=f"chain{{number}}-{{depth}}", registry=os.environ["BENCH_REGISTRY"], packages=[package],
                         env={{"SALT": os.environ["BENCH_SALT"]}}, python_version="3.11")
        if len(sys.argv) > 1:
            print(spec.image_name())
        else:
            present += bool(spec.exist())
assert len(sys.argv) > 1 or present == {count}, present
"""


def measure(*, quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the rows; ``quick`` means fewer runs, nothing beside the engine and no command for each image."""
    bench = _Bench(quick)
    yield from attempts(
        PART, [bench.one_by_one, bench.all_there, bench.one_changed, *([] if quick else [bench.script])]
    )


class _Bench:
    def __init__(self, quick: bool) -> None:
        self._bed = test_bed()
        self._quick = quick
        self._work = cache_folder() / "many"
        self._work.mkdir(exist_ok=True)
        self._cache = self._work / "cache"
        self._registry = f"{self._bed['registry']}/bench-many-{uuid.uuid4().hex[:8]}"
        base = f"{self._bed['registry']}/{self._bed['bases']['python3.11']}"
        self._base = base
        text = _IMAGES.format(packages=_PACKAGES, chains=CHAINS, base=base)
        (self._work / "images.py").write_text(text)
        self._forget()

    def _environment(self) -> dict[str, str]:
        """Return what every side gets."""
        return {
            **engine(self._bed),
            "IMAGESPEC_CACHE": str(self._cache),
            "BENCH_REGISTRY": self._registry,
            "BENCH_SALT": "kept",
            "BENCH_EDIT": "",
        }

    def _build(self, *options: str, prepare: Callable[[dict[str, str]], None] = lambda _: None) -> Runner:
        """Return our command; ``prepare`` changes its environment before each run."""
        environment = self._environment()
        command = [sys.executable, "-m", "imagespec", "build", str(self._work / "images.py"), *options]
        return Runner(who="imagespec", command=command, environment=environment, before=lambda: prepare(environment))

    def _commands(self) -> Runner:
        """Return a script that builds one image after the other, each with a command of its own, parents first."""
        environment = self._environment()
        command = [sys.executable, "-m", "imagespec", "build"]
        targets = [f"image_{number}_{depth}" for number in range(CHAINS) for depth in range(DEPTH)]
        lines = [shlex.join([*command, f"{self._work / 'images.py'}:{target}"]) for target in targets]
        script = "\n".join(["set -e", *lines])
        return Runner(
            who="imagespec, a command for each",
            command=["sh", "-c", script],
            environment=environment,
            before=lambda: self._fresh(environment),
        )

    def _fresh(self, environment: dict[str, str]) -> None:
        environment["BENCH_SALT"] = uuid.uuid4().hex
        self._forget()

    def _edited(self, environment: dict[str, str]) -> None:
        environment["BENCH_EDIT"] = uuid.uuid4().hex

    def _forget(self) -> None:
        for kind in ("layers", "records"):
            shutil.rmtree(self._cache / "daemonless" / kind, ignore_errors=True)

    def one_by_one(self) -> list[dict[str, Any]]:
        """Nothing is there but the wheels: several at a time, one by one, and one at a time."""
        say(f"{COUNT} images, none there")
        runners = [self._build(prepare=self._fresh), self._build("--jobs", "1", prepare=self._fresh)]
        together, single, *commands = in_turn(
            [*runners, *([] if self._quick else [self._commands()])], 1 if self._quick else 2
        )
        counted = self._counted(self._fresh)
        name = f"{NAME}, none there"
        by_commands = [
            row(PART, name, together, alone, "imagespec, a command for each", goal=COLD_GOAL, **counted)
            for alone in commands
        ]
        return [*by_commands, row(PART, f"{name}, one process", together, single, "imagespec --jobs 1", **counted)]

    def one_changed(self) -> list[dict[str, Any]]:
        """One image at the end of a chain is new; the others are there."""
        say(f"{COUNT} images, one changed")
        changed, none = in_turn([self._build(prepare=self._edited), self._build()], 3 if self._quick else 7)
        counted = self._counted(self._edited)
        return [row(PART, f"{NAME}, one changed", changed, none, "imagespec, all there", at_most=True, **counted)]

    def script(self) -> list[dict[str, Any]]:
        """The same, and the images of one chain by the engine."""
        say("one chain by docker buildx")
        times = 1  # each image of the chain is one more
        ours, peer = in_turn([self._build(prepare=self._fresh), self._script(lambda: (uuid.uuid4().hex, ""))], times)
        edited, again = in_turn(
            [self._build(prepare=self._edited), self._script(lambda: ("kept", uuid.uuid4().hex))], times
        )
        return [
            row(PART, "one of 60 images, none there", _each(ours, COUNT), _each(peer, DEPTH), BUILDX),
            row(PART, "one of 60 images, one changed", _each(edited, COUNT), _each(again, DEPTH), BUILDX),
        ]

    def all_there(self) -> list[dict[str, Any]]:
        """What a CI job pays when nothing is to be done."""
        say(f"{COUNT} images, all there")
        ours = self._build()
        ours.run()
        script = _FLYTEKIT.format(chains=CHAINS, packages=_PACKAGES, count=COUNT)
        theirs = Runner(who="flytekit", command=[peer_python(FLYTEKIT), "-c", script], environment=self._environment())
        self._name_for_flytekit(theirs)
        mine, peer = in_turn([ours, theirs], 3 if self._quick else 7)
        median = statistics.median(run.wall_s for run in mine)
        within = {"at_most_s": WARM_LIMIT_S, "within": median < WARM_LIMIT_S}
        return [
            row(
                PART,
                f"{NAME}, all there",
                mine,
                peer,
                "flytekit, tags and exist()",
                **within,
                **self._counted(lambda _: None),
            )
        ]

    def _counted(self, prepare: Callable[[dict[str, str]], None]) -> dict[str, Any]:
        """Run ours once through the counter, and return what it sent."""
        with count_requests(self._bed["registry"]) as counter:
            runner = self._build(prepare=prepare)
            host = self._registry.partition("/")
            environment = {**runner.environment}

            def before() -> None:
                prepare(environment)
                environment["BENCH_REGISTRY"] = f"{counter.host}/{host[2]}"

            Runner(who="counted", command=runner.command, environment=environment, before=before).run()
            seen = counter.read()
        return {"bytes_pushed": seen.bytes_pushed, "requests": seen.requests}

    def _script(self, salts: Callable[[], tuple[str, str]]) -> Runner:
        """Return a script that builds and pushes one chain; ``salts`` are of all its images, and of the last."""
        file = self._work / "chain.sh"

        def before() -> None:
            salt, edit = salts()
            lines = [line for depth in range(DEPTH) for line in self._one_build(depth, salt, edit)]
            file.write_text("\n".join(["set -e", *lines, ""]))

        return Runner(who=BUILDX, command=["sh", str(file)], environment=self._environment(), before=before)

    def _one_build(self, depth: int, salt: str, edit: str) -> tuple[str, ...]:
        names = [f"{self._registry}/script-{number}:{salt}" for number in range(depth + 1)]
        salted = salt + (edit if depth == DEPTH - 1 else "")
        dockerfile = install_dockerfile(
            names[-2] if depth else self._base,
            [_PACKAGES[depth]],
            environment=f"ENV SALT_{depth}={salted}\n",
            first=depth == 0,
        )
        build = buildx_build(self._bed, names[-1], "-", self._empty())
        return (f"{shlex.join(build)} <<'END'", f"{dockerfile}END")

    def _empty(self) -> Path:
        folder = self._work / "empty"
        folder.mkdir(exist_ok=True)
        return folder

    def _name_for_flytekit(self, theirs: Runner) -> None:
        """Let flytekit's names stand for an image of ours, so that it finds them all."""
        command = [*theirs.command, "names"]
        environment = {**os.environ, **theirs.environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        listed = subprocess.run(
            [sys.executable, "-m", "imagespec", "tag", str(self._work / "images.py")],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        by_repository = {name.rpartition(":")[0]: name for name in listed.stdout.split()}
        for name in done.stdout.split():
            tag_as(by_repository[name.rpartition(":")[0]], name)


def _each(runs: Sequence[Run], count: int) -> list[Run]:
    return [replace(run, wall_s=run.wall_s / count) for run in runs]
