"""The private folder of a build, and the build context as an archive."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import BinaryIO

import pytest

from imagespec.builders.staging import work_folder, write_context
from imagespec.errors import InputChanged
from imagespec.names import Digest
from imagespec.plan import BuildPlan
from imagespec.planner import make_plan
from imagespec.snapshot import ContextEntry, EntryKind, LocalProject, RequirementLines, Snapshot, TextFile, Tree
from imagespec.spec import Declaration

CONTENT = b"print(1)\n"
FILE = ContextEntry("app/main.py", EntryKind.FILE, True, len(CONTENT), hashlib.sha256(CONTENT).digest())


class Contents:
    """``Files`` in memory; ``is_changed`` lets the last read fail, as a file that was edited meanwhile does."""

    def __init__(self, *contents: bytes, is_changed: bool = False) -> None:
        self._contents = {hashlib.sha256(content).hexdigest(): content for content in contents}
        self._is_changed = is_changed

    def open(self, digest: Digest) -> BinaryIO:
        return _Stream(self._contents[digest.encoded], self._is_changed)


class _Stream(io.BytesIO):
    def __init__(self, content: bytes, is_changed: bool) -> None:
        super().__init__(content)
        self._is_changed = is_changed

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if self._is_changed and not data:
            raise InputChanged("read: changed", path="x")
        return data


def plan(*entries: ContextEntry, projects: tuple[LocalProject, ...] = ()) -> BuildPlan:
    snapshot = Snapshot(
        trees=(Tree(field="copy[0]", entries=entries),), requirements=RequirementLines(projects=projects)
    )
    return make_plan(Declaration(), snapshot)


def archived(made: BuildPlan, files: Contents, *texts: TextFile) -> bytes:
    stream = io.BytesIO()
    write_context(stream, made, files, texts)
    return stream.getvalue()


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive}


def test_the_context_holds_texts_and_sources_each_in_its_place() -> None:
    project = LocalProject(path="lib", entries=(FILE._replace(path="lib/x.py", executable=False),))
    made = plan(
        FILE,
        ContextEntry("empty", EntryKind.FOLDER),
        ContextEntry("link", EntryKind.LINK, target="app/main.py"),
        projects=(project,),
    )
    data = archived(made, Contents(CONTENT), TextFile(path="Dockerfile", data=b"FROM x\n"))
    found = members(data)
    assert sorted(found) == [
        *("Dockerfile", "step-1/lib/x.py", "step-2/app/main.py", "step-2/empty", "step-2/link"),
    ]
    assert (found["step-2/app/main.py"].mode, found["step-1/lib/x.py"].mode) == (0o755, 0o644)
    assert found["step-2/empty"].isdir()
    assert (found["step-2/link"].issym(), found["step-2/link"].linkname) == (True, "app/main.py")
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        inside = archive.extractfile("step-2/app/main.py")
        assert inside is not None
        assert inside.read() == CONTENT


def test_the_archive_names_no_machine_and_no_time() -> None:
    data = archived(plan(FILE), Contents(CONTENT), TextFile(path="a", data=b""))
    assert data == archived(plan(FILE), Contents(CONTENT), TextFile(path="a", data=b""))
    for member in members(data).values():
        assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")
        assert member.mtime == 315_532_800


@pytest.mark.parametrize("path", ["a b/'c'.txt", "naïve 名.py", "x" * 200 + "/" + "y" * 200, "Dockerfile", "-", "a\nb"])
def test_names_of_any_kind(path: str) -> None:
    assert f"step-1/{path}" in members(archived(plan_of(path), Contents(CONTENT)))


def plan_of(path: str) -> BuildPlan:
    return make_plan(Declaration(), Snapshot(trees=(Tree(field="copy[0]", entries=(FILE._replace(path=path),)),)))


def test_a_file_that_changed_stops_the_build() -> None:
    with pytest.raises(InputChanged):
        archived(plan(FILE), Contents(CONTENT, is_changed=True))


def test_a_work_folder_is_private_and_goes(tmp_path: Path) -> None:
    with work_folder(tmp_path) as one, work_folder(tmp_path) as other:
        assert one != other
        assert one.stat().st_mode & 0o777 == 0o700
        (one / "file").write_text("x")
    assert list((tmp_path / "work").iterdir()) == []


def test_a_work_folder_goes_also_after_an_error(tmp_path: Path) -> None:
    def build() -> None:
        with work_folder(tmp_path):
            raise InputChanged("read: changed", path="x")

    with pytest.raises(InputChanged):
        build()
    assert list((tmp_path / "work").iterdir()) == []


HOLDER = """
import sys
from pathlib import Path
from imagespec.builders.staging import work_folder
with work_folder(Path(sys.argv[1])) as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_folders_of_the_dead_are_removed_and_those_of_the_living_kept(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as dead:
        assert dead.stdout is not None
        left = Path(dead.stdout.readline().strip())
        dead.kill()
    assert left.is_dir()
    (tmp_path / "work" / "build-half-made").mkdir()
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as living:
        assert living.stdout is not None
        kept = Path(living.stdout.readline().strip())
        with work_folder(tmp_path) as mine:
            assert set((tmp_path / "work").iterdir()) == {kept, mine}
        living.communicate("")
    assert list((tmp_path / "work").iterdir()) == []
