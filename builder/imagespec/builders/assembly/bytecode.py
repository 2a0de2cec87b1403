"""Bytecode of wheels, compiled by an interpreter of this machine of the same minor version, kept per wheel.

Unchecked hash-based files (PEP 552): valid whatever times the sources have, and never compared with them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from imagespec.builders.assembly.store import Store, key_of
from imagespec.builders.host_uv import host_uv
from imagespec.errors import BuildFailed
from imagespec.values import dataclass
from imagespec.wheels.lock import LockedWheel
from imagespec.wheels.placement import Placed
from imagespec.workers import Workers

__all__ = ["BytecodeStore", "Compiler", "find_compiler"]

_FORMAT: Final = 2
_TIME_LIMIT_S: Final = 600.0
_ASK: Final = (
    "import json,sys;print(json.dumps([sys.executable,'%d.%d.%d'%sys.version_info[:3],sys.implementation.name]))"
)

# One process a wheel: what marshal writes depends on which strings are alive in the process (FLAG_REF).
_SCRIPT: Final = """\
import importlib._bootstrap_external as external, importlib.util, json, sys, warnings, zipfile
warnings.simplefilter("ignore")
job = json.load(sys.stdin)
magic_names = importlib.util.cache_from_source
with zipfile.ZipFile(job["wheel"]) as wheel, zipfile.ZipFile(job["output"], "w", zipfile.ZIP_DEFLATED) as output:
    for name, path in job["files"]:
        source = wheel.read(name)
        try:
            code = compile(source, "/" + path, "exec", dont_inherit=True, optimize=0)
        except (SyntaxError, ValueError, RecursionError):
            continue
        data = external._code_to_hash_pyc(code, importlib.util.source_hash(source), False)
        info = zipfile.ZipInfo(magic_names(path, optimization=""))
        info.compress_type = zipfile.ZIP_DEFLATED
        output.writestr(info, data, compresslevel=job["level"])
        del code, data, source
"""
_LEVEL: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiler:
    """A Python of this machine: its path and full version."""

    path: str
    version: str


def find_compiler(minor: str, given: Sequence[str], store: Store) -> Compiler | None:
    """Return an interpreter of this minor version: this one, one of those given, or what uv finds; None without.

    ``given`` are patterns of paths as ``glob`` takes them, in which ``{minor}`` stands for the version.
    """
    key = key_of("compiler", minor, sys.executable, list(given))
    kept = store.record(key)
    if isinstance(kept, dict) and kept.get("stat") == _identity(kept.get("path", "")):
        return Compiler(path=kept["path"], version=kept["version"])
    for path in _candidates(minor, given):
        found = _asked(path) if path else None
        if found is not None and found.version.startswith(f"{minor}."):
            store.write_record(key, {"path": found.path, "version": found.version, "stat": _identity(found.path)})
            return found
    return None


def _candidates(minor: str, given: Sequence[str]) -> Iterator[str]:
    import glob

    yield sys.executable
    for pattern in given:
        yield from sorted(glob.iglob(pattern.replace("{minor}", minor)), reverse=True)
    yield _uv_finds(minor)  # a process of its own: asked only when the others do not fit


def _identity(path: str) -> list[int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def _uv_finds(minor: str) -> str:
    import subprocess

    words = [host_uv(), "python", "find", "--no-project", "--no-python-downloads", "--offline"]
    done = subprocess.run([*words, minor], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip()


def _asked(path: str) -> Compiler | None:
    import subprocess

    try:
        done = subprocess.run([path, "-I", "-S", "-c", _ASK], capture_output=True, text=True, timeout=60, check=False)
        executable, version, implementation = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return Compiler(path=executable, version=version) if implementation == "cpython" else None


Job: TypeAlias = tuple[LockedWheel, Path, Sequence[Placed]]
"""A wheel, its file, and where its own files go."""


class BytecodeStore:
    """Makes and keeps the bytecode of wheels."""

    def __init__(self, store: Store, compiler: Compiler) -> None:
        self._store = store
        self._compiler = compiler

    def key(self, wheel: LockedWheel, site_packages: str) -> str:
        """Return the name of a wheel's bytecode."""
        return key_of("bytecode", _FORMAT, wheel.sha256, site_packages, self._compiler.version)

    def drop(self, wheels: Sequence[LockedWheel], site_packages: str) -> None:
        """Remove the bytecode of these wheels, to be made anew."""
        for wheel in wheels:
            self._store.drop("bytecode", self.key(wheel, site_packages))

    def make(self, jobs: Sequence[Job], site_packages: str) -> list[Path]:
        """Return an archive per wheel, whose members are named by their paths in the image; raise BuildFailed."""
        made: dict[int, Path] = {}

        def compile_one(number: int, job: Job) -> None:
            made[number] = self._one(job, site_packages)

        with Workers(os.cpu_count() or 1) as workers:
            for number, job in enumerate(jobs):
                workers.submit(partial(compile_one, number, job))
            workers.wait()
        return [made[number] for number in sorted(made)]

    def _one(self, job: Job, site_packages: str) -> Path:
        import subprocess

        wheel, path, placed = job
        key = self.key(wheel, site_packages)
        found = self._store.find("bytecode", key)
        if found is not None:
            return found
        output = self._store.temporary()
        given = {"wheel": str(path), "output": str(output), "files": _sources(placed, site_packages), "level": _LEVEL}
        command = ["env", "PYTHONHASHSEED=0", self._compiler.path, "-I", "-S", "-c", _SCRIPT]
        done = subprocess.run(
            command,
            input=json.dumps(given),
            capture_output=True,
            text=True,
            timeout=_TIME_LIMIT_S,
            check=False,
        )
        if done.returncode != 0:
            output.unlink(missing_ok=True)
            said = done.stderr.strip().splitlines()
            raise BuildFailed(
                f"compile {wheel.filename}: {said[-1] if said else 'the interpreter stopped'}",
                step="bytecode",
                exit_status=done.returncode,
                hint="builder_options={'bytecode': False} leaves it out",
            )
        return self._store.adopt("bytecode", key, output)


def _sources(placed: Sequence[Placed], site_packages: str) -> list[tuple[str, str]]:
    return [
        (one.member.name, one.path)
        for one in placed
        if one.member is not None and one.path.endswith(".py") and one.path.startswith(f"{site_packages}/")
    ]
