"""flytekit's own tag, told without flytekit: bit for bit the same where we tell it, and refused by name elsewhere."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flytekit import ImageSpec as Theirs
from flytekit.constants import CopyFileDetection

from imagespec import ImageSpec
from imagespec.errors import InputError, NoFlyteTag, SpecError

SPECS = 1200
REPOSITORIES = 500
LUCKY = {"env": {"A": "1", "B": "2"}}


@contextmanager
def inside(folder: Path, **environ: str) -> Iterator[None]:
    before, kept = Path.cwd(), dict(os.environ)
    os.chdir(folder)
    os.environ.update(environ)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(kept)


def theirs(fields: dict[str, Any]) -> str:
    """Return the tag that the real flytekit computes; ``builder`` keeps it from being ours, and is in no tag."""
    base = fields.get("base_image")
    given = {**fields, "builder": "default"}
    if isinstance(base, dict):
        given["base_image"] = Theirs(**base, builder="default")
    tag: str = Theirs(**given).tag
    return tag


def ours(fields: dict[str, Any]) -> str:
    base = fields.get("base_image")
    given = {**fields, "base_image": ImageSpec(**base)} if isinstance(base, dict) else fields
    return ImageSpec(**given).flyte_tag()


def answer(fields: dict[str, Any]) -> tuple[str, NoFlyteTag | None]:
    """Return our tag, or why there is none; raise for a spec that makes no image."""
    try:
        return ours(fields), None
    except NoFlyteTag as error:
        return "", error


TEXTS: dict[str, list[Any]] = {
    "name": ["flytekit", "My-Image", "team/etl"],
    "python_version": ["3.11", "3.12", "3.10.4", None],
    "registry": [None, "ghcr.io/Team", "localhost:30000", "127.0.0.1:5000/x", "docker.io/me"],
    "cuda": [None, None, "12.1"],
    "base_image": [None, "python:3.12-slim", "ghcr.io/team/base:v1", "ubuntu", {"name": "b", "python_version": "3.12"}],
    "platform": [None, "linux/amd64", "linux/arm64,linux/amd64", "linux/amd64,linux/amd64"],
    "pip_index": [None, None, "https://index.example/simple"],
    "pip_extra_args": [None, "--no-deps", "--only-binary=:all:  --pre"],
    "tag_format": [None, "{spec_hash}-dev", "v1_{spec_hash}"],
    "python_exec": [None, None, "/usr/bin/python3"],
    "registry_config": [None, "config.json"],
    "source_copy_mode": [None, CopyFileDetection.NO_COPY],
    "env": [None, {}, {"A": "1"}, {"PATH_TO": 'it\'s a "path" \\ \n é'}, {"K": "漢字"}, {"K": "🎉"}, LUCKY["env"]],
    "builder_options": [
        None,
        {},
        {"network": "host"},
        {"labels": {"a": "b"}},
        {"a": [1, {"x": 1, "y": 2}]},
        {"t": (1,)},
    ],
    "builder_config": [None, {"uv_image": "ghcr.io/x/uv:1"}, {"uv_image": "a", "micromamba_image": "b"}],
}
LISTS: dict[str, list[str]] = {
    "packages": [
        "pandas",
        "NumPy",
        "scikit_learn>=1.3,<2",
        "torch ==2.1.0",
        'x; python_version < "3.9"',
        "a[b,C]~=1.0",
    ],
    "conda_packages": ["pytorch", "conda-forge::numpy=1.26"],
    "conda_channels": ["nvidia", "https://conda.example/main"],
    "apt_packages": ["git", "libc6=2.36-9", "g++"],
    "pip_extra_index_url": ["https://a.example/simple", "https://b.example/simple"],
    "entrypoint": ["/bin/sh", "-c", "", "é'\""],
    "commands": ["echo 'a' || true", "apt-get update\nls", "printf %s \\n"],
    "runtime_packages": ["numpy"],
}


def random_fields(chosen: random.Random) -> dict[str, Any]:
    fields: dict[str, Any] = {"python_version": "3.12"}
    for name, values in TEXTS.items():
        if chosen.random() < 0.25:
            fields[name] = chosen.choice(values)
    for name, words in LISTS.items():
        if chosen.random() < 0.3:
            fields[name] = [chosen.choice(words) for _ in range(chosen.randint(0, 3))]
    if chosen.random() < 0.1:
        fields["source_root"], fields["source_copy_mode"] = "src", CopyFileDetection.NO_COPY
    if chosen.random() < 0.1:
        fields["pip_secret_mounts"] = [(".netrc", "/root/.netrc")]
    return fields


def expected_refusal(fields: dict[str, Any]) -> set[str]:
    """Return the fields that may be named, by the rules as a person would put them."""
    found = set()
    if fields.get("python_version") is None and fields.get("python_exec") is None:
        found.add("python_version")
    if str(fields.get("registry")).startswith("localhost:") and fields.get("platform") is None:
        found.add("platform")
    for name in ("env", "builder_options", "builder_config"):
        if any(text in repr(fields.get(name)) for text in ("'B'", "'y'", "'micromamba_image'", "(1,)", "🎉")):
            found.add(name)
    return found


def test_random_specs_have_flytekits_tag_or_a_reason() -> None:
    chosen, told, refused = random.Random(6), 0, Counter[str]()
    for _ in range(SPECS):
        fields = random_fields(chosen)
        lucky = expected_refusal(fields)
        tag, error = answer(fields)
        if error is not None:
            assert error.path in lucky, (fields, error)
            assert str(error).startswith(f"{error.path}: ")
            refused[error.path] += 1
            continue
        assert not lucky, fields
        assert tag == theirs(fields), fields
        told += 1
    assert told >= 600
    assert set(refused) == {"python_version", "platform", "env", "builder_options", "builder_config"}


NAMES = ("a.py", "b.txt", "c.pyc", "Build", "data", ".cache", "naïve", "x y", "__pycache__", "keep.me", "v.log", "Z")
GIT_LINES = ("*.log", "data/", "/Build", "naïve", "!keep.me", "*.txt")
DOCKER_LINES = (
    "data",
    "**/*.txt",
    "build",
    "!data/a.py",
    "# no",
    "  Z  ",
    "*/x*",
    "a/../Z",
    "[ab].py",
    "src/b.txt",
    "[",
)


def random_tree(root: Path, chosen: random.Random, depth: int = 0, *, clean: bool) -> None:
    root.mkdir(exist_ok=True)
    for name in chosen.sample(NAMES, chosen.randint(1, 4)):
        path = root / name
        kind = chosen.random()
        if kind < 0.3 and depth < 2:
            random_tree(path, chosen, depth + 1, clean=clean)
        elif kind < 0.36 and not clean:
            path.symlink_to(chosen.choice(["a.py", "nowhere", ".", "data"]))
        else:
            path.write_bytes(chosen.randbytes(chosen.randint(0, 40)))


def random_repository(root: Path, chosen: random.Random) -> None:
    clean = chosen.random() < 0.5
    random_tree(root, chosen, clean=clean)
    if chosen.random() < 0.6:
        subprocess.run(["git", "init", "-q", str(root)], check=True)
    if chosen.random() < 0.5:
        (root / ".gitignore").write_text("\n".join(chosen.sample(GIT_LINES, chosen.randint(1, 3))) + "\n")
    if chosen.random() < 0.5:
        (root / ".dockerignore").write_text("\n".join(chosen.sample(DOCKER_LINES, chosen.randint(1, 4))) + "\n")


def both_answers(fields: dict[str, Any], without_git: str) -> set[str]:
    """Return what flytekit says on a machine with git and on one without."""
    answers = {theirs(fields)}
    with inside(Path.cwd(), PATH=without_git):
        answers.add(theirs(fields))
    return answers


@pytest.mark.parametrize("field", ["source_root", "copy"])
def test_random_repositories_have_flytekits_tag_or_a_reason(field: str, tmp_path: Path) -> None:
    chosen, told, reasons = random.Random(field), 0, Counter[str]()
    (tmp_path / "bin").mkdir()
    for number in range(REPOSITORIES):
        folder = tmp_path / str(number)
        folder.mkdir()
        random_repository(folder / "src", chosen)
        fields: dict[str, Any] = {"python_version": "3.12"}
        if field == "source_root":
            root = chosen.choice([str(folder / "src"), "src", "./src", "src/"])
            fields |= {"source_root": root, "source_copy_mode": CopyFileDetection.ALL}
        else:
            files = sorted(path.name for path in (folder / "src").iterdir() if path.is_file())
            fields["copy"] = [chosen.choice(["src", "./src/", *(f"src/{name}" for name in files)])]
        with inside(folder):
            try:
                tag, error = answer(fields)
            except (InputError, SpecError):  # a dangling link, a pattern that Docker refuses: there is no image either
                continue
            if error is not None:
                assert error.path == ("copy[0]" if field == "copy" else field)
                reasons[str(error)[-45:]] += 1
                continue
            assert both_answers(fields, str(tmp_path / "bin")) == {tag}, fields
        told += 1
    assert told >= REPOSITORIES // 5, reasons
    assert sum(reasons.values()) >= REPOSITORIES // 10


def project(folder: Path) -> Path:
    for name in ("src/a.py", "src/pkg/b.py", "one.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "requirements.txt").write_text("\n  pandas==2.2.3\nnumpy # why\n\n")
    (folder / "pins.txt").write_text("x==1\n")
    (folder / "nested.txt").write_text("-r pins.txt\n")
    return folder


def test_what_depends_on_files(tmp_path: Path) -> None:
    whole = {"source_root": "src", "source_copy_mode": CopyFileDetection.ALL}
    with inside(project(tmp_path)):
        for fields in (
            {"requirements": "requirements.txt"},
            {"copy": ["src", "one.txt", "src/a.py"]},
            {"copy": []},
            {**whole, "copy": ["one.txt"], "requirements": "pins.txt", "env": {"A": "1"}},
            {"base_image": {"name": "base", "registry": "ghcr.io/t", "python_version": "3.12", **whole}},
        ):
            given = {"python_version": "3.12", **fields}
            assert ours(given) == theirs(given)


def refusal(fields: dict[str, Any]) -> NoFlyteTag:
    with pytest.raises(NoFlyteTag) as caught:
        ours({"python_version": "3.12", **fields})
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("fields", "path", "why"),
    [
        (LUCKY, "env", "order"),
        ({"builder_options": {"labels": {"a": "1", "b": "2"}}}, "builder_options", "order"),
        ({"packages": {"a", "b"}}, "packages", "set"),
        ({"python_version": None}, "python_version", "machine"),
        ({"registry": "localhost:5000"}, "platform", "machine"),
        ({"source_root": "src"}, "source_copy_mode", "LOADED_MODULES"),
        ({"source_root": "/a/src", "source_copy_mode": "NO_COPY"}, "source_root", "path of this machine"),
        ({"source_root": Path("src"), "source_copy_mode": "NO_COPY"}, "source_root", "path object"),
        ({"requirements": "nested.txt"}, "requirements", "'pins.txt'"),
        ({"env": {"A": "\U0001fae8"}}, "env", "older versions of Python"),
        ({"base_image": {"name": "b"}}, "base_image.python_version", "base_image: python_version: is not set"),
    ],
)
def test_luck_is_refused_by_name(tmp_path: Path, fields: dict[str, Any], path: str, why: str) -> None:
    with inside(project(tmp_path)):
        error = refusal(fields)
    assert error.path == path
    assert why in str(error)


def test_files_of_which_flytekit_is_not_sure_are_named(tmp_path: Path) -> None:
    whole = {"source_root": "src", "source_copy_mode": "ALL"}
    with inside(project(tmp_path)):
        (tmp_path / "src" / "left.log").write_text("x")
        (tmp_path / "src" / ".gitignore").write_text("*.log\n")
        assert "'left.log'" in str(refusal(whole))
        (tmp_path / "src" / ".gitignore").write_text("")
        (tmp_path / "src" / "there").symlink_to("pkg")
        assert "'there'" in str(refusal(whole))
        (tmp_path / "src" / "there").unlink()
        (tmp_path / "src" / "other").mkdir()
        (tmp_path / "src" / "other" / "c.py").write_text("")
        assert "does not sort folders" in str(refusal({"copy": ["src"]}))
        assert ours({"python_version": "3.12", **whole})
        os.mkfifo(tmp_path / "src" / "pipe")
        assert "'pipe'" in str(refusal(whole))
        (tmp_path / "src" / "pipe").unlink()
        (tmp_path / "src" / ".dockerignore").write_text("é\n")
        assert "ASCII" in str(refusal(whole))


def test_what_was_written_survives_changes_and_the_way_through_another_process(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(
        "from imagespec import ImageSpec\n"
        "image = ImageSpec(name='x', python_version='3.12', packages=['NumPy>=1', 'b'], base_image='ubuntu')"
        ".with_packages('Pandas').with_apt_packages('git')\n"
    )
    fields = {
        "name": "x",
        "python_version": "3.12",
        "packages": ["NumPy>=1", "b", "Pandas"],
        "apt_packages": ["git"],
        "base_image": "ubuntu",
    }
    program = [sys.executable, "-m", "imagespec", "tag", "m.py", "--flyte", "--short"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == (theirs(fields), "")
    spec = ImageSpec(packages={"a"}, python_version="3.12").with_packages("b")
    with pytest.raises(NoFlyteTag):
        spec.flyte_tag()
    assert spec.replaced(packages=["A"]).flyte_tag() == theirs({"python_version": "3.12", "packages": ["A"]})


def test_the_command_names_the_field_that_is_luck(tmp_path: Path) -> None:
    (tmp_path / "image.yaml").write_text("name: x\nenv: {A: '1', B: '2'}\npython_version: '3.12'\n")
    program = [sys.executable, "-m", "imagespec", "tag", "image.yaml", "--flyte"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: image.yaml: env: has several keys")
    assert done.stdout == ""


def test_fields_are_in_flytekits_order() -> None:
    import dataclasses

    from imagespec.spec import FIELD_NAMES

    assert tuple(field.name for field in dataclasses.fields(Theirs)) == FIELD_NAMES
