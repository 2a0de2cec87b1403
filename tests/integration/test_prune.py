"""``imagespec prune`` on a real registry: only what no revision needs, only what is ours, only with --yes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from imagespec.names import Reference
from imagespec.registry.admin import HttpRegistryAdmin
from imagespec.registry.http import HttpRegistry
from tests.integration.conftest import Command

pytestmark = pytest.mark.integration

IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@example.org")


def git(cwd: Path, *arguments: str) -> None:
    subprocess.run(["git", *IDENTITY, *arguments], cwd=cwd, check=True, capture_output=True)


def tags(imagespec: Command, cwd: Path, *arguments: str, **env: str) -> dict[str, str]:
    """Return the state that prune tells, by tag."""
    done = imagespec("prune", "image.yaml", "--registry", imagespec.registry, *arguments, cwd=cwd, **env)
    lines = (line.split("\t") for line in done.stdout.splitlines())
    return {tag: state for state, name, _ in lines for tag in name.rpartition(":")[2].split(",")}


def test_deletes_what_no_revision_needs_and_nothing_else(imagespec: Command, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    git(tmp_path, "init", "--quiet", str(project))
    built = []
    for number in range(3):
        (project / "image.yaml").write_text(f"name: pruned\nenv: {{NUMBER: '{number}'}}\n")
        git(project, "add", "image.yaml")
        git(project, "commit", "--quiet", "-m", str(number))
        git(project, "tag", f"v{number}")
        reference = imagespec("build", "image.yaml", "--registry", imagespec.registry, cwd=project).stdout
        built.append(reference.partition("@")[0].rpartition(":")[2])
    kept = dict.fromkeys(built, "kept")

    assert tags(imagespec, project) == kept  # too young
    dry = tags(imagespec, project, "--revision", "v1", "--keep-days", "0")
    assert dry == {**kept, built[0]: "would delete"}
    elsewhere = str(tmp_path / "another-cache")
    first_look = tags(imagespec, project, "--keep-days", "0", "--yes", IMAGESPEC_CACHE=elsewhere)
    assert first_look == kept  # of unknown age there

    done = tags(imagespec, project, "--revision", "v1", "--keep-days", "0", "--yes")
    assert done == dry | {built[0]: "deleted"}
    assert tags(imagespec, project, "--revision", "v1", "--keep-days", "0") == {built[1]: "kept", built[2]: "kept"}


def test_the_record_of_an_image_goes_with_it(imagespec: Command, tmp_path: Path) -> None:
    recorded = {"IMAGESPEC_PUSH_RECORDS": "true"}
    (tmp_path / "image.yaml").write_text("name: pruned\nenv: {NUMBER: '1'}\n")
    built = imagespec("build", "image.yaml", "--registry", imagespec.registry, cwd=tmp_path, **recorded).stdout
    old = Reference.parse(built.strip())
    assert old.tag
    assert old.digest
    (tmp_path / "image.yaml").write_text("name: pruned\nenv: {NUMBER: '2'}\n")
    with HttpRegistry() as registry:
        admin = HttpRegistryAdmin(registry)
        (record,) = admin.referrers(old.repository, old.digest)
        # The list of records that this registry has under a tag is no image to be judged.
        assert tags(imagespec, tmp_path, "--keep-days", "0") == {old.tag: "would delete"}
        assert admin.referrers(old.repository, old.digest) == (record,)
        assert tags(imagespec, tmp_path, "--keep-days", "0", "--yes") == {old.tag: "deleted"}
        assert admin.tags(old.repository) == ()
        assert admin.referrers(old.repository, old.digest) == ()
        assert registry.resolve(Reference(old.repository, None, record.digest)) is None


def test_a_digest_stays_while_one_of_its_tags_is_needed_or_somebody_elses(imagespec: Command, tmp_path: Path) -> None:
    """An environment's tag, a tag of a person and an old tag, all of one digest."""
    (tmp_path / "image.yaml").write_text("name: pruned\nenv: {NUMBER: '1'}\n")
    old = imagespec("build", "image.yaml", "--registry", imagespec.registry, cwd=tmp_path).stdout.partition("@")[0]
    first = old.rpartition(":")[2]
    (tmp_path / "image.yaml").write_text("name: pruned\nenv: {NUMBER: '2'}\n")
    second = imagespec("tag", "image.yaml", "--registry", imagespec.registry, "--short", cwd=tmp_path).stdout.strip()
    look = ("--keep-days", "0")

    put_tag(old, f"env-{first}")
    assert tags(imagespec, tmp_path, *look) == {first: "kept", f"env-{first}": "kept"}  # the new tag has no age yet
    assert tags(imagespec, tmp_path, *look) == {first: "would delete", f"env-{first}": "would delete"}
    put_tag(old, second)
    assert set(tags(imagespec, tmp_path, *look).values()) == {"kept"}  # needed as it is
    (tmp_path / "image.yaml").write_text("name: pruned\nenv: {NUMBER: '3'}\n")
    assert set(tags(imagespec, tmp_path, *look).values()) == {"would delete"}
    put_tag(old, "release")
    tags(imagespec, tmp_path, *look)
    assert set(tags(imagespec, tmp_path, *look, "--yes").values()) == {"kept"}  # somebody named it


def put_tag(reference: str, tag: str) -> None:
    """Give an image of the registry one more tag."""
    name = Reference.parse(reference)
    with HttpRegistry() as registry:
        manifest = registry.read_manifest(name)
        assert manifest is not None
        registry.write_manifest(name.with_tag(tag), manifest)


def test_a_revision_that_cannot_be_loaded_deletes_nothing(imagespec: Command, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "image.yaml").write_text("name: pruned\npackagess: [six]\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "wrong")
    (tmp_path / "image.yaml").write_text("name: pruned\n")
    arguments = ("prune", "image.yaml", "--registry", imagespec.registry, "--keep-days", "0", "--yes")
    refused = imagespec(*arguments, "--revision", "HEAD", cwd=tmp_path, expect=2)
    assert "cannot be loaded at revision HEAD" in refused.stderr
    missing = imagespec(*arguments, "--revision", "nothere", cwd=tmp_path, expect=2)
    assert "revision nothere: git:" in missing.stderr
