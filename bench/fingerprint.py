"""The tag, beside flytekit's: trees of several sizes, with and without the stat cache, cold disk, memory, start-up.

Both sides are whole cold processes that import their ``ImageSpec``, declare the same image and print its tag. The tree
is a git work tree as Python projects are: an ignore file of some thirty lines for git and of a dozen for Docker, and
``__pycache__`` folders. "first run" means that our stat cache is empty and is written; "again" that it is there.
The limit of a row is what Python needs for the same files and nothing else: list and stat(2), and on a first run read
and sha256.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.rows import Runner, attempts, cache_folder, in_turn, limit, peer_python, row, say

PART = "fingerprint"
PACKAGE = Path(__file__).resolve().parents[1] / "builder" / "imagespec"
FLYTEKIT = "flytekit==1.16.31"

_OURS = """
import time
start = time.perf_counter()
from imagespec import ImageSpec
imported = time.perf_counter()
import sys
{body}
print(f"bench_import={{imported - start}}", f"bench_tag={{time.perf_counter() - imported}}", sep="\\n")
"""
_PEER = _OURS.replace("from imagespec import", "from flytekit import").replace(
    "import sys\n", "import sys\nfrom flytekit.constants import CopyFileDetection\n"
)
_TREE = 'ImageSpec(name="bench", source_root=sys.argv[1], source_copy_mode={mode}).tag'
_TEN_OURS = """
import os
from imagespec.identity import Target, identify, workspace_of
from imagespec.settings import Settings
workspace = workspace_of(Settings.load(), os.getcwd())
for number in range(10):
    spec = ImageSpec(name="bench", env={"N": str(number)}, source_root=sys.argv[1], source_copy_mode="ALL")
    identify(Target(declaration=spec), workspace)
"""
_TEN_PEER = """
for number in range(10):
    ImageSpec(
        name="bench", env={"N": str(number)}, source_root=sys.argv[1], source_copy_mode=CopyFileDetection.ALL
    ).tag
"""
_LIMIT = """
import hashlib, os, sys, time
start, left = time.perf_counter(), [sys.argv[1]]
while left:
    folder = left.pop()
    handle = os.open(folder, os.O_RDONLY)
    with os.scandir(handle) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                size = entry.stat(follow_symlinks=False).st_size
                if sys.argv[2] == "read":
                    file = os.open(entry.name, os.O_RDONLY, dir_fd=handle)
                    hashlib.sha256(os.read(file, size + 1)).digest()
                    os.close(file)
            elif entry.name not in (".git", "__pycache__"):
                left.append(f"{folder}/{entry.name}")
    os.close(handle)
print(f"bench_tag={time.perf_counter() - start}")
"""
_PLAIN = 'ImageSpec(name="bench", packages=["pandas"], apt_packages=["git"], python_version="3.11").tag'

_GITIGNORE = """\
# Byte-compiled
__pycache__/
*.py[cod]
*$py.class
*.so
# Packaging
build/
dist/
*.egg-info/
.installed.cfg
*.egg
MANIFEST
pip-log.txt
# Tests
htmlcov/
.tox/
.coverage
.coverage.*
.cache
nosetests.xml
coverage.xml
*.cover
.hypothesis/
.pytest_cache/
# Others
*.log
docs/_build/
.ipynb_checkpoints
.env
.venv
env/
/site
.mypy_cache/
!keep.log
"""
_DOCKERIGNORE = """\
.git
.github
**/__pycache__
**/*.pyc
.env
.venv
docs
tests/data
*.md
!README.md
**/.DS_Store
node_modules
"""


def measure(*, quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the rows of this part."""
    times = 3 if quick else 7
    with tempfile.TemporaryDirectory(prefix="bench-stat-") as caches:
        bench = _Bench(Path(caches), peer_python(FLYTEKIT))
        sizes = (100, 2_000, 20_000) if quick else (100, 2_000, 20_000, 100_000)

        def start_up() -> Iterator[dict[str, Any]]:
            yield from bench.start_up(times)

        def trees() -> Iterator[dict[str, Any]]:
            for files in sizes:
                yield from bench.tree(files, times if files < 100_000 else 3)

        def ten_specs() -> Iterator[dict[str, Any]]:
            yield from bench.ten_specs(2_000 if quick else 20_000, min(times, 3))

        def cold_disk() -> Iterator[dict[str, Any]]:
            yield from bench.cold_disk(2_000 if quick else 20_000, min(times, 5))

        def large_files() -> Iterator[dict[str, Any]]:
            yield from bench.large_files(3)

        def memory() -> Iterator[dict[str, Any]]:
            yield from bench.memory()

        yield from attempts(PART, [start_up, trees, ten_specs, cold_disk, *([] if quick else [large_files, memory])])


class _Bench:
    def __init__(self, caches: Path, peer: str) -> None:
        self._caches = caches
        self._peer = peer
        # A copy, so that what is measured stays the same while somebody edits the checkout.
        shutil.copytree(PACKAGE, caches / "package" / "imagespec", ignore=shutil.ignore_patterns("__pycache__"))

    def _environment(self, cache: str) -> dict[str, str]:
        return {"IMAGESPEC_CACHE": str(self._caches / cache), "PYTHONPATH": str(self._caches / "package")}

    def _ours(self, body: str, *arguments: str, cache: str, before: Callable[[], None] = lambda: None) -> Runner:
        return Runner(
            who="imagespec",
            command=[sys.executable, "-c", _OURS.format(body=body), *arguments],
            environment=self._environment(cache),
            before=before,
        )

    def _theirs(self, body: str, *arguments: str, before: Callable[[], None] = lambda: None) -> Runner:
        return Runner(who=FLYTEKIT, command=[self._peer, "-c", _PEER.format(body=body), *arguments], before=before)

    def _empty(self, cache: str) -> Callable[[], None]:
        return lambda: shutil.rmtree(self._caches / cache, ignore_errors=True)

    def _three(self, root: Path) -> list[Runner]:
        """Return: us with an empty cache, us again, flytekit."""
        mine = _TREE.format(mode='"ALL"')
        return [
            self._ours(mine, str(root), cache="first", before=self._empty("first")),
            self._ours(mine, str(root), cache="again"),
            self._theirs(_TREE.format(mode="CopyFileDetection.ALL"), str(root)),
        ]

    def start_up(self, times: int) -> list[dict[str, Any]]:
        say("a spec without sources")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "image.yaml"
            file.write_text("name: bench\npackages: [pandas]\napt_packages: [git]\npython_version: '3.11'\n")
            bare, ours, command, theirs = in_turn(
                [
                    Runner(who="python -c pass", command=[sys.executable, "-c", "pass"]),
                    self._ours(_PLAIN, cache="plain"),
                    Runner(
                        who="imagespec tag",
                        command=[str(Path(sys.executable).with_name("imagespec")), "tag", str(file)],
                        environment=self._environment("plain"),
                    ),
                    self._theirs(_PLAIN),
                ],
                times * 3,
            )
        return [
            row(PART, "spec without sources, whole process", ours, theirs, FLYTEKIT, goal=10),
            row(PART, "spec without sources, against bare Python", ours, bare, "python -c pass", goal=6, at_most=True),
            row(PART, "imagespec tag, against bare Python", command, bare, "python -c pass", goal=12, at_most=True),
        ]

    def tree(self, files: int, times: int) -> list[dict[str, Any]]:
        root = project(files)
        say(f"a tree of {files:,} files")
        first, again, theirs, read, listed = in_turn([*self._three(root), *_limits(root)], times)
        limits = (("list, stat, read and sha256 in Python", read), ("list and stat in Python", listed))
        goals = {"wall": (6, 14), "tag": (5, 12)} if files == 20_000 else {}
        rows = []
        for what, label in (("wall", "whole process"), ("tag", "tag after import")):
            for runs, name, index in ((first, "first run", 0), (again, "again", 1)):
                goal = goals[what][index] if what in goals else None
                title, least = f"{files:,} files, {label}, {name}", limit(*limits[index], what)
                rows.append(row(PART, title, runs, theirs, FLYTEKIT, what=what, goal=goal, limit=least))
        return rows

    def ten_specs(self, files: int, times: int) -> list[dict[str, Any]]:
        root = str(project(files))
        say(f"ten specs on {files:,} files")
        first, again, theirs = in_turn(
            [
                self._ours(_TEN_OURS, root, cache="first", before=self._empty("first")),
                self._ours(_TEN_OURS, root, cache="again"),
                self._theirs(_TEN_PEER, root),
            ],
            times,
        )
        goal = 40 if files == 20_000 else None
        title = f"ten specs on {files:,} files, after import"
        return [
            row(PART, f"{title}, first run", first, theirs, FLYTEKIT, what="tag"),
            row(PART, f"{title}, again", again, theirs, FLYTEKIT, what="tag", goal=goal),
        ]

    def cold_disk(self, files: int, times: int) -> list[dict[str, Any]]:
        root = project(files)
        say(f"{files:,} files that are not in memory")
        empty = self._empty("first")

        def before() -> None:
            empty()
            evict(root)

        ours, theirs = in_turn(
            [
                self._ours(_TREE.format(mode='"ALL"'), str(root), cache="first", before=before),
                self._theirs(_TREE.format(mode="CopyFileDetection.ALL"), str(root), before=before),
            ],
            times,
        )
        title = f"{files:,} files evicted from memory, tag after import, first run"
        return [row(PART, title, ours, theirs, FLYTEKIT, what="tag", goal=6 if files == 20_000 else None)]

    def large_files(self, times: int) -> list[dict[str, Any]]:
        root = large()
        say("2 GB in eight files")
        first, again, theirs = in_turn(self._three(root), times)
        title = "2 GB in 8 files, tag after import"
        return [
            row(PART, f"{title}, first run", first, theirs, FLYTEKIT, what="tag"),
            row(PART, f"{title}, again", again, theirs, FLYTEKIT, what="tag", goal=1000),
        ]

    def memory(self) -> list[dict[str, Any]]:
        say("memory against the number of files")
        few, many = 2_000, 100_000
        small, large_tree = in_turn(self._three(project(few)), 1), in_turn(self._three(project(many)), 1)
        ours = [max(b.peak_bytes - a.peak_bytes for a, b in zip(small[i], large_tree[i], strict=True)) for i in (0, 1)]
        peer = large_tree[2][0].peak_bytes - small[2][0].peak_bytes
        per_file = max(ours) / (many - few)
        return [
            {
                **row(PART, "memory per file", large_tree[0], large_tree[2], FLYTEKIT, goal=1000, at_most=True),
                "ratio": round(per_file),
                "ratio_spread": [round(min(ours) / (many - few)), round(per_file)],
                "met": per_file < 1000,
                "unit": "bytes",
                "peer_bytes_per_file": round(peer / (many - few)),
            }
        ]


def _limits(root: Path) -> list[Runner]:
    command = [sys.executable, "-c", _LIMIT, str(root)]
    return [Runner(who=what, command=[*command, what]) for what in ("read", "list")]


def project(files: int) -> Path:
    """Return a git work tree of this many files of a few kilobytes, made once."""
    root = cache_folder() / "trees" / f"v1-{files}"
    if (root / ".git" / "index").exists():
        return root
    say(f"making a tree of {files:,} files")
    shutil.rmtree(root, ignore_errors=True)
    source = random.Random(files)
    for number in range(files):
        folder = root / f"area{number // 1000}" / f"package{number // 40}"
        if number % 40 == 0:
            (folder / "__pycache__").mkdir(parents=True)
        (folder / f"module_{number}.{'json' if number % 4 == 3 else 'py'}").write_bytes(
            source.randbytes(source.randint(100, 6000))
        )
        if number % 8 == 0:
            (folder / "__pycache__" / f"module_{number}.cpython-311.pyc").write_bytes(b"\0" * 1000)
    (root / ".gitignore").write_text(_GITIGNORE)
    (root / ".dockerignore").write_text(_DOCKERIGNORE)
    for arguments in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *arguments], cwd=root, check=True)
    return root


def large() -> Path:
    """Return a folder of 2 GB in eight files, made once."""
    root = cache_folder() / "trees" / "v1-2GB"
    block = random.Random(2).randbytes(1 << 20)
    for number in range(8):
        file = root / f"weights{number}.bin"
        if not file.exists() or file.stat().st_size != 256 << 20:
            root.mkdir(parents=True, exist_ok=True)
            with file.open("wb") as stream:
                for part in range(256):
                    stream.write(block[part:] + block[:part])
    return root


def evict(root: Path) -> None:
    """Drop the files' pages from memory; what is not on the disk yet is written first."""
    os.sync()
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name != ".git"]
        for name in names:
            handle = os.open(os.path.join(folder, name), os.O_RDONLY)
            try:
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(handle)
