"""``.gitignore`` is read as git reads it: the same files are left out of random trees, tracked ones are kept."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from random import Random

import pytest

from imagespec.sources.ignore import IgnoreRules
from imagespec.sources.walk import walk
from imagespec.sources.work_tree import context_rules
from tests.property.trees import folders_of, ignore_file, tree, write

# Trees in the short form; the long campaign sets 4000.
TREES = int(os.environ.get("IMAGESPEC_TEST_TREES", "300"))
ONLY_GIT = IgnoreRules(standard=False, dockerignore=False)

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="compares with git")

# Cases that other matchers get wrong.
KNOWN = (
    {"src/a": "", "__pycache__/b": "", ".gitignore": "__pycache__/\n!/src/\n"},
    {"data/x/.gitkeep": "", "data/y": "", "data/.gitkeep": "", ".gitignore": "data/**\n!data/.gitkeep\n"},
    {"abc/x": "", "abcd/e/x": "", "ab/x": "", ".gitignore": "ab**/x\n"},
    {"é": "", "a": "", "ab": "", ".gitignore": "?\n"},
    {"a ": "", "a": "", "b\t": "", ".gitignore": "a\\ \nb\t\n"},
    {"keep/b": "", "keep/.gitignore": "!b\n", ".gitignore": "*\n!*/\n!.gitignore\n"},
    {"a/b/c": "", "b/c": "", ".gitignore": "a/**/b/c\n**/b/\n"},
    {"z-a": "", "-": "", "]": "", "[": "", ".gitignore": "[]-a]\n[--/]\n"},
)


def project(random: Random) -> dict[str, str]:
    files = tree(random)
    folders = folders_of(files)
    for folder in {"", *random.sample(folders, min(len(folders), random.randint(0, 2)))}:
        files[f"{folder}/.gitignore".lstrip("/")] = ignore_file(random, files)
    return files


def git(top: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    environment = {"HOME": str(top.parent), "PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    return subprocess.run(
        ["git", *arguments], cwd=top, env=environment, input=stdin, check=True, capture_output=True
    ).stdout


def ours(root: Path) -> set[str]:
    found = walk(os.fsencode(root), context_rules(os.fsencode(root), "", ONLY_GIT))
    return set(found.files)


def kept_by_git(top: Path) -> set[str]:
    listed = git(top, "ls-files", "-z", "--others", "--cached", "--exclude-per-directory=.gitignore")
    return {path for path in listed.decode().split("\0") if path}


def difference(top: Path) -> dict[str, str]:
    """Return nothing, or the trees in which git and we differ, as it can be pasted into KNOWN."""
    wrong = {path.split("/")[0] for path in ours(top) ^ kept_by_git(top)}
    return {
        f"{one}/{path.relative_to(top / one)}": path.read_text()
        for one in sorted(wrong)
        for path in sorted((top / one).rglob("*"))
        if path.is_file()
    }


def repository(folder: Path, projects: list[dict[str, str]]) -> Path:
    top = folder.resolve() / "top"
    for number, files in enumerate(projects):
        write(top / f"t{number}", files)
    git(top.parent, "init", "-q", "top")
    return top


@pytest.mark.parametrize("seed", range(-1, TREES // 100))
def test_same_files_as_git(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    projects = list(KNOWN) if seed < 0 else [project(random) for _ in range(100)]
    top = repository(tmp_path, projects)
    assert difference(top) == {}
    every = sorted(f"t{number}/{path}" for number, files in enumerate(projects) for path in files)
    tracked = [path for path in every if random.random() < 0.2]
    git(top, "update-index", f"--index-version={random.choice('234')}")
    git(top, "update-index", "--add", "-z", "--stdin", stdin="\0".join(tracked).encode())
    git(top, "update-index", "-z", "--skip-worktree", "--stdin", stdin=tracked[0].encode())
    assert difference(top) == {}
    assert set(tracked) <= ours(top)


@pytest.mark.parametrize("seed", range(TREES // 100))
def test_a_folder_of_the_work_tree_has_the_rules_above_it(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    projects = [project(random) for _ in range(30)]
    top = repository(tmp_path, projects)
    everything = kept_by_git(top)
    for number, files in enumerate(projects):
        for inside in folders_of(files):
            root = f"t{number}/{inside}".rstrip("/")
            kept = {path.removeprefix(f"{root}/") for path in everything if path.startswith(f"{root}/")}
            # A root that git ignores as a whole is another case: naming it is a decision.
            if kept:
                assert ours(top / root) == kept, root
