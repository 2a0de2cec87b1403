"""Builds, beside ``docker buildx build --push`` with a Dockerfile tuned by hand, in cold processes on both sides.

The Dockerfile copies sources last, installs with uv from a warm cache mount, and pulls nothing. It is measured as it is
by default, and with zstd where the engine's image store takes it. Ours is a process that reads the folder, makes the
plan and builds it; the wheels lie in its own store as they lie in uv's cache mount, and both know the versions.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.rows import Run, Runner, cache_folder, in_turn, row, say

PART = "build"
ROOT = Path(__file__).resolve().parents[1]
SCIENCE = ("numpy==2.2.6", "pandas==2.3.3", "scikit-learn==1.7.2")
HUNDRED = ("flytekit==1.16.31",)
MAX_PEAK_BYTES = 150_000_000
MAX_MOUNTED_S = 0.3

_OURS = """
import sys, time
started = time.perf_counter()
from pathlib import Path
from imagespec.builders import BuildOptions
from imagespec.builders.daemonless import DaemonlessBuilder
from imagespec.events import discard
from imagespec.names import Reference
from imagespec.planner import make_plan
from imagespec.registry.http import HttpRegistry
from imagespec.spec import Declaration
from imagespec.stat_cache import StatCache
from imagespec.workspace import Workspace
cache, source, base, target, bytecode, index, *packages = sys.argv[1:]
declared = {"packages": packages} if packages else {}
declared |= {"source_root": source, "source_copy_mode": "ALL"} if source else {}
declared |= {"pip_extra_args": f"--find-links {index}"} if index else {}
spec = Declaration(name="bench", base_image=base, builder_options={"bytecode": bytecode == "1"}, **declared)
imported = time.perf_counter()
workspace = Workspace(cwd="/", stat_cache=StatCache(cache + "/stat"), emit=discard)
plan = make_plan(spec, workspace.take(spec, modules=()))
with HttpRegistry() as registry:
    builder = DaemonlessBuilder(cache_dir=Path(cache), registry=registry)
    builder.build(plan, workspace, Reference.parse(target), options=BuildOptions(), emit=discard)
ended = time.perf_counter()
print(f"bench_build={ended - imported}")
"""
# What no builder can avoid: reading the wheels, hashing what is in them and what is sent, and sending it.
_LIMIT = """
import hashlib, os, sys, time, zlib, zipfile
from pathlib import Path
from imagespec.names import Repository
from imagespec.oci import Descriptor, digest_of
from imagespec.registry.http import HttpRegistry
host, *wheels = sys.argv[1:]
started = time.perf_counter()
repository = Repository.parse(f"{host}/bench/{os.urandom(6).hex()}")
size = sum(zipped.file_size for wheel in wheels for zipped in zipfile.ZipFile(wheel).infolist())
begun = time.perf_counter()
block = bytes(1 << 20)
hashed = hashlib.sha256()
for _ in range(size >> 20):
    hashed.update(block)
with HttpRegistry() as registry:
    for wheel in wheels:
        data = Path(wheel).read_bytes()
        described = Descriptor(media_type="x", digest=digest_of(data), size_bytes=len(data))
        registry.write_blob(repository, described, lambda: Path(wheel).open("rb"))
print(f"bench_build={time.perf_counter() - begun}")
"""


def measure(*, quick: bool = False) -> list[dict[str, Any]]:
    """Return the rows; ``quick`` means three runs instead of seven, and none with empty caches."""
    bench = _Bench(3 if quick else 7)
    rows = [*bench.edits(), *bench.packages_alone(), *bench.packages_compiled(), *bench.changed_package()]
    return [*rows, *([] if quick else bench.nothing_at_hand()), *bench.large_wheel()]


class _Bench:
    """The test-bed, folders that stay between runs, and how both sides are run."""

    def __init__(self, times: int) -> None:
        done = subprocess.run(
            [sys.executable, str(ROOT / "testdata" / "testbed" / "bed.py"), "up", "--json"],
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        self.bed: dict[str, Any] = json.loads(done.stdout)
        self.times = times
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
    def host(self) -> str:
        return str(self.bed["registry"])

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
            command[:] = [sys.executable, "-c", _OURS, str(self.cache), source, self.base, target]
            command.extend(["1" if bytecode else "0", index, *packages])

        environment = {"PYTHONPATH": str(self.work / "package")}
        return Runner(who="imagespec", command=command, environment=environment, before=prepare)

    def buildx(
        self, dockerfile: str, who: str, *, context: str, repository: Callable[[], str], output: str = "",
        before: Callable[[], None] = lambda: None, fresh_step: bool = False, fresh_cache: bool = False,
    ) -> Runner:  # fmt: skip
        """``fresh_step`` runs the installation again; ``fresh_cache`` gives it an empty cache mount, too."""
        command: list[str] = []

        def prepare() -> None:
            before()
            number = self.fresh()
            text = dockerfile.format(base=self.base, step=number if fresh_step else "0",
                                     cache=f"uv-{number}" if fresh_cache else "uv-bench")  # fmt: skip
            file = self.work / "Dockerfile"
            file.write_text(text)
            target = f"{self.host}/bench/{repository()}:t{number}"
            pushed = f"type=image,name={target},push=true{output}"
            command[:] = ["docker", "buildx", "build", "--provenance=false", "--progress=plain", "--file", str(file)]
            command.extend(["--build-context", f"uv={_uv().parent}", "--secret", f"id=ca,src={self.bed['ca']}"])
            command.extend(["--output", pushed, context])

        environment = {
            "PATH": os.pathsep.join([*self.bed["path"], os.environ["PATH"]]),
            "DOCKER_HOST": self.bed["docker_host"],
            "DOCKER_CONFIG": self.bed["docker_config"],
        }
        return Runner(who=who, command=command, environment=environment, before=prepare)

    def edits(self) -> list[dict[str, Any]]:
        """One edited source among few, and among many."""
        rows = []
        for name, files, size, goal in (("50 files", 50, 2_000, 4.0), ("2,000 files, 20 MB", 2_000, 10_000, 12.0)):
            say(f"one edited source, {name}")
            folder = self.work / f"sources-{files}"
            _sources(folder, files, size)
            edit = lambda folder=folder: _edit(folder)  # noqa: E731
            dockerfile = _install(()) + "COPY --link . /root/\n"
            runners = [
                self.ours((), repository=lambda: "edit", source=str(folder), before=edit),
                self.buildx(
                    dockerfile, "docker buildx", context=str(folder), repository=lambda: "edit-peer", before=edit
                ),
            ]
            ours, peer = in_turn(runners, self.times)
            rows.append(row(PART, f"one edited source, {name}", ours, peer, "docker buildx, COPY last", goal=goal))
        return rows

    def packages_alone(self) -> list[dict[str, Any]]:
        """numpy, pandas and scikit-learn without bytecode, into a repository that has none of it."""
        say("packages without bytecode")
        self._warm(SCIENCE)
        plain = self.ours(SCIENCE, repository=self._unique, before=lambda: self._forget("layers", "records"))
        ours, peer = self._pair(plain, _install(SCIENCE), "docker buildx, uv")
        limit = in_turn([self._limit()], self.times)[0]
        zstd = ",compression=zstd,force-compression=true,oci-mediatypes=true"
        fast, fastest = self._pair(plain, _install(SCIENCE), "docker buildx, zstd", output=zstd)
        return [
            row(PART, "3 packages, wheels at hand", ours, peer, "docker buildx, uv, cache mount", goal=11),
            row(PART, "3 packages, its fastest setting", fast, fastest, "docker buildx, uv, zstd", goal=7),
            row(
                PART,
                "3 packages, beside what the machine can do",
                ours,
                limit,
                "bytes read, hashed and sent",
                what="build",
                goal=2,
                at_most=True,
            ),
        ]

    def packages_compiled(self) -> list[dict[str, Any]]:
        """The same with bytecode: made for the first time, and at hand."""
        say("packages with bytecode")
        self._warm(SCIENCE)
        forget = lambda: self._forget("layers", "records", "bytecode")  # noqa: E731
        first = self.ours(SCIENCE, repository=self._unique, bytecode=True, before=forget)
        ours, peer = self._pair(first, _install(SCIENCE, bytecode=True), "docker buildx, compiled")
        again = in_turn([self.ours(SCIENCE, repository=self._unique, bytecode=True)], self.times)[0]
        seconds = sorted(run.seconds("build") for run in again)[len(again) // 2]
        within = {"without_start_s": round(seconds, 3), "limit_s": MAX_MOUNTED_S, "within": seconds < MAX_MOUNTED_S}
        return [
            row(PART, "3 packages, bytecode made", ours, peer, "docker buildx, uv, compiled", goal=2.5),
            row(PART, "3 packages, another repository", again, peer, "docker buildx, uv, compiled", goal=15, **within),
        ]

    def nothing_at_hand(self) -> list[dict[str, Any]]:
        """The same without bytecode and with empty caches on both sides: what the network takes."""
        say("packages with empty caches")
        forget = lambda: self._forget("layers", "records", "wheels", "locks")  # noqa: E731
        ours, peer = self._pair(
            self.ours(SCIENCE, repository=self._unique, before=forget),
            _install(SCIENCE),
            "docker buildx, empty cache",
            fresh_cache=True,
        )
        return [row(PART, "3 packages, empty caches", ours, peer, "docker buildx, empty cache mount", goal=8)]

    def _unique(self) -> str:
        return f"env-{self.fresh()}"

    def _pair(self, ours: Runner, install: str, who: str, **more: Any) -> tuple[list[Run], list[Run]]:
        empty = self.work / "empty"
        empty.mkdir(exist_ok=True)
        peer = self.buildx(install, who, context=str(empty), repository=self._unique, fresh_step=True, **more)
        first, second = in_turn([ours, peer], self.times)
        return first, second

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
        mine, theirs = self._pair(ours, _install(versions[0]), "docker buildx, uv")
        return [row(PART, "one package of a hundred changed", mine, theirs, "docker buildx, uv", goal=15)]

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
        made = row(PART, "a wheel of 400 MB: seconds, and peak memory", runs, runs, "itself")
        return [{**made, "goal": MAX_PEAK_BYTES, "ratio": peak, "met": peak <= MAX_PEAK_BYTES, "at_most": True}]

    def _limit(self) -> Runner:
        lock = json.loads(
            max((self.cache / "daemonless" / "locks").glob("*/*"), key=lambda p: p.stat().st_mtime).read_text()
        )
        wheels = [str(self.cache / "daemonless" / "wheels" / one["sha256"][:2] / one["sha256"]) for one in lock]
        return Runner(who="limit", command=[sys.executable, "-c", _LIMIT, self.host, *wheels],
                      environment={"PYTHONPATH": str(self.work / "package")})  # fmt: skip

    def _warm(self, packages: Sequence[str]) -> None:
        """Bring the base, the lock and the wheels here."""
        self.ours(packages, repository=lambda: f"warm-{self.fresh()}").run()

    def _forget(self, *kinds: str) -> None:
        for kind in kinds:
            shutil.rmtree(self.cache / "daemonless" / kind, ignore_errors=True)

    def _forget_small_layers(self) -> None:
        """Forget the layers of the group that the changed package is in, as if this version were new here."""
        for path in (self.cache / "daemonless" / "records").glob("*/*"):
            value = json.loads(path.read_text())
            if isinstance(value, dict) and any(
                f"idna {version}" in value.get("title", "") for version in ("3.6", "3.7")
            ):
                path.unlink()


def _install(packages: Sequence[str], *, bytecode: bool = False) -> str:
    """Return a Dockerfile that installs packages as somebody who knows BuildKit and uv would."""
    install = ""
    if packages:
        words = " ".join(f"'{one}'" for one in packages)
        compiled = " --compile-bytecode" if bytecode else ""
        install = f"&& /run/uv pip install --python /opt/venv{compiled} {words} "
    return (
        "FROM {base}\n"
        "RUN --mount=type=cache,id={cache},target=/cache --mount=type=bind,from=uv,source=uv,target=/run/uv "
        "--mount=type=secret,id=ca,target=/run/ca.crt SSL_CERT_FILE=/run/ca.crt UV_CACHE_DIR=/cache UV_LINK_MODE=copy "
        f"sh -c ': {{step}}; /run/uv venv /opt/venv {install}'\n".replace("'", '"', 1).replace("'\n", '"\n')
        + 'ENV PATH="/opt/venv/bin:$PATH" PYTHONPATH=/root\nWORKDIR /root\n'
    )


def _uv() -> Path:
    import uv

    return Path(os.fsdecode(uv.find_uv_bin()))


def _sources(folder: Path, files: int, size: int) -> None:
    if (folder / "package" / f"m{files - 1}.py").exists():
        return
    (folder / "package").mkdir(parents=True, exist_ok=True)
    for number in range(files):
        line = f"value_{number} = {number}  # {os.urandom(20).hex()}\n"
        (folder / "package" / f"m{number}.py").write_text(line * max(1, size // len(line)))


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
