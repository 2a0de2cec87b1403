"""A team that moves over: images that stand under flytekit's own tags are found, where the setting asks for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import Command

pytestmark = pytest.mark.integration

REUSE = {"IMAGESPEC_REUSE_FLYTE_TAGS": "1"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").write_text("print('theirs')\n")
    (tmp_path / "image.yaml").write_text("name: moved\npython_version: '3.11'\ncopy: [app]\n")
    return tmp_path


def push_as_flytekit(imagespec: Command, project: Path) -> str:
    """Put an image under the name that flytekit gives the spec; return that name."""
    options = ("--registry", imagespec.registry)
    name = imagespec("tag", "image.yaml", "--flyte", *options, cwd=project).stdout.strip()
    (project / "other.yaml").write_text("name: other\npython_version: '3.11'\ncopy: [app]\n")
    made = imagespec("build", "other.yaml", *options, cwd=project).stdout.strip()
    for arguments in (("pull", "--quiet", made), ("tag", made, name), ("push", "--quiet", name)):
        imagespec.docker(*arguments)
    imagespec.docker("rmi", name, made)
    return name


def test_an_image_of_flytekits_is_found_and_used(imagespec: Command, project: Path) -> None:
    options = ("image.yaml", "--registry", imagespec.registry)
    name = push_as_flytekit(imagespec, project)

    assert imagespec("exists", *options, cwd=project, expect=1).stdout.startswith("absent\t")
    found = imagespec("exists", *options, cwd=project, **REUSE).stdout
    assert found.startswith("present\t")
    assert found.rstrip().endswith(f"as flytekit's {name}")
    planned = json.loads(imagespec("plan", *options, "--format", "json", cwd=project, **REUSE).stdout)
    assert (planned["state"], planned["detail"]) == ("present", f"as flytekit's {name}")
    assert "would be built" in imagespec("plan", *options, cwd=project).stdout
    imagespec("warm", "--check", *options, cwd=project, expect=1)
    assert f"present\t{name}" in imagespec("warm", "--check", *options, cwd=project, **REUSE).stdout

    reused = imagespec("build", *options, cwd=project, **REUSE)
    assert reused.stdout.startswith(f"{name}@sha256:")
    assert "reused: it exists under flytekit's own tag" in reused.stderr
    assert "theirs" in imagespec.docker("run", "--rm", "--quiet", reused.stdout.strip(), "python", "app/main.py")
    table = imagespec("plan", "image.yaml", "other.yaml", "--registry", imagespec.registry, cwd=project, **REUSE)
    assert "absent" not in table.stdout

    built = imagespec("build", *options, cwd=project)
    assert built.stdout.partition("@")[0] != name
    assert "built: it did not exist" in built.stderr
    assert "reused: it exists;" in imagespec("build", *options, cwd=project, **REUSE).stderr, "our own goes first"


def test_the_project_says_so_and_what_cannot_be_told_is_built(imagespec: Command, project: Path) -> None:
    (project / "imagespec.toml").write_text("reuse_flyte_tags = true\n")
    options = ("image.yaml", "--registry", imagespec.registry)
    name = push_as_flytekit(imagespec, project)
    assert imagespec("build", *options, cwd=project).stdout.startswith(f"{name}@")
    (project / "app" / "lib").mkdir()
    (project / "app" / "lib" / "a.py").write_text("")
    (project / "app" / "data").mkdir()
    (project / "app" / "data" / "b.txt").write_text("")
    built = imagespec("build", *options, cwd=project)
    assert "not looked for under flytekit's own tag: image.yaml: copy[0]: has the folders" in built.stderr
    assert "built: it did not exist" in built.stderr
    failed = imagespec("build", *options, cwd=project, expect=2, IMAGESPEC_CACHE="", IMAGESPEC_IGNORE="nothing")
    assert "IMAGESPEC_IGNORE" in failed.stderr


def test_the_library_says_the_same(imagespec: Command, project: Path) -> None:
    name = push_as_flytekit(imagespec, project)
    script = (
        "from imagespec import ImageSpec\n"
        f"spec = ImageSpec(name='moved', python_version='3.11', copy=['app'], registry={imagespec.registry!r})\n"
        "print(spec.flyte_tag(), spec.exist(), spec.with_packages('humanize').exist())\n"
    )

    def said(**env: str) -> str:
        program = [sys.executable, "-c", script]
        whole = {**imagespec.env, **env}
        done = subprocess.run(program, cwd=project, env=whole, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    tag = name.rpartition(":")[2]
    assert said() == f"{tag} False False"
    assert said(**REUSE) == f"{tag} True False"
