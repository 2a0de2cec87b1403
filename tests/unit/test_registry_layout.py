"""What is particular to the layout folder: files, names, several processes, damage."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from imagespec.errors import IntegrityError, ProtocolViolation, RegistryUnreachable
from imagespec.names import Reference, Repository
from imagespec.oci import digest_of
from imagespec.registry.layout import LayoutRegistry
from tests.fakes.images import body, described, write_image

REFERENCE = Reference.parse("localhost/x/y:v1")


def _written(root: Path, reference: Reference = REFERENCE) -> LayoutRegistry:
    registry = LayoutRegistry(root)
    registry.write_manifest(reference, write_image(registry, reference.repository))
    return registry


def _index(root: Path) -> list[dict[str, Any]]:
    manifests: list[dict[str, Any]] = json.loads((root / "index.json").read_text())["manifests"]
    return manifests


def test_nothing_is_made_by_reading(tmp_path: Path) -> None:
    root = tmp_path / "layout"
    assert LayoutRegistry(root).resolve(REFERENCE) is None
    assert not root.exists()


def test_the_folder_is_a_layout(tmp_path: Path) -> None:
    _written(tmp_path)
    assert json.loads((tmp_path / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = _index(tmp_path)
    assert entry["annotations"] == {
        "io.containerd.image.name": "localhost/x/y:v1",
        "org.opencontainers.image.ref.name": "v1",
    }
    for file in (tmp_path / "blobs" / "sha256").iterdir():
        assert digest_of(file.read_bytes()).encoded == file.name
        assert file.stat().st_mode & 0o777 == 0o644
    assert not list(tmp_path.rglob(".tmp-*"))


def test_another_tools_layout_is_read_by_its_tag(tmp_path: Path) -> None:
    registry = _written(tmp_path)
    value = json.loads((tmp_path / "index.json").read_text())
    del value["manifests"][0]["annotations"]["io.containerd.image.name"]
    (tmp_path / "index.json").write_text(json.dumps(value))
    assert registry.resolve(REFERENCE) is not None
    assert registry.resolve(REFERENCE.with_tag("v2")) is None


def test_two_names_do_not_mix(tmp_path: Path) -> None:
    other = Reference.parse("localhost/z:v1")
    registry = _written(tmp_path)
    _written(tmp_path, other)
    one, two = registry.resolve(REFERENCE), registry.resolve(other)
    assert one is not None
    assert two is not None
    assert one != two


WRITER = """
import sys
from pathlib import Path
from tests.fakes.images import body, described, write_image
from imagespec.names import Reference, Repository
from imagespec.registry.layout import LayoutRegistry

registry, number = LayoutRegistry(Path(sys.argv[1])), sys.argv[2]
for count in range(10):
    reference = Reference.parse(f"localhost/x/y:p{number}-{count}")
    registry.write_manifest(reference, write_image(registry, reference.repository))
    data = b"shared" * 10_000
    registry.write_blob(reference.repository, described(data), body(data))
"""


def test_several_processes_may_write(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(number)], cwd=root) for number in range(4)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0, 0]
    registry = LayoutRegistry(tmp_path)
    assert len(registry.tags(REFERENCE.repository)) == 40
    for number in range(4):
        for count in range(10):
            assert registry.resolve(REFERENCE.with_tag(f"p{number}-{count}")) is not None
    assert not list(tmp_path.rglob(".tmp-*"))


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    registry = _written(tmp_path)
    before = sorted(tmp_path.rglob("*"))

    def opens() -> Any:
        raise OSError(28, "No space left on device")

    with pytest.raises(RegistryUnreachable, match="No space left"):
        registry.write_blob(REFERENCE.repository, described(b"new"), opens)
    with pytest.raises(IntegrityError):
        registry.write_blob(REFERENCE.repository, described(b"new"), body(b"old"))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_damaged_blob_is_noticed(tmp_path: Path) -> None:
    registry = LayoutRegistry(tmp_path)
    data = os.urandom(3_000_000)
    registry.write_blob(REFERENCE.repository, described(data), body(data))
    path = tmp_path / "blobs" / "sha256" / digest_of(data).encoded
    path.write_bytes(data[:-1] + b"\0" if data[-1] else data[:-1] + b"\1")
    stream = registry.read_blob(REFERENCE.repository, digest_of(data))
    with stream, pytest.raises(IntegrityError):
        stream.read()


def test_a_blob_cut_short_is_written_again(tmp_path: Path) -> None:
    registry = LayoutRegistry(tmp_path)
    data = b"x" * 1000
    registry.write_blob(REFERENCE.repository, described(data), body(data))
    (tmp_path / "blobs" / "sha256" / digest_of(data).encoded).write_bytes(b"x")
    assert registry.write_blob(REFERENCE.repository, described(data), body(data)) is True


def test_a_damaged_manifest_is_noticed(tmp_path: Path) -> None:
    registry = _written(tmp_path)
    found = registry.resolve(REFERENCE)
    assert found is not None
    path = tmp_path / "blobs" / "sha256" / found.digest.encoded
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(IntegrityError):
        registry.resolve(REFERENCE)
    path.unlink()
    with pytest.raises(ProtocolViolation, match="gone"):
        registry.resolve(REFERENCE)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"manifests": 7}', '{"manifests": ["x"]}'])
def test_a_damaged_index_is_not_read_as_empty(tmp_path: Path, text: str) -> None:
    registry = _written(tmp_path)
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(ProtocolViolation, match=r"index\.json"):
        registry.resolve(REFERENCE)


def test_a_file_in_the_folders_place_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(RegistryUnreachable, match="Not a directory"):
        LayoutRegistry(file).resolve(REFERENCE)


def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_kept(tmp_path: Path) -> None:
    """A killed process leaves a file that nobody holds; a living one holds its own."""
    repository = Repository("registry.test", "app")
    write_image(LayoutRegistry(tmp_path), repository)
    folder = tmp_path / "blobs" / "sha256"
    before = {path.name for path in folder.iterdir()}
    (folder / ".tmp-left").write_bytes(b"half")
    with (folder / ".tmp-held").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        write_image(LayoutRegistry(tmp_path), repository)
        names = {path.name for path in folder.iterdir()}
    assert len(names - before) == 3
    assert ".tmp-left" not in names
    assert ".tmp-held" in names
