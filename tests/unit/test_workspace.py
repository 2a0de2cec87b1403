"""What the workspace selects, and what it refuses by name. Whole trees on a real disk, through the public door."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import packaging
import pytest

import imagespec
from imagespec.errors import InputError, InputMissing, InputOutsideRoot, SpecError
from imagespec.events import Event, Warned
from imagespec.snapshot import ContextEntry, EntryKind
from imagespec.sources.ignore import IgnoreRules
from imagespec.spec import CopyFileDetection, Declaration
from imagespec.workspace import Workspace
from tests.unit.projects import everything, paths, take, write, wrong

# --- what is selected


def test_all_files_with_kind_mode_size_and_digest(project: Path) -> None:
    (project / "empty").mkdir()
    (project / "link").symlink_to("pkg/mod.py")
    entries = {entry.path: entry for entry in everything(project)}
    assert sorted(entries) == ["empty", "link", "main.py", "pkg/__init__.py", "pkg/mod.py", "run.sh"]
    assert entries["main.py"] == ContextEntry(
        "main.py", EntryKind.FILE, False, 8, hashlib.sha256(b"print(1)").digest(), ""
    )
    assert entries["run.sh"].executable
    assert entries["empty"] == ContextEntry("empty", EntryKind.FOLDER)
    assert entries["link"] == ContextEntry("link", EntryKind.LINK, target="pkg/mod.py")


def test_entries_are_in_order_of_their_paths(tmp_path: Path) -> None:
    root = write(tmp_path / "p", dict.fromkeys(("b", "a/z", "a.b", "é", "a-", "B", "a/b/c", "zz/0"), ""))
    assert paths(everything(root)) == sorted(paths(everything(root)))


def test_mode_no_copy_and_no_source_root_select_nothing(project: Path) -> None:
    assert take(project, source_root=".", source_copy_mode=CopyFileDetection.NO_COPY).trees == ()
    assert take(project).trees == ()


def test_copy_lands_at_the_path_as_written(project: Path) -> None:
    snapshot = take(project.parent, copy=["project/main.py", "./project/pkg/"])
    assert [tree.field for tree in snapshot.trees] == ["copy[0]", "copy[1]"]
    assert [paths(tree.entries) for tree in snapshot.trees] == [
        ["project/main.py"],
        ["project/pkg/__init__.py", "project/pkg/mod.py"],
    ]


def test_copy_starts_from_the_declarations_folder(project: Path) -> None:
    snapshot = Workspace(cwd="/").take(Declaration(copy=["main.py"], folder=str(project)))
    assert paths(snapshot.trees[0].entries) == ["main.py"]


# --- the same tree gives the same entries


def test_roots_written_in_any_way_give_the_same_entries(project: Path, tmp_path: Path) -> None:
    write(project, {".dockerignore": "*.key\n", ".gitignore": "*.log\n", "a.key": "", "b.log": ""})
    (tmp_path / "alias").symlink_to("project")
    expected = everything(project)
    assert "a.key" not in paths(expected)
    for folder, root in ((tmp_path, "project"), (project, "."), (tmp_path, "alias"), (project / "pkg", "..")):
        assert take(folder, source_root=root, source_copy_mode="ALL").trees[0].entries == expected


def test_times_umask_caches_and_ignored_files_change_nothing(project: Path) -> None:
    write(project, {".gitignore": "out/\n"})
    expected = everything(project)
    write(
        project, {"pkg/__pycache__/mod.cpython-311.pyc": "x", "out/x": "", ".mypy_cache/y": "", "pkg/.mod.py.swp": ""}
    )
    os.utime(project / "main.py", (1, 1))
    (project / "main.py").chmod(0o600)
    (project / "run.sh").chmod(0o711)
    assert everything(project) == expected


@pytest.mark.parametrize("cache", ["__pycache__", ".venv", "out"])
def test_a_folder_of_ignored_files_alone_is_no_empty_folder(project: Path, cache: str) -> None:
    expected = everything(project, ignore=IgnoreRules())
    write(project, {f"gone/{cache}/x.pyc": "", "gone/y.pyc": ""})
    if cache == "out":
        write(project, {"gone/.gitignore": "*\n"})
    assert everything(project) == expected


def test_content_path_mode_kind_and_target_change_the_entries(project: Path) -> None:
    (project / "link").symlink_to("main.py")
    seen = {everything(project)}

    def changed() -> bool:
        entries = everything(project)
        is_new = entries not in seen
        seen.add(entries)
        return is_new

    (project / "main.py").write_text("print(2)")
    assert changed()
    (project / "main.py").rename(project / "main2.py")
    (project / "link").unlink()
    (project / "link").symlink_to("pkg/mod.py")
    assert changed()
    (project / "main2.py").chmod(0o755)
    assert changed()
    (project / "link").unlink()
    (project / "link").symlink_to("main2.py")
    assert changed()
    (project / "link").unlink()
    (project / "link").write_text("main2.py")
    assert changed()
    (project / "new").mkdir()
    assert changed()


def test_a_work_tree_and_a_plain_copy_of_it_give_the_same_entries(project: Path, tmp_path: Path) -> None:
    write(project, {".gitignore": "*.log\n!keep.log\n", "a.log": "", "keep.log": "", "é/ü.log": "", "é/ü.txt": ""})
    expected = everything(project)
    subprocess.run(["git", "init", "-q", str(project)], check=True, capture_output=True)
    assert everything(project) == expected
    assert "é/ü.txt" in paths(expected)
    assert not {"a.log", "é/ü.log"} & set(paths(expected))


SCRIPT = """
import hashlib, sys
from imagespec.spec import Declaration
from imagespec.workspace import Workspace
declaration = Declaration(source_root=".", source_copy_mode="ALL", copy=["pkg"], requirements="r.txt")
snapshot = Workspace(cwd=".").take(declaration)
rows = [(t.field, [(e.path, e.kind.value, e.executable, e.size_bytes, e.sha256, e.target) for e in t.entries])
        for t in snapshot.trees]
print(hashlib.sha256(repr((rows, snapshot.requirements)).encode()).hexdigest())
"""


def test_locale_time_zone_hash_seed_and_interpreter_change_nothing(project: Path) -> None:
    write(project, {"é/ü ☃.txt": "", "r.txt": "a @ https://h.example/a.whl\n", ".gitignore": "ü*\n!ü ☃.txt\n"})
    (project / "é" / "link").symlink_to("ü ☃.txt")
    found = set()
    pythons = [sys.executable, *map(str, Path.home().glob(".pyenv/versions/3.1[0-9]*/bin/python3"))]
    environments: tuple[dict[str, str], ...] = (
        {},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "1"},
        {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "2"},
    )
    package = str(Path(imagespec.__file__).parents[1])
    site = str(Path(packaging.__file__).parents[1])
    for python in pythons:
        for environment in environments:
            done = subprocess.run(
                [python, "-c", SCRIPT],
                cwd=project,
                env={"PYTHONPATH": os.pathsep.join((package, site)), "PYTHONDONTWRITEBYTECODE": "1", **environment},
                capture_output=True,
                text=True,
                check=True,
                umask=0o077,
            )
            found.add(done.stdout)
    assert len(found) == 1


def test_tracked_files_stay_also_in_a_split_index(project: Path) -> None:
    write(project, {".gitignore": "*.bin\n", "kept.bin": "", "later.bin": "", "other.bin": ""})

    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=project, check=True, capture_output=True)

    git("init", "-q")
    git("add", "-f", "kept.bin")
    git("update-index", "--split-index")
    git("add", "-f", "later.bin")
    assert {"kept.bin", "later.bin", "other.bin"} & set(paths(everything(project))) == {"kept.bin", "later.bin"}
    assert "kept.bin" not in paths(everything(project, ignore=IgnoreRules(tracked=False)))


# --- which rules apply


def test_rules_can_be_chosen(project: Path) -> None:
    write(project, {".gitignore": "a\n", ".dockerignore": "b\n", "a": "", "b": "", "c.pyc": ""})
    for rules, left_out in (
        (IgnoreRules(), {"a", "b", "c.pyc"}),
        (IgnoreRules(gitignore=False), {"b", "c.pyc"}),
        (IgnoreRules(dockerignore=False), {"a", "c.pyc"}),
        (IgnoreRules(standard=False), {"a", "b"}),
    ):
        assert {"a", "b", "c.pyc"} - set(paths(everything(project, ignore=rules))) == left_out


def test_virtual_environments_are_left_out_whatever_their_name(project: Path) -> None:
    write(project, {"my-env/pyvenv.cfg": "", "my-env/lib/x.py": ""})
    assert not [path for path in paths(everything(project)) if path.startswith("my-env")]


def test_a_named_path_is_copied_even_where_git_ignores_it(project: Path) -> None:
    write(project, {".gitignore": "dist/\n*.bin\n*.log\n", "dist/a.whl": "", "dist/a.log": "", "model.bin": ""})
    snapshot = take(project, copy=["dist", "model.bin"])
    assert [paths(tree.entries) for tree in snapshot.trees] == [["dist/a.whl"], ["model.bin"]]


def test_a_project_in_a_home_that_git_ignores_is_not_empty(tmp_path: Path) -> None:
    home = write(tmp_path, {".gitignore": "*\n", "work/a.py": ""})
    subprocess.run(["git", "init", "-q", str(home)], check=True, capture_output=True)
    assert paths(everything(home / "work")) == ["a.py"]


@pytest.mark.parametrize("named", ["secret", "secret/key", "a.key"])
def test_copying_what_dockerignore_leaves_out_is_refused_by_name(project: Path, named: str) -> None:
    write(project, {".dockerignore": "secret\n*.key\n", "secret/key": "", "a.key": ""})
    with pytest.raises(InputError, match=named) as caught:
        take(project, copy=[named])
    assert f"!{named}" in caught.value.hint


def test_exceptions_below_a_left_out_folder_are_copied(project: Path) -> None:
    write(project, {".dockerignore": "data\n!data/keep\n", "data/keep/x": "", "data/y": ""})
    assert paths(take(project, copy=["data"]).trees[0].entries) == ["data/keep/x"]


def test_a_pattern_that_docker_refuses_is_refused_with_its_line(project: Path) -> None:
    write(project, {".dockerignore": "ok\na[\n"})
    with pytest.raises(SpecError, match=r"\.dockerignore:2"):
        everything(project)


# --- what is refused


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/etc/passwd", SpecError),
        ("../x", InputOutsideRoot),
        ("pkg/../../x", InputOutsideRoot),
        ("nowhere", InputMissing),
    ],
)
def test_copy_paths_that_lead_out_or_nowhere(project: Path, path: str, kind: type[Exception]) -> None:
    error = wrong(project, copy=["main.py", path])
    assert isinstance(error, kind)
    assert path in str(error)
    assert "copy[1]" in str(error)
    assert error.hint


def test_source_root_that_is_missing_or_a_file(project: Path) -> None:
    assert isinstance(wrong(project, source_root="nowhere", source_copy_mode="ALL"), InputMissing)
    assert "not a folder" in str(wrong(project, source_root="main.py", source_copy_mode="ALL"))


def test_links_that_lead_out_or_nowhere_are_refused_by_name(project: Path) -> None:
    link = project / "pkg" / "link"
    for target, kind in (
        ("/etc/passwd", InputOutsideRoot),
        ("../../outside", InputOutsideRoot),
        ("nowhere", InputMissing),
        ("link", InputMissing),
        ("..", None),
    ):
        write(project.parent, {"outside": ""})
        link.symlink_to(target)
        if kind is None:
            assert everything(project)
        else:
            error = wrong(project, source_root=".", source_copy_mode="ALL")
            assert isinstance(error, kind), target
            assert "pkg/link" in str(error)
            assert ".dockerignore" in error.hint
        link.unlink()


def test_a_link_through_a_link_that_leads_out_is_refused(project: Path) -> None:
    (project / "__pycache__").symlink_to("/etc")
    (project / "b").symlink_to("__pycache__/passwd")
    assert isinstance(wrong(project, source_root=".", source_copy_mode="ALL"), InputOutsideRoot)


def test_an_absolute_link_inside_the_root_becomes_relative(project: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to("project")
    (project / "pkg" / "link").symlink_to(tmp_path / "alias" / "main.py")
    (project / "link2").symlink_to("../project/main.py")
    entries = {entry.path: entry.target for entry in everything(project) if entry.kind is EntryKind.LINK}
    assert entries == {"pkg/link": "../main.py", "link2": "main.py"}


def test_links_between_copied_folders_are_kept_and_others_refused(project: Path) -> None:
    (project / "pkg" / "up").symlink_to("../main.py")
    snapshot = take(project, copy=["pkg", "main.py"])
    assert {entry.path: entry.target for entry in snapshot.trees[0].entries}["pkg/up"] == "../main.py"
    assert isinstance(wrong(project, copy=["pkg"]), InputOutsideRoot)


def test_a_named_link_gives_the_file_that_it_leads_to(project: Path) -> None:
    (project / "alias").symlink_to("pkg")
    (project / "out").symlink_to("/etc/passwd")
    snapshot = take(project, copy=["alias", "alias/mod.py"])
    assert [paths(tree.entries) for tree in snapshot.trees] == [["alias/__init__.py", "alias/mod.py"], ["alias/mod.py"]]
    assert isinstance(wrong(project, copy=["out"]), InputOutsideRoot)


def test_pipes_and_sockets_are_skipped_with_a_warning_or_refused(project: Path) -> None:
    os.mkfifo(project / "pipe")
    heard: list[Event] = []
    workspace = Workspace(cwd=str(project), emit=heard.append)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(project / "sock"))
        snapshot = workspace.take(Declaration(source_root=".", source_copy_mode="ALL"))
    assert not {"pipe", "sock"} & set(paths(snapshot.trees[0].entries))
    assert sorted(event.message.split("'")[1] for event in heard if isinstance(event, Warned)) == ["pipe", "sock"]
    assert "'pipe'" in str(wrong(project, copy=["pipe"]))
    assert "'pipe'" in str(wrong(project, copy=["."]))


def test_names_that_no_layer_can_hold(project: Path) -> None:
    name = os.fsencode(project) + b"/caf\xe9\x1b"
    Path(os.fsdecode(name)).touch()
    error = wrong(project, source_root=".", source_copy_mode="ALL")
    assert "not UTF-8" in str(error)
    assert str(error).isprintable()
    os.unlink(name)
    (project / ".wh.x").touch()
    assert "'.wh.x'" in str(wrong(project, source_root=".", source_copy_mode="ALL"))


def test_nothing_selected_is_said(project: Path) -> None:
    write(project, {".gitignore": "*\n"})
    heard: list[Event] = []
    Workspace(cwd=str(project), emit=heard.append).take(Declaration(copy=["pkg"]))
    assert heard == []
    write(project, {"pkg/.gitignore": "*\n"})
    Workspace(cwd=str(project), emit=heard.append).take(Declaration(copy=["pkg"]))
    assert [event.message for event in heard if isinstance(event, Warned)] == ["copy[0]: nothing in 'pkg' is selected"]
