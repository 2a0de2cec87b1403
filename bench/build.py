"""Builds, beside ``docker buildx build --push`` with a Dockerfile tuned by hand, in cold processes on both sides.

The Dockerfile copies sources last, installs with uv from a warm cache mount, and pulls nothing. It is measured as it is
by default, and with zstd where the engine's image store takes it. Edits are also measured with the Dockerfile that
flytekit's default builder writes, its own start and its copying not counted. Ours is a process that reads the folder,
makes the plan and builds it; the wheels lie in its own store as they lie in uv's cache mount, and both know the
versions. The bytes and requests come from two more runs of each through a counting server: the second is counted. The
base of flytekit's Dockerfile is not read through it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.build_processes import LIMIT, OURS, median, remains
from bench.dockerfiles import flytekit_context, tools_context, tuned, uv_binary
from bench.environment import engine, forget_image
from bench.rows import ROOT, Run, Runner, attempts, cache_folder, in_turn, limit, row, say, test_bed
from bench.servers import count_requests, traffic_of
from imagespec.builders.assembly.store import Store

PART = "build"
SCIENCE = ("numpy==2.2.6", "pandas==2.3.3", "scikit-learn==1.7.2")
HUNDRED = ("flytekit==1.16.31",)
MAX_PEAK_BYTES = 150_000_000
MAX_MOUNTED_S = 0.3
# Little enough for the memory of this process, which counts in the peak of those that it starts.
_TEXT_BYTES = 2_000_000
_BASE_PYTHON = "/usr/bin/python3"


def measure(*, quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the rows; ``quick`` means fewer runs, none with zstd, bytecode or empty caches, and no large wheel."""
    bench = _Bench(2 if quick else 7, is_quick=quick)
    slow = [bench.packages_zstd, bench.packages_compiled, bench.nothing_at_hand, bench.large_wheel]
    steps = [bench.few_files, bench.many_files, bench.packages_alone, bench.changed_package]
    yield from attempts(PART, steps if quick else [*steps, *slow])


class _Bench:
    """The test-bed, folders that stay between runs, and how both sides are run."""

    def __init__(self, times: int, *, is_quick: bool) -> None:
        self.bed = test_bed()
        self.host = str(self.bed["registry"])
        self.times = times
        self.is_quick = is_quick
        self.work = cache_folder() / "build"
        self.cache = self.work / "cache"
        self.count = int.from_bytes(os.urandom(4), "big")
        shutil.rmtree(self.work / "package", ignore_errors=True)
        shutil.copytree(
            ROOT / "builder" / "imagespec",
            self.work / "package" / "imagespec",
            ignore=shutil.ignore_patterns("__pycache__"),
        )

    @property
    def base(self) -> str:
        return f"{self.host}/{self.bed['bases']['python3.11']}"

    def fresh(self) -> str:
        """Return a number that was not used before."""
        self.count += 1
        return str(self.count)

    def ours(
        self,
        packages: Sequence[str],
        *,
        repository: Callable[[], str],
        source: str = "",
        bytecode: bool = False,
        index: str = "",
        before: Callable[[], None] = lambda: None,
    ) -> Runner:
        command: list[str] = []

        def prepare() -> None:
            before()
            target = f"{self.host}/bench/{repository()}:t{self.fresh()}"
            command[:] = [sys.executable, "-c", OURS, str(self.cache), source, self.base, target]
            command.extend(["1" if bytecode else "0", index, *packages])

        environment = {"PYTHONPATH": str(self.work / "package")}
        return Runner(who="imagespec", command=command, environment=environment, before=prepare)

    def buildx(
        self, dockerfile: str, who: str, *, context: str, repository: Callable[[], str], output: str = "",
        before: Callable[[], None] = lambda: None, fresh_step: bool = False, fresh_cache: bool = False,
        is_plain: bool = False,
    ) -> Runner:  # fmt: skip
        """``fresh_step`` runs the installation again; ``fresh_cache`` gives it an empty cache mount, too.

        A Dockerfile that ``is_plain`` has no places to fill in.
        """
        command: list[str] = []
        environment = engine(self.bed)
        made: list[str] = []

        def prepare() -> None:
            before()
            if made:
                # The engine keeps and unpacks what it pushes: a whole bench would fill the disk.
                forget_image(made.pop(), environment)
            number = self.fresh()
            text = dockerfile
            if not is_plain:
                text = dockerfile.format(base=self.base, step=number if fresh_step else "0",
                                         cache=f"uv-{number}" if fresh_cache else "uv-bench")  # fmt: skip
            file = self.work / "Dockerfile"
            file.write_text(text)
            target = f"{self.host}/bench/{repository()}:t{number}"
            made.append(target)
            pushed = f"type=image,name={target},push=true{output}"
            command[:] = ["docker", "buildx", "build", "--provenance=false", "--progress=plain", "--file", str(file)]
            command.extend(["--build-context", f"uv={uv_binary().parent}", "--secret", f"id=ca,src={self.bed['ca']}"])
            command.extend(["--output", pushed, context])

        return Runner(who=who, command=command, environment=environment, before=prepare)

    def few_files(self) -> list[dict[str, Any]]:
        """One edited source among few."""
        return self._edits("50 files", 50, 2_000, tuned_goal=4, flytekit_goal=7)

    def many_files(self) -> list[dict[str, Any]]:
        """One edited source among many."""
        return self._edits("2,000 files, 20 MB", 2_000, 10_000, tuned_goal=12, flytekit_goal=17)

    def _edits(
        self, name: str, files: int, size: int, *, tuned_goal: float, flytekit_goal: float
    ) -> list[dict[str, Any]]:
        say(f"one edited source, {name}")
        folder = self.work / f"text-{files}"
        _sources(folder, files, size)
        context = flytekit_context(self.work / f"flytekit-{files}", folder, self.base, self._tools(), _BASE_PYTHON)
        edit, edit_copy = (lambda: _edit(folder)), (lambda: _edit(context / "src"))
        runners = [
            self.ours((), repository=lambda: "edit", source=str(folder), before=edit),
            self.buildx(tuned(()) + "COPY --link . /root/\n", "docker buildx", context=str(folder),
                        repository=lambda: "edit-peer", before=edit),
            self.buildx((context / "Dockerfile").read_text(), "flytekit's Dockerfile", context=str(context),
                        repository=lambda: "edit-flytekit", before=edit_copy, is_plain=True),
        ]  # fmt: skip
        ours, peer, flytekit = in_turn(runners, self.times)
        sent = self._sent(*runners)
        title, rest = f"one edited source, {name}", remains(ours)
        return [
            row(PART, title, ours, peer, "docker buildx, COPY last", goal=tuned_goal, remains=rest, **sent[0]),
            row(PART, title, ours, flytekit, "flytekit's Dockerfile, by buildx", goal=flytekit_goal, remains=rest,
                **sent[1]),
        ]  # fmt: skip

    def _sent(self, ours: Runner, *peers: Runner) -> list[dict[str, int]]:
        """Return what ours and each peer sends to the registry, as a row says it; where it is quick, ours alone."""
        own = self.host
        with count_requests(own) as counter:
            self.host = counter.host
            try:
                mine = counter.second(ours.run)
                theirs = [None if self.is_quick else counter.second(peer.run) for peer in peers]
            finally:
                self.host = own
        return [traffic_of(mine, one) for one in theirs or [None]]

    def _tools(self) -> str:
        """Return the image that stands for flytekit's tool images, made when it is not in the registry yet."""
        folder = tools_context(self.work / "tools", self.base, str(self.bed["ca"]))
        target = f"{self.host}/bench/tools:latest"
        text = (folder / "Dockerfile").read_text()
        maker = self.buildx(text, "tools", context=str(folder), repository=lambda: "tools", is_plain=True)
        maker.before()
        command = [f"type=image,name={target},push=true" if "name=" in word else word for word in maker.command]
        replace(maker, command=command, before=lambda: None).run()
        return target

    def packages_alone(self) -> list[dict[str, Any]]:
        """numpy, pandas and scikit-learn without bytecode, into a repository that has none of it."""
        say("packages without bytecode")
        ours, peer, sent = self._science("")
        floor = in_turn([self._limit()], self.times)[0]
        parts = {name: median(floor, name) for name in ("inflate", "hash", "send")}
        more = {
            "remains": remains(ours, parts),
            "limit": limit("bytes read, hashed and sent", floor, "build"),
        }
        alone = {name: sent[name] for name in ("bytes_pushed", "requests")}
        return [
            row(PART, "3 packages, wheels at hand", ours, peer, "docker buildx, uv, cache mount", goal=11, **more,
                **sent),
            row(PART, "3 packages, beside what the machine can do", ours, floor, "bytes read, hashed and sent",
                what="build", goal=2, at_most=True, **more, **alone),
        ]  # fmt: skip

    def packages_zstd(self) -> list[dict[str, Any]]:
        """The same beside the peer's fastest setting."""
        say("packages without bytecode, zstd")
        ours, peer, sent = self._science(",compression=zstd,force-compression=true,oci-mediatypes=true")
        return [row(PART, "3 packages, its fastest setting", ours, peer, "docker buildx, uv, zstd", goal=7,
                    remains=remains(ours), **sent)]  # fmt: skip

    def _science(self, output: str) -> tuple[list[Run], list[Run], dict[str, int]]:
        self._warm(SCIENCE)
        plain = self.ours(SCIENCE, repository=self._unique, before=lambda: self._forget("layers", "records"))
        return self._pair(plain, tuned(SCIENCE), "docker buildx", output=output)

    def packages_compiled(self) -> list[dict[str, Any]]:
        """The same with bytecode: made for the first time, and at hand."""
        say("packages with bytecode")
        self._warm(SCIENCE)
        forget = lambda: self._forget("layers", "records", "bytecode")  # noqa: E731
        first = self.ours(SCIENCE, repository=self._unique, bytecode=True, before=forget)
        ours, peer, sent = self._pair(first, tuned(SCIENCE, bytecode=True), "docker buildx, compiled")
        mounting = self.ours(SCIENCE, repository=self._unique, bytecode=True)
        again = in_turn([mounting], self.times)[0]
        allowed = [replace(run, printed={"build": MAX_MOUNTED_S}) for run in again]
        more = {"remains": remains(again), **self._sent(mounting)[0]}
        return [
            row(PART, "3 packages, bytecode made", ours, peer, "docker buildx, uv, compiled", goal=2.5,
                remains=remains(ours), **sent),
            row(PART, "3 packages, another repository", again, peer, "docker buildx, uv, compiled", goal=15,
                **{**sent, **more}),
            row(PART, "3 packages, another repository, besides the start of the process", again, allowed,
                f"a limit of {MAX_MOUNTED_S} s", what="build", goal=1, at_most=True, **more),
        ]  # fmt: skip

    def nothing_at_hand(self) -> list[dict[str, Any]]:
        """The same without bytecode and with empty caches on both sides: what the network takes."""
        say("packages with empty caches")
        forget = lambda: self._forget("layers", "records", "wheels", "locks")  # noqa: E731
        ours, peer, sent = self._pair(
            self.ours(SCIENCE, repository=self._unique, before=forget),
            tuned(SCIENCE),
            "docker buildx, empty cache",
            fresh_cache=True,
        )
        return [row(PART, "3 packages, empty caches", ours, peer, "docker buildx, empty cache mount", goal=8,
                    remains=remains(ours), **sent)]  # fmt: skip

    def _unique(self) -> str:
        return f"env-{self.fresh()}"

    def _pair(self, ours: Runner, install: str, who: str, **more: Any) -> tuple[list[Run], list[Run], dict[str, int]]:
        """Return the runs of both sides, and what a row says of what they send."""
        empty = self.work / "empty"
        empty.mkdir(exist_ok=True)
        peer = self.buildx(install, who, context=str(empty), repository=self._unique, fresh_step=True, **more)
        first, second = in_turn([ours, peer], self.times)
        return first, second, self._sent(ours, peer)[0]

    def changed_package(self) -> list[dict[str, Any]]:
        """One small package changed among a hundred, in the repository that has the others.

        The versions take turns; what was made of the group that the package is in is forgotten each time.
        """
        say("one package of a hundred changed")
        versions = [(*HUNDRED, "idna==3.6"), (*HUNDRED, "idna==3.7")]
        for packages in versions:
            self._warm(packages)
        repository = self._unique()
        commands = [self.ours(packages, repository=lambda: repository) for packages in versions]
        command: list[str] = []

        def change() -> None:
            commands.reverse()
            commands[0].before()
            command[:] = commands[0].command
            self._forget_small_layers()

        ours = Runner(who="imagespec", command=command, environment=commands[0].environment, before=change)
        mine, theirs, sent = self._pair(ours, tuned(versions[0]), "docker buildx, uv")
        return [row(PART, "one package of a hundred changed", mine, theirs, "docker buildx, uv", goal=15,
                    remains=remains(mine), **sent)]  # fmt: skip

    def large_wheel(self) -> list[dict[str, Any]]:
        """The memory that a large wheel takes: a module of 400 MB that cannot be compressed."""
        say("peak memory with a large wheel")
        folder = _large_wheel(self.work / "large", 400_000_000)
        before = lambda: self._forget("layers", "records", "wheels", "locks")  # noqa: E731
        ours = self.ours(
            ("benchlarge==1.0",), repository=lambda: f"large-{self.fresh()}", index=str(folder), before=before
        )
        runs = in_turn([ours], 1)[0]
        peak = max(run.peak_bytes for run in runs)
        made = row(PART, "a wheel of 400 MB: seconds, and peak memory", runs, runs, "itself", remains=remains(runs))
        figures = {"goal": MAX_PEAK_BYTES, "ratio": peak, "ratio_spread": [peak, peak], "met": peak <= MAX_PEAK_BYTES}
        return [{**made, **figures, "at_most": True, "unit": "bytes"}]

    def _limit(self) -> Runner:
        # pip's own lock is written beside that of the packages, before it or after it.
        locks = (self.cache / "daemonless" / "locks").glob("*/*")
        newest = sorted(locks, key=lambda path: path.stat().st_mtime, reverse=True)
        store = Store(self.cache / "daemonless")
        lock = next(wheels for path in newest if len(wheels := store.value("locks", path.name) or ()) > 1)
        wheels = [str(self.cache / "daemonless" / "wheels" / one["sha256"][:2] / one["sha256"]) for one in lock]
        return Runner(who="limit", command=[sys.executable, "-c", LIMIT, self.host, *wheels],
                      environment={"PYTHONPATH": str(self.work / "package")})  # fmt: skip

    def _warm(self, packages: Sequence[str]) -> None:
        """Bring the base, the lock and the wheels here."""
        self.ours(packages, repository=lambda: f"warm-{self.fresh()}").run()

    def _forget(self, *kinds: str) -> None:
        for kind in kinds:
            shutil.rmtree(self.cache / "daemonless" / kind, ignore_errors=True)

    def _forget_small_layers(self) -> None:
        """Forget the layers of the group that the changed package is in, as if this version were new here."""
        store = Store(self.cache / "daemonless")
        for path in (self.cache / "daemonless" / "records").glob("*/*"):
            value = store.record(path.name)
            if isinstance(value, dict) and any(
                f"idna {version}" in value.get("title", "") for version in ("3.6", "3.7")
            ):
                path.unlink()


def _sources(folder: Path, files: int, size: int) -> None:
    """Write files with the text of the standard library, which compresses as sources do, each of about this size."""
    if (folder / "package" / f"m{files - 1}.py").exists():
        return
    (folder / "package").mkdir(parents=True, exist_ok=True)
    library = sorted(Path(os.__file__).parent.glob("*.py"))
    text = b"".join(file.read_bytes() for file in library)[:_TEXT_BYTES].decode("utf-8", "replace")
    for number in range(files):
        start = number * size % (len(text) - size)
        (folder / "package" / f"m{number}.py").write_text(text[start : start + size])


def _edit(folder: Path) -> None:
    (folder / "package" / "m7.py").write_text(f"edited = '{os.urandom(8).hex()}'\n" * 20)


def _large_wheel(folder: Path, size: int) -> Path:
    import zipfile

    path = folder / "benchlarge-1.0-py3-none-any.whl"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        info = "benchlarge-1.0.dist-info"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            with archive.open("benchlarge/data.bin", "w", force_zip64=True) as out:
                for _ in range(size >> 20):
                    out.write(os.urandom(1 << 19) + bytes(1 << 19))
            archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: benchlarge\nVersion: 1.0\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", f"benchlarge/data.bin,,\n{info}/RECORD,,\n")
    return folder
