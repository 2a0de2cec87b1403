"""``.dockerignore`` is read as BuildKit reads it: the same files of random trees reach the engine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from imagespec.errors import SpecError
from imagespec.sources.ignore import IgnoreRules
from imagespec.sources.walk import walk
from imagespec.sources.work_tree import context_rules
from tests.property.trees import ignore_file, tree, write

# Trees in the short form; the long campaign sets 400 and more.
TREES = int(os.environ.get("IMAGESPEC_TEST_TREES", "60"))
ONLY_DOCKER = IgnoreRules(standard=False, gitignore=False)
PER_BUILD = 30

# Cases that other matchers get wrong.
KNOWN = (
    {"build/a": "", "Build/b": "", ".dockerignore": "Build\n"},
    {"a/b": "", "a/c": "", ".dockerignore": "a\n!a/b\n"},
    {"a/b/c": "", "a/b/d": "", "a/e": "", ".dockerignore": "a/*\n!a/b/c\n"},
    {"x.py": "", "a/x.py": "", ".dockerignore": "/x.py  \n"},
    {"a/x.py": "", "b/c/x.py": "", "x.py": "", ".dockerignore": "**/x.py\n!b/**/x.py\n"},
    {"a[b]": "", "b": "", "[": "", ".dockerignore": "a\\[b\\]\n"},
    {"a/b": "", "ab": "", "c": "", ".dockerignore": "#a\n./ab/\n"},
)


def project(random: Random) -> dict[str, str]:
    files = tree(random)
    text = ignore_file(random, files)
    # This engine cannot transfer patterns of other characters: they are headers of a gRPC call there.
    plain = "".join(character for character in text if character in "\r\n" or " " <= character <= "~")
    return {**files, ".dockerignore": plain}


def ours(root: Path) -> set[str]:
    found = walk(os.fsencode(root.resolve()), context_rules(os.fsencode(root.resolve()), "", ONLY_DOCKER))
    return set(found.files)


def environment(testbed: Mapping[str, Any]) -> dict[str, str]:
    return {
        "HOME": os.environ.get("HOME", "/root"),
        "PATH": os.pathsep.join([*testbed["path"], os.environ["PATH"]]),
        "DOCKER_HOST": testbed["docker_host"],
        "DOCKER_CONFIG": testbed["docker_config"],
    }


def build(testbed: Mapping[str, Any], contexts: dict[str, Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """Copy every context into an image of its own folder; each is read with its own .dockerignore."""
    main = folder / "main"
    main.mkdir()
    copies = "".join(f"COPY --from={name} / /{name}/\n" for name in contexts)
    (main / "Dockerfile").write_text(f"FROM scratch\n{copies}")
    named = [f"--build-context={name}={path}" for name, path in contexts.items()]
    out = folder / "out"
    command = ["docker", "buildx", "build", "--progress=plain", *named, f"--output=type=local,dest={out}", str(main)]
    return subprocess.run(command, env=environment(testbed), capture_output=True, text=True, check=False)


@pytest.mark.integration
@pytest.mark.parametrize("seed", range(-1, TREES // PER_BUILD))
def test_same_files_as_buildkit(testbed: dict[str, Any], tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    projects = list(KNOWN) if seed < 0 else [project(random) for _ in range(PER_BUILD)]
    contexts = {}
    for number, files in enumerate(projects):
        folder = tmp_path / f"t{number}"
        if not refused_line(files, folder):
            contexts[f"t{number}"] = folder
    done = build(testbed, contexts, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    wrong = {}
    for name, folder in contexts.items():
        copied = tmp_path / "out" / name
        theirs = {str(path.relative_to(copied)) for path in copied.rglob("*") if path.is_file()}
        if theirs != ours(folder):
            wrong[name] = {"ignore": (folder / ".dockerignore").read_text(), "theirs": theirs, "ours": ours(folder)}
    assert wrong == {}
    shutil.rmtree(tmp_path)


@pytest.mark.integration
def test_what_we_refuse_buildkit_refuses(testbed: dict[str, Any], tmp_path: Path) -> None:
    refused = set()
    for number in range(TREES * 5):
        line = refused_line(project(Random(number)), tmp_path / f"t{number}")
        refused |= {line} - {""}
    assert refused
    for number, line in enumerate(sorted(refused)[: max(2, TREES // 40)]):
        folder = tmp_path / f"refused{number}"
        # Alone and not negated: BuildKit compiles a pattern only when it has a path to compare.
        write(folder / "context", {"a/b": "", ".dockerignore": line.strip().lstrip("!")})
        assert build(testbed, {"t": folder / "context"}, folder).returncode != 0, line


def refused_line(files: Mapping[str, str], folder: Path) -> str:
    write(folder, dict(files))
    try:
        ours(folder)
    except SpecError as error:
        return files[".dockerignore"].split("\n")[int(error.path.rpartition(":")[2]) - 1]
    return ""
