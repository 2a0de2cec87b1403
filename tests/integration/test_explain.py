"""``imagespec explain``, and the one line that ``build`` says whenever it builds."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.integration.conftest import Command

pytestmark = pytest.mark.integration


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").write_text("print(1)\n")
    (tmp_path / "image.yaml").write_text("name: explained\npackages: [tabulate==0.9.0]\ncopy: [app]\n")
    return tmp_path


def delete(reference: str) -> None:
    name, _, digest = reference.partition("@")
    host, _, path = name.partition("/")
    url = f"http://{host}/v2/{path.rpartition(':')[0]}/manifests/{digest}"
    urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=30).close()


def test_it_names_what_changed_against_everything_it_can_compare_with(imagespec: Command, project: Path) -> None:
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=t", "-c", "user.email=t@example.com")
        subprocess.run(["git", *who, *arguments], cwd=project, check=True, capture_output=True)

    options = ("image.yaml", "--registry", imagespec.registry)
    nothing = imagespec("explain", *options, cwd=project).stdout
    assert nothing.endswith("nothing was built under this name yet\n")

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    saved = imagespec("plan", *options, "--format", "json", cwd=project).stdout
    first = imagespec("build", *options, cwd=project)
    assert "the first of this name on this machine" in first.stderr
    reference = first.stdout.strip()
    tag, digest = reference.partition("@")[0].rpartition(":")[2], reference.partition("@")[2]
    assert "unchanged, and the image is there" in imagespec("explain", *options, cwd=project).stdout

    (project / "app" / "main.py").write_text("print(2)\n")
    (project / "saved.json").write_text(saved)
    elsewhere = {"IMAGESPEC_CACHE": str(project / "another-machine")}
    expected = "files: app/main.py changed"
    for against in ("", tag, digest, "saved.json", "HEAD"):
        asked = ("--against", against) if against else ()
        assert expected in imagespec("explain", *options, *asked, cwd=project).stdout, against
    for against in ("", tag, digest):
        asked = ("--against", against, "--format", "json") if against else ("--format", "json")
        value = json.loads(imagespec("explain", *options, *asked, cwd=project, **elsewhere).stdout)
        assert [(one["group"], one["name"]) for one in value["changes"]] == [("files", "app/main.py")], against

    assert expected in imagespec("build", *options, cwd=project).stderr


def test_it_says_when_only_the_image_is_gone(imagespec: Command, project: Path) -> None:
    options = ("image.yaml", "--registry", imagespec.registry)
    delete(imagespec("build", *options, cwd=project).stdout.strip())
    said = imagespec("explain", *options, cwd=project).stdout
    assert "unchanged, but the image is no longer in the registry" in said
    assert "which is gone" in imagespec("build", *options, cwd=project).stderr


def test_what_it_cannot_compare_with_is_an_error(imagespec: Command, project: Path) -> None:
    options = ("image.yaml", "--registry", imagespec.registry)
    failed = imagespec("explain", *options, "--against", "no-such-thing", cwd=project, expect=2)
    assert "no-such-thing is no tag, digest, file or git revision" in failed.stderr
    missing = imagespec("explain", *options, "--against", "x1-" + "0" * 32, cwd=project, expect=2)
    assert "is not in the registry" in missing.stderr
    for text in ("{}", "", "[1]", "no json"):
        (project / "bad.json").write_text(text)
        bad = imagespec("explain", *options, "--against", "bad.json", cwd=project, expect=2).stderr
        assert "bad.json" in bad
        assert "hint: " in bad
    (project / "bad.json").write_text("{}")
    assert "not a saved plan" in imagespec("explain", *options, "--against", "bad.json", cwd=project, expect=2).stderr


def test_files_that_no_label_holds_are_named_by_the_record_beside_the_image(imagespec: Command, project: Path) -> None:
    for number in range(300):
        (project / "app" / f"module_{number}.py").write_text(f"{number}\n")
    options = ("image.yaml", "--registry", imagespec.registry)
    pushes, elsewhere = {"IMAGESPEC_PUSH_RECORDS": "1"}, {"IMAGESPEC_CACHE": str(project / "another-machine")}
    imagespec("build", *options, cwd=project)
    (project / "app" / "module_7.py").write_text("changed\n")
    vague = imagespec("explain", *options, cwd=project, **elsewhere).stdout
    assert vague.splitlines()[2:] == ["  files: app/ changed"], "a label has no room for 300 names"

    first = imagespec("build", *options, cwd=project, **pushes).stdout.strip()
    (project / "app" / "module_8.py").write_text("changed\n")
    second = imagespec("build", *options, cwd=project, **pushes).stdout.strip()
    (project / "app" / "module_9.py").write_text("changed\n")
    for env in (elsewhere, {**elsewhere, **pushes}):
        for against in (first, first.partition("@")[2], first.partition("@")[0]):
            said = imagespec("explain", *options, "--against", against, cwd=project, **env).stdout
            assert [line.strip() for line in said.splitlines()[2:]] == [
                "files: app/module_8.py changed",
                "files: app/module_9.py changed",
            ]
    last = imagespec("explain", *options, cwd=project, **elsewhere, **pushes).stdout
    assert second.partition("@")[0].rpartition(":")[2] in last
    assert last.splitlines()[2:] == ["  files: app/module_9.py changed"]


def test_without_times_the_nearest_image_is_compared_with(imagespec: Command, project: Path) -> None:
    options = ("image.yaml", "--registry", imagespec.registry)
    for number in range(3):
        (project / "app" / f"{number}.py").write_text("")
        imagespec("build", *options, cwd=project)
    (project / "app" / "3.py").write_text("")
    said = imagespec("explain", *options, cwd=project, IMAGESPEC_CACHE=str(project / "another-machine")).stdout
    assert "the nearest of 3" in said
    assert said.splitlines()[2:] == ["  files: app/3.py added"]


def test_a_tag_of_ones_own_format_is_a_tag_too(imagespec: Command, project: Path) -> None:
    options = ("image.yaml", "--registry", imagespec.registry)
    text = (project / "image.yaml").read_text()
    (project / "image.yaml").write_text(f"{text}tag_format: 'v1-{{spec_hash}}'\n")
    tag = imagespec("build", *options, cwd=project).stdout.partition("@")[0].rpartition(":")[2]
    (project / "app" / "more.py").write_text("")
    assert "files: app/more.py added" in imagespec("explain", *options, "--against", tag, cwd=project).stdout


def test_a_revision_keeps_what_git_tracks_although_it_ignores_it(imagespec: Command, project: Path) -> None:
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=t", "-c", "user.email=t@example.com")
        subprocess.run(["git", *who, *arguments], cwd=project, check=True, capture_output=True)

    (project / ".gitignore").write_text("*.bin\n")
    (project / ".gitattributes").write_text("*.txt export-ignore\n")
    (project / "app" / "kept.bin").write_text("tracked\n")
    (project / "app" / "notes.txt").write_text("not in archives\n")
    git("init", "-q")
    git("add", "--force", ".")
    git("commit", "-qm", "one")
    options = ("image.yaml", "--registry", imagespec.registry, "--against", "HEAD")
    assert "unchanged" in imagespec("explain", *options, cwd=project).stdout
    (project / "app" / "kept.bin").write_text("other\n")
    said = imagespec("explain", *options, cwd=project).stdout
    assert said.splitlines()[2:] == ["  files: app/kept.bin changed"]


def test_a_saved_plan_of_several_images_is_searched_for_the_same_one(imagespec: Command, project: Path) -> None:
    (project / "two.yaml").write_text("name: two\ncopy: [app]\nenv: {A: b}\n")
    saved = imagespec("plan", "image.yaml", "two.yaml", "--offline", "--format", "json", cwd=project).stdout
    (project / "saved.json").write_text(saved)
    (project / "app" / "main.py").write_text("print(3)\n")
    for name in ("image.yaml", "two.yaml"):
        said = imagespec("explain", name, "--against", "saved.json", cwd=project).stdout
        assert said.splitlines()[2:] == ["  files: app/main.py changed"]
    (project / "third.yaml").write_text("name: third\n")
    failed = imagespec("explain", "third.yaml", "--against", "saved.json", cwd=project, expect=2)
    assert "holds no plan of third.yaml" in failed.stderr
