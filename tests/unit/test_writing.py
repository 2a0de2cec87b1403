"""Files that commands write where people say: whole or not at all."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from imagespec.cli.writing import check_writable, whole, write_whole
from imagespec.errors import SettingsError


def test_a_file_appears_when_all_of_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    for content in (b"first", b"second"):
        before = file.read_bytes() if file.exists() else None
        with whole(file) as stream:
            stream.write(content)
            stream.flush()
            assert (file.read_bytes() if file.exists() else None) == before
        assert file.read_bytes() == content
    assert os.listdir(tmp_path) == ["report.json"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("x"), OSError(28, "No space left on device")])
def test_what_is_not_finished_leaves_the_old_one(error: BaseException, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text("old")
    kind = SettingsError if isinstance(error, OSError) else type(error)

    def write() -> None:
        with whole(file) as stream:
            stream.write(b"new")
            raise error

    with pytest.raises(kind) as raised:
        write()
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.json"]
    if isinstance(error, OSError):
        assert str(raised.value) == f"write {file}: no space left on device"


def test_a_link_stays_a_link_and_modes_stay(tmp_path: Path) -> None:
    file, link = tmp_path / "report.json", tmp_path / "latest"
    file.write_text("old")
    file.chmod(0o640)
    link.symlink_to(file)
    write_whole(link, "néw")
    assert link.is_symlink()
    assert file.read_text(encoding="utf-8") == "néw"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_device_or_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    write_whole(Path("/dev/null"), "gone")
    check_writable(Path("/dev/null"))
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, "through")
    reader.join(timeout=30)
    assert read == [b"through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_what_can_be_written_later_is_told_before_and_nothing_is_left(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b" / "report.json")
    assert os.listdir(tmp_path / "a" / "b") == []
    (tmp_path / "there").write_text("kept")
    check_writable(tmp_path / "there")
    assert (tmp_path / "there").read_text() == "kept"


@pytest.mark.parametrize("check", [check_writable, lambda path: write_whole(path, "x")])
@pytest.mark.parametrize(("name", "why"), [("file/x", "its folder is a file"), ("folder", "is a directory")])
def test_what_cannot_be_written_is_named_with_the_way_out(check: object, name: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    assert callable(check)
    with pytest.raises(SettingsError) as raised:
        check(tmp_path / name)
    assert str(raised.value) == f"write {tmp_path / name}: {why}"
    assert "another file" in raised.value.hint
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
