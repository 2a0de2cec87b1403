"""Base images as Docker Hub would give them: mirrored where it answers, else made of Debian's packages."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from testbed import hub, mmdebstrap, packages, processes
from testbed.common import Paths, TestbedError, architecture, say, timed
from testbed.layout import Layout, put_index

#: The architecture that `up --arm64` adds.
FOREIGN = "arm64"
#: Raised when images come out otherwise than before, so that cached ones are made again.
_RECIPE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A base image: ``key`` is what it is called in our output, ``name`` and ``tag`` what Docker Hub calls it."""

    key: str
    name: str
    tag: str
    suite: str
    python: str | None = None


BASES = (
    Base(key="debian", name="library/debian", tag="bookworm-slim", suite="bookworm"),
    Base(key="python3.11", name="library/python", tag="3.11-slim-bookworm", suite="bookworm", python="3.11"),
    Base(key="python3.13", name="library/python", tag="3.13-slim-trixie", suite="trixie", python="3.13"),
)


#: The base that is there for two architectures wherever programs of both run; known as this repository.
TWO_PLATFORMS = BASES[2]
TWO_PLATFORMS_NAME = "platforms/python"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """An image of one architecture to be made, and the folder it belongs into."""

    base: Base
    target: str
    folder: Path


def layouts(paths: Paths, *, arm64: bool) -> dict[str, Layout]:
    """Where the layout of every base is or will be, by its key; ``arm64`` for images of two architectures."""
    return {base.key: Layout(_folder(paths, base, "-multi" if arm64 else "")) for base in BASES}


def two_platforms(paths: Paths) -> Layout:
    """Where the layout of the base for two architectures is or will be."""
    return Layout(_folder(paths, TWO_PLATFORMS, "-multi"))


def are_cached(paths: Paths, *, arm64: bool, emulated: bool) -> bool:
    wanted = [*layouts(paths, arm64=arm64).values(), *([two_platforms(paths)] if emulated else [])]
    return all(layout.folder.exists() for layout in wanted)


def ensure(paths: Paths, *, arm64: bool, emulated: bool) -> None:
    """Makes the bases that are missing: all of them for two architectures, or one where the other is emulated."""
    foreign = BASES if arm64 else (TWO_PLATFORMS,) if emulated else ()
    wanted = [(base, "", architecture()) for base in BASES] + [(base, f"-{FOREIGN}", FOREIGN) for base in foreign]
    missing = [
        _Work(base=base, target=target, folder=_folder(paths, base, suffix))
        for base, suffix, target in wanted
        if not _folder(paths, base, suffix).exists()
    ]
    if missing:
        paths.layouts.mkdir(parents=True, exist_ok=True)
        _fill_all(paths, missing)
    for base in foreign:
        if not _folder(paths, base, "-multi").exists():
            parts = [Layout(_folder(paths, base, suffix)) for suffix in ("", f"-{FOREIGN}")]
            _place(paths, _folder(paths, base, "-multi"), base.tag, functools.partial(put_index, parts))


def _folder(paths: Paths, base: Base, suffix: str) -> Path:
    return paths.layouts / f"{base.name.replace('/', '_')}_{base.tag}-r{_RECIPE}{suffix}"


def _fill_all(paths: Paths, missing: Sequence[_Work]) -> None:
    if hub.answers():
        try:
            _mirror_all(paths, missing)
            return
        except (TestbedError, OSError) as error:  # it also answers when it has had enough of us
            if not packages.is_debian():
                raise
            say(f"Docker Hub does not let us have them: {error}")
    elif not packages.is_debian():
        raise TestbedError(
            "Docker Hub does not answer, and base images are made with mmdebstrap, which wants Debian: "
            "run this where one of the two is to be had"
        )
    left = [work for work in missing if not work.folder.exists()]
    say(f"no Docker Hub: making {len(left)} base images of Debian's packages (half a minute)")
    _make_all(paths, left)


def _mirror_all(paths: Paths, missing: Sequence[_Work]) -> None:
    for work in missing:
        with timed(f"mirroring {work.base.name}:{work.base.tag} for {work.target}"):
            fill = functools.partial(hub.mirror, work.base.name, work.base.tag, work.target)
            _place(paths, work.folder, work.base.tag, fill)


def _make_all(paths: Paths, missing: Sequence[_Work]) -> None:
    tools = mmdebstrap.fetch(paths)

    def make(work: _Work) -> None:
        base = work.base
        with timed(f"making {base.name}:{base.tag} for {work.target}"):
            fill = functools.partial(mmdebstrap.make, paths, tools, base.suite, base.python, work.target)
            _place(paths, work.folder, base.tag, fill)

    with ThreadPoolExecutor(3) as pool:
        begun = [pool.submit(make, work) for work in missing]
        try:
            for done in as_completed(begun):
                done.result()
        except BaseException:  # interrupted, or one failed: do not wait for the others
            pool.shutdown(wait=False, cancel_futures=True)
            processes.stop(processes.owned(processes.mark(paths.cache, "make")), grace_s=5)
            raise


def _place(paths: Paths, folder: Path, tag: str, fill: Callable[[Layout], None]) -> None:
    """Has a layout filled in a temporary folder, and puts it in place whole."""
    with tempfile.TemporaryDirectory(dir=paths.tmp) as scratch:
        layout = Layout(Path(scratch, "layout"))
        fill(layout)
        layout.set_name(tag)
        os.rename(Path(scratch, "layout"), folder)
