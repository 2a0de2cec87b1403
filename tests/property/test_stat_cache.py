"""Whatever is done to a tree between two looks, the tag with the stat cache is the tag without it."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from imagespec.errors import InputError
from imagespec.fingerprint import tree_digest
from imagespec.sources.stat_cache import SLACK_NS, StatCache
from imagespec.spec import Declaration
from imagespec.workspace import Workspace

NAMES = ("a", "b", "a.py", "é", "out", "a-b")
FOLDERS = ("", "d", "d/e", "d.x", "out")
numbers = itertools.count(1)


def write(path: Path) -> None:
    # Never the same length twice: what a clock too coarse for two writes would do is tested with clocks of our own.
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.write_bytes(b"x" * next(numbers))


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def link(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(path)
    path.symlink_to("a")


def fold(path: Path) -> None:
    remove(path)
    path.mkdir(parents=True)


def turn(path: Path) -> None:
    if path.is_file() and not path.is_symlink():
        path.chmod(path.stat().st_mode ^ 0o100)


def touch(path: Path) -> None:
    if path.is_file() and not path.is_symlink():
        os.utime(path, ns=(1, next(numbers)))


def rename(path: Path) -> None:
    if os.path.lexists(path):
        target = path.with_name(f"moved{next(numbers)}")
        path.rename(target)


ACTS: tuple[Callable[[Path], None], ...] = (write, write, write, remove, link, fold, turn, touch, rename)
paths = st.builds(os.path.join, st.sampled_from(FOLDERS), st.sampled_from(NAMES))
edits = st.lists(st.tuples(st.sampled_from(ACTS), paths), max_size=4)
ignored = st.sampled_from(("", "", "", "out\n", "*.py\n!d\n", "d/**\n"))


def below_a_file(root: Path, path: str) -> bool:
    """Return whether something above the path is no folder, so that nothing can be there."""
    above = [root / part for part in Path(path).parents]
    return any(os.path.lexists(one) and (one.is_symlink() or not one.is_dir()) for one in above)


def answer(root: Path, cache: StatCache | None, now_ns: int) -> bytes | str:
    """Return the digest of the tree, or what is said against it (a link may lead to nothing)."""
    workspace = Workspace(cwd=str(root), stat_cache=cache, clock_ns=lambda: now_ns)
    try:
        (tree,) = workspace.take(Declaration(source_root=".", source_copy_mode="ALL")).trees
    except InputError as error:
        return str(error)
    assert tree_digest(tuple(tree.entries)) == tree_digest(tree.entries)
    return tree_digest(tree.entries)


Look: TypeAlias = tuple[list[tuple[Callable[[Path], None], str]], str, bool]


@settings(deadline=None)
@given(st.lists(st.tuples(edits, ignored, st.sampled_from((True, True, False))), min_size=1, max_size=6))
def test_the_digest_with_the_cache_is_the_one_without(looks: list[Look]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder, "root"), StatCache(str(Path(folder, "stat")))
        root.mkdir()
        for acts, patterns, is_much_later in looks:
            for act, path in acts:
                if not below_a_file(root, path):
                    act(root / path)
            rules = root / ".dockerignore"
            if not rules.exists() or rules.read_text() != patterns:
                rules.write_text(patterns)
            now = time.time_ns() + (100 * SLACK_NS if is_much_later else 0)
            without = answer(root, None, now)
            assert [answer(root, cache, now), answer(root, cache, now)] == [without, without]
