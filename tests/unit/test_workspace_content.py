"""What the workspace gives of files: content that is checked, import closures, requirements and bases."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from imagespec.errors import InputChanged, InputError, InputMissing, InputOutsideRoot, SpecError
from imagespec.names import Digest
from imagespec.snapshot import LockFiles, RequirementLines
from imagespec.spec import Declaration
from imagespec.workspace import Workspace
from tests.unit.projects import everything, paths, take, write, wrong

# --- content


def content(project: Path, edit: Any) -> bytes:
    workspace = Workspace(cwd=str(project))
    entries = workspace.take(Declaration(source_root=".", source_copy_mode="ALL")).trees[0].entries
    (main,) = (entry for entry in entries if entry.path == "main.py")
    edit(project / "main.py")
    assert main.digest is not None
    with workspace.open(main.digest) as stream:
        return stream.read()


def test_content_is_what_was_hashed(project: Path) -> None:
    assert content(project, lambda file: None) == b"print(1)"


def replaced_by_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("pkg/mod.py")


@pytest.mark.parametrize(
    "edit",
    [
        lambda file: file.write_text("print(2)"),
        lambda file: file.write_text("print(1) # grown"),
        lambda file: file.write_text("prin"),
        lambda file: file.rename(file.with_name("other.py")),
        lambda file: file.write_text(""),
        replaced_by_link,
    ],
    ids=["same size", "grown", "shrunk", "gone", "emptied", "link"],
)
def test_a_file_that_changed_after_it_was_hashed_is_named(project: Path, edit: Any) -> None:
    with pytest.raises(InputChanged, match=r"main\.py"):
        content(project, edit)


def test_a_reader_of_exactly_the_size_learns_of_the_change(project: Path) -> None:
    workspace = Workspace(cwd=str(project))
    (entry,) = workspace.take(Declaration(copy=["main.py"])).trees[0].entries
    (project / "main.py").write_text("print(2)")
    assert entry.digest is not None
    with workspace.open(entry.digest) as stream, pytest.raises(InputChanged):
        stream.read(entry.size_bytes)


def test_content_of_every_kind_of_selection_can_be_opened(project: Path) -> None:
    write(project, {"lib/pyproject.toml": "[project]", "requirements.txt": "./lib\n"})
    (project / "alias").symlink_to("pkg")
    workspace = Workspace(cwd=str(project))
    snapshot = workspace.take(
        Declaration(source_root=".", copy=["alias", "main.py"], requirements="requirements.txt"),
        modules=(str(project / "pkg" / "mod.py"),),
    )
    assert isinstance(snapshot.requirements, RequirementLines)
    entries = [entry for tree in snapshot.trees for entry in tree.entries]
    entries += snapshot.requirements.projects[0].entries
    assert len(entries) == 6
    for entry in entries:
        assert entry.digest is not None
        with workspace.open(entry.digest) as stream:
            assert Digest.sha256(hashlib.sha256(stream.read()).hexdigest()) == entry.digest


def test_a_digest_that_was_never_given_out(project: Path) -> None:
    with pytest.raises(KeyError):
        Workspace(cwd=str(project)).open(Digest.sha256("0" * 64))


def test_large_files_are_hashed_like_small_ones(tmp_path: Path) -> None:
    data = {f"f{number}": bytes([number]) * (1_000_000 + number * 99_999) for number in range(4)}
    entries = everything(write(tmp_path / "p", dict(data)))
    assert {entry.path: entry.sha256 for entry in entries} == {
        path: hashlib.sha256(one).digest() for path, one in data.items()
    }


# --- LOADED_MODULES


def test_loaded_modules_are_the_import_closure_of_the_targets(project: Path) -> None:
    write(project, {"wf.py": "from pkg import mod\nimport os, numpy\n", "other.py": "", "pkg/data.txt": ""})
    workspace = Workspace(cwd=str(project))
    declaration = Declaration(source_root=".")
    entries = workspace.take(declaration, modules=("wf.py",)).trees[0].entries
    assert paths(entries) == ["pkg/__init__.py", "pkg/mod.py", "wf.py"]
    workspace.take(declaration, modules=("other.py",))
    why = workspace.imported_by(declaration, ("wf.py",))
    assert why == {"wf.py": "", "pkg/__init__.py": "wf.py", "pkg/mod.py": "wf.py"}
    assert workspace.imported_by(declaration, ("other.py",)) == {"other.py": ""}
    assert workspace.imported_by(Declaration(source_root=".", source_copy_mode="ALL"), ("wf.py",)) == {}


def test_loaded_modules_through_links_and_from_outside(project: Path, tmp_path: Path) -> None:
    write(tmp_path, {"launch.py": "import main\n"})
    (tmp_path / "alias").symlink_to("project")
    entries = take(tmp_path, modules=("launch.py", "alias/main.py", str(project / "main.py")), source_root="alias")
    assert paths(entries.trees[0].entries) == ["main.py"]


def test_loaded_modules_without_targets_are_refused(project: Path) -> None:
    error = wrong(project, source_root=".")
    assert isinstance(error, SpecError)
    assert "ALL" in error.hint


def test_a_module_that_is_a_link_out_of_the_root_is_refused(project: Path, tmp_path: Path) -> None:
    write(tmp_path, {"outside.py": ""})
    (project / "helper.py").symlink_to(tmp_path / "outside.py")
    (project / "main.py").write_text("import helper")
    with pytest.raises(InputOutsideRoot, match=r"helper\.py"):
        take(project, modules=("main.py",), source_root=".")


# --- requirements and bases


def test_requirements_with_nested_files(project: Path) -> None:
    write(
        project, {"reqs/a.txt": "-r sub/b.txt\nNumPy>=1\n", "reqs/sub/b.txt": "-c ../c.txt\nx\n", "reqs/c.txt": "y<2"}
    )
    assert take(project, requirements="reqs/a.txt").requirements == RequirementLines(
        lines=("numpy>=1", "x"), constraints=("y<2",)
    )


def test_a_missing_requirements_file_is_named(project: Path) -> None:
    write(project, {"a.txt": "-r sub/b.txt"})
    error = wrong(project, requirements="a.txt")
    assert isinstance(error, InputMissing)
    assert "sub/b.txt" in str(error)


def test_lock_files_come_with_their_projects(project: Path) -> None:
    member = '[[package]]\nname="a"\nsource={editable="libs/a"}\n[[package]]\nname="b"\nsource={virtual="."}\n'
    write(project, {"uv.lock": member, "pyproject.toml": "[project]", "libs/a/pyproject.toml": "[tool]"})
    lock = take(project, requirements="uv.lock").requirements
    assert isinstance(lock, LockFiles)
    assert lock.kind == "uv.lock"
    assert [file.path for file in lock.files] == ["libs/a/pyproject.toml", "pyproject.toml", "uv.lock"]
    (project / "pyproject.toml").unlink()
    assert "pyproject.toml" in str(wrong(project, requirements="uv.lock"))


def test_an_oci_layout_as_base_has_its_digest(project: Path) -> None:
    digest = {name: f"sha256:{name * 64}" for name in "ab"}
    manifests = [
        {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest[name],
            "size": 1,
            "annotations": {"org.opencontainers.image.ref.name": f"v{name}"},
        }
        for name in "ab"
    ]
    write(project, {"layout/index.json": json.dumps({"manifests": manifests})})
    assert str(take(project, base_image="oci-layout:layout:vb").base_digest) == digest["b"]
    assert "name a tag" in str(wrong(project, base_image="oci-layout:layout"))
    assert "va, vb" in wrong(project, base_image="oci-layout:layout:vc").hint
    assert isinstance(wrong(project, base_image="oci-layout:nowhere"), InputMissing)
    write(project, {"layout/index.json": json.dumps({"manifests": manifests[:1]})})
    assert str(take(project, base_image="oci-layout:layout").base_digest) == digest["a"]
    assert take(project, base_image="debian").base_digest is None


# --- shared reading


def test_one_walk_serves_all_specs_of_a_run(project: Path) -> None:
    workspace = Workspace(cwd=str(project))
    first = workspace.take(Declaration(source_root=".", source_copy_mode="ALL"))
    (project / "main.py").write_text("other")
    second = workspace.take(Declaration(source_root=str(project), source_copy_mode="ALL", packages=["x"]))
    assert first.trees[0].entries is second.trees[0].entries
    assert Workspace(cwd=str(project)).take(Declaration(source_root=".", source_copy_mode="ALL")) != first


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_named(project: Path) -> None:
    (project / "main.py").chmod(0)
    with pytest.raises(InputError, match=r"main\.py"):
        everything(project)
