"""What every part uses: where things are, how they are said, and the error that ends a run."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: A Unix socket's path has at most 107 bytes; the longest one below a root is this much longer than the root.
_LONGEST_SOCKET = len("/run/containerd/containerd.sock.ttrpc")

_talk = threading.Lock()


class TestbedError(Exception):
    """The test-bed cannot do what was asked; the text says what, why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Every folder and file the bed touches: ``cache`` outlives runs, the rest of ``root`` is one bed's own."""

    root: Path
    cache: Path

    @property
    def lock(self) -> Path:
        return self.root / "bed.lock"

    @property
    def state(self) -> Path:
        return self.root / "state.json"

    @property
    def run(self) -> Path:
        """Sockets, logs, settings: of no use once the bed is down."""
        return self.root / "run"

    @property
    def data(self) -> Path:
        """What the engine and the registries store."""
        return self.root / "data"

    @property
    def docker_socket(self) -> Path:
        return self.run / "docker.sock"

    @property
    def docker_config(self) -> Path:
        return self.run / "docker-config"

    @property
    def cache_lock(self) -> Path:
        return self.cache / "cache.lock"

    @property
    def tmp(self) -> Path:
        return self.cache / "tmp"

    @property
    def tools(self) -> Path:
        return self.cache / "tools"

    @property
    def layouts(self) -> Path:
        return self.cache / "layouts"

    @property
    def short_name(self) -> str:
        """Eight characters that name this bed among others of the machine."""
        return hashlib.sha256(os.fsencode(self.root)).hexdigest()[:8]


def paths_from_environment() -> Paths:
    """The bed's folders: ``IMAGESPEC_TESTBED``, else below the user's cache; downloads may be shared by
    ``IMAGESPEC_TESTBED_CACHE``."""
    given = os.environ.get("IMAGESPEC_TESTBED")
    home_cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    root = Path(given or os.path.join(home_cache, "imagespec-testbed")).absolute()
    cache = Path(os.environ.get("IMAGESPEC_TESTBED_CACHE") or root).absolute()
    if len(os.fsencode(root)) + _LONGEST_SOCKET > 107:
        raise TestbedError(f"{root}: too long for Unix sockets below it; set IMAGESPEC_TESTBED to a shorter folder")
    return Paths(root=root, cache=cache)


def say(text: str) -> None:
    """One line for the person who waits."""
    with _talk:
        print(f"testbed: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def timed(text: str) -> Iterator[None]:
    """Says what was done and how long it took, once it is done."""
    begun = time.monotonic()
    yield
    say(f"{text} ... {time.monotonic() - begun:.1f} s")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock file, waiting for whoever else holds it; it is let go when the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another bed.py is at work here; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def architecture() -> str:
    """This machine's architecture in OCI's words; raises TestbedError for one without base images."""
    names = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
    machine = platform.machine().lower()
    if machine not in names:
        raise TestbedError(f"no base images are made for {machine}; use an x86-64 or arm64 machine")
    return names[machine]


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Puts the text in place whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with open(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.replace(new, path)


def mounts_below(folder: Path) -> list[str]:
    """Mount points in the folder, the deepest first; none where the kernel does not tell."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return []
    points = [line.split(" ")[4].replace("\\040", " ") for line in lines]
    return sorted((p for p in points if p.startswith(f"{folder}/")), key=len, reverse=True)


def remove_folder(folder: Path) -> None:
    """Deletes the folder (or file) if it is there; refuses where something is mounted in it, and would go too."""
    mounted = mounts_below(folder)
    if mounted:
        raise TestbedError(f"{mounted[0]} is still mounted; unmount it, then run `bed.py down` again")
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink(missing_ok=True)
    else:
        shutil.rmtree(folder)
