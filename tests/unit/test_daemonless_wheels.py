"""Wheels to values and layers: where files go, which wheel a target takes, what a broken archive does."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from posixpath import normpath
from typing import Any

import pytest

from imagespec.builders.assembly.layer_file import GZIP, LayerWriter, Written, compressor
from imagespec.builders.assembly.wheel_layers import Archive, Owner, grouped, placed_files, write_files
from imagespec.errors import IntegrityError, SpecError, Unsupported
from imagespec.oci import Platform
from imagespec.tarball import FOLDER, TarEntry
from imagespec.wheels.arguments import understood
from imagespec.wheels.lock import LockedWheel, Target, chosen, normalized
from imagespec.wheels.placement import Scheme

SCHEME = Scheme(prefix="/opt/venv", python="3.11")
SITE = "opt/venv/lib/python3.11/site-packages"
OWNER = Owner(uid=1000, gid=1000, above=(TarEntry("opt", FOLDER, 0o755),))
AMD64 = Target(platform=Platform.parse("linux/amd64"), python="3.11.2", libc="glibc 2.36")


def wheel(folder: Path, files: dict[str, bytes], *, name: str = "x-1.0", method: int = zipfile.ZIP_DEFLATED) -> Path:
    path = folder / f"{name}-py3-none-any.whl"
    record = "".join(f"{one},sha256=abc,{len(data)}\n" for one, data in files.items())
    with zipfile.ZipFile(path, "w", method) as archive:
        for one, data in files.items():
            info = zipfile.ZipInfo(one)
            info.compress_type = method
            info.external_attr = (0o755 if one.endswith(".sh") else 0o644) << 16
            archive.writestr(info, data)
        if f"{name}.dist-info/RECORD" not in files:
            archive.writestr(f"{name}.dist-info/RECORD", record + f"{name}.dist-info/RECORD,,\n")
    return path


def layer(path: Path, compression: str = GZIP) -> tuple[bytes, Written]:
    out = io.BytesIO()
    writer = LayerWriter(out, compression)
    with Archive(path) as archive:
        write_files(writer, [(archive, placed_files(archive, SCHEME))], OWNER)
    written = writer.finish()
    return out.getvalue(), written


def unpacked(data: bytes) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)) as archive:
        found = {}
        for member in archive:
            file = archive.extractfile(member)
            found[member.name] = member, file.read() if file else b""
        return found


FILES = {
    "x/__init__.py": b"",
    "x/code.py": b"print('x')\n" * 500,
    "x/run.sh": b"#!/bin/sh\n" * 30,
    "x-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: x\nVersion: 1.0\n",
    "x-1.0.dist-info/entry_points.txt": b"[console_scripts]\nX-do = x.code:Main.run [extra]\n[other]\na = b:c\n",
    "x-1.0.data/scripts/tool": b"#!python -u\nprint(1)\n",
    "x-1.0.data/scripts/binary": b"\x7fELF" + bytes(900),
    "x-1.0.data/data/share/doc.txt": b"doc" * 100,
    "x-1.0.data/data/lib64/y.so": b"so" * 100,
    "x-1.0.data/headers/x.h": b"int x;" * 50,
    "x-1.0.data/purelib/pure.py": b"PURE = 1\n",
}


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_files_go_where_an_installer_puts_them(tmp_path: Path, method: int) -> None:
    data, _ = layer(wheel(tmp_path, FILES, method=method))
    found = unpacked(data)
    assert found[f"{SITE}/x/code.py"][1] == FILES["x/code.py"]
    assert found["opt/venv/share/doc.txt"][1] == FILES["x-1.0.data/data/share/doc.txt"]
    assert found["opt/venv/lib/y.so"][1] == FILES["x-1.0.data/data/lib64/y.so"]
    assert found["opt/venv/include/site/python3.11/x/x.h"][1]
    assert found[f"{SITE}/pure.py"][1] == b"PURE = 1\n"
    assert found["opt/venv/bin/tool"][1] == b"#!/opt/venv/bin/python -u\nprint(1)\n"
    assert found["opt/venv/bin/binary"][1] == FILES["x-1.0.data/scripts/binary"]
    script = found["opt/venv/bin/X-do"][1].decode()
    assert script.startswith("#!/opt/venv/bin/python\n")
    assert "from x.code import Main\n" in script
    assert "sys.exit(Main.run())" in script
    assert found[f"{SITE}/x-1.0.dist-info/INSTALLER"][1] == b"imagespec\n"
    modes = {name: member.mode for name, (member, _) in found.items()}
    assert modes["opt/venv/bin/tool"] == modes["opt/venv/bin/X-do"] == modes[f"{SITE}/x/run.sh"] == 0o755
    assert modes[f"{SITE}/x/code.py"] == 0o644
    owners = {name: (member.uid, member.gid) for name, (member, _) in found.items()}
    assert owners.pop("opt") == (0, 0)
    assert set(owners.values()) == {(1000, 1000)}


def test_the_record_names_every_file_once_with_its_hash(tmp_path: Path) -> None:
    data, _ = layer(wheel(tmp_path, FILES))
    found = unpacked(data)
    lines = found[f"{SITE}/x-1.0.dist-info/RECORD"][1].decode().splitlines()
    names = [line.split(",")[0] for line in lines]
    assert len(names) == len(set(names))
    files = {name for name, (member, _) in found.items() if member.isfile()}
    assert {normpath(f"{SITE}/{name}") for name in names} == files
    assert "x-1.0.dist-info/RECORD,," in lines
    assert next(line for line in lines if line.startswith("../../../bin/tool")).endswith(
        f",{len(b'#!/opt/venv/bin/python -u') + 10}"
    )


def test_a_layer_is_the_same_whatever_holds_it(tmp_path: Path) -> None:
    path = wheel(tmp_path, FILES)
    spliced, plain, member = layer(path), layer(path, "uncompressed"), layer(path, "gzip-member")
    assert gzip.decompress(spliced[0]) == plain[0] == gzip.decompress(member[0])
    assert spliced[1].diff_id == plain[1].diff_id == member[1].diff_id
    for data, written in (spliced, plain, member):
        assert hashlib.sha256(data).hexdigest() == written.digest.encoded
        assert len(data) == written.size_bytes
        assert hashlib.sha256(plain[0]).hexdigest() == written.diff_id.encoded
    names = list(unpacked(spliced[0]))
    assert len(names) == len(set(names))
    assert compressor(GZIP, spliced=True) == "gzip"


def test_compressed_streams_are_taken_over_as_they_are(tmp_path: Path) -> None:
    path = wheel(tmp_path, {"x/data.bin": b"abcdefgh" * 100_000, "x-1.0.dist-info/METADATA": b"m"})
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("x/data.bin")
    raw = path.read_bytes()
    start = info.header_offset + 30 + len("x/data.bin")
    assert raw[start : start + info.compress_size] in layer(path)[0]


_WITHOUT_ISAL = """
import io, sys
from pathlib import Path
sys.modules["isal"] = None  # as where the package is not installed
from imagespec.builders.assembly.layer_file import LayerWriter
from imagespec.builders.assembly.wheel_layers import Archive, Owner, placed_files, write_files
from imagespec.tarball import FOLDER, TarEntry
from imagespec.wheels.placement import Scheme
writer = LayerWriter(io.BytesIO())
owner = Owner(uid=1000, gid=1000, above=(TarEntry("opt", FOLDER, 0o755),))
with Archive(Path(sys.argv[1])) as archive:
    write_files(writer, [(archive, placed_files(archive, Scheme(prefix="/opt/venv", python="3.11")))], owner)
print(writer.finish().digest)
"""


def test_a_layer_is_the_same_with_either_library_that_inflates(tmp_path: Path) -> None:
    path = wheel(tmp_path, {**FILES, "x/large.bin": (os.urandom(1 << 16) + bytes(1 << 16)) * 30})
    command = [sys.executable, "-c", _WITHOUT_ISAL, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(layer(path)[1].digest)


def test_streams_lie_behind_headers_of_any_length(tmp_path: Path) -> None:
    path = tmp_path / "x-1.0-py3-none-any.whl"
    content = {f"x/{size}.txt": str(size).encode() * 1000 for size in (0, 10, 64, 65, 500, 3000)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            size = int(name[2:-4])
            info.extra = b"\x99\x99" + size.to_bytes(2, "little") + bytes(size)
            archive.writestr(info, data)
        archive.writestr("x-1.0.dist-info/RECORD", "")
    found = unpacked(layer(path)[0])
    assert {name: found[f"{SITE}/{name}"][1] for name in content} == content


def test_a_member_that_is_not_what_its_directory_says_is_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path, {"x/data.bin": b"abcdefgh" * 1000, "x-1.0.dist-info/METADATA": b"m"})
    raw = bytearray(path.read_bytes())
    position = raw.rindex(b"PK\x01\x02", 0, raw.rindex(b"METADATA"))
    first = raw.index(b"PK\x01\x02")
    assert first < position
    raw[first + 16] ^= 1  # CRC-32 of the first member, in the central directory
    path.write_bytes(bytes(raw))
    with pytest.raises(IntegrityError, match="not what its directory says"):
        layer(path)


def test_a_cut_wheel_is_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path, FILES)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(IntegrityError, match="not a zip archive"):
        Archive(path)


@pytest.mark.parametrize("name", ["/etc/passwd", "../../../../etc/passwd", "x/../../y", "a\\b"])
def test_a_wheel_cannot_leave_its_folder(tmp_path: Path, name: str) -> None:
    path = wheel(tmp_path, {name: b"evil", "x-1.0.dist-info/METADATA": b"m"})
    with pytest.raises(IntegrityError, match="leads out of its folder"):
        layer(path)


@pytest.mark.parametrize("name", ["../x", "..", "a/b"])
def test_a_console_script_cannot_leave_bin(tmp_path: Path, name: str) -> None:
    points = f"[console_scripts]\n{name} = x:y\n".encode()
    path = wheel(tmp_path, {"x.py": b"", "x-1.0.dist-info/entry_points.txt": points})
    with pytest.raises(IntegrityError, match="console script"):
        layer(path)


def test_bytecode_that_a_wheel_brings_is_left_out_where_its_source_is(tmp_path: Path) -> None:
    kept, dropped = "x/only.cpython-311.pyc", "x/__pycache__/code.cpython-311.pyc"
    path = wheel(tmp_path, {"x/code.py": b"", kept: b"1", dropped: b"2", "x-1.0.dist-info/METADATA": b"m"})
    found = unpacked(layer(path)[0])
    assert f"{SITE}/{kept}" in found
    assert f"{SITE}/{dropped}" not in found
    assert dropped.encode() not in found[f"{SITE}/x-1.0.dist-info/RECORD"][1]


def test_two_wheels_with_one_path_make_no_duplicate(tmp_path: Path) -> None:
    one = wheel(tmp_path, {"shared/__init__.py": b"one" * 100, "x-1.0.dist-info/METADATA": b"m"})
    two = wheel(tmp_path, {"shared/__init__.py": b"two" * 100, "y-1.0.dist-info/METADATA": b"m"}, name="y-1.0")
    out = io.BytesIO()
    writer = LayerWriter(out)
    with Archive(one) as first, Archive(two) as second:
        write_files(writer, [(one_, placed_files(one_, SCHEME)) for one_ in (first, second)], OWNER)
    writer.finish()
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(out.getvalue()))) as archive:
        names = archive.getnames()
    assert len(names) == len(set(names))
    assert unpacked(out.getvalue())[f"{SITE}/shared/__init__.py"][1] == b"two" * 100


def locked(name: str, size: int = 10) -> LockedWheel:
    return LockedWheel(
        name=name, version="1", filename=f"{name}-1-py3-none-any.whl", url="", sha256=name, size_bytes=size
    )


def test_a_wheel_stays_in_its_group_whatever_else_is_there() -> None:
    few, many = [locked(f"p{n}") for n in range(5)], [locked(f"p{n}") for n in range(60)]
    sizes = {one.sha256: one.size_bytes for one in many}
    groups_of = lambda wheels: {w.name: n for n, (_, ws) in enumerate(grouped(wheels, sizes)) for w in ws}  # noqa: E731
    assert len(grouped(many, sizes)) == 8
    together = [{w.name for w in ws} for _, ws in grouped(many, sizes)]
    for _, ws in grouped(few, sizes):
        assert any({w.name for w in ws} <= names for names in together)
    assert set(groups_of(many)) == {w.name for w in many}
    large = locked("large", 2 << 20)
    assert grouped([*few, large], {**sizes, "large": 2 << 20})[0][1] == (large,)


def package(*filenames: str, **more: Any) -> dict[str, Any]:
    wheels = [{"name": one, "url": f"https://index.test/{one}", "hashes": {"sha256": one}} for one in filenames]
    return {"name": "Some.Pkg", "version": "1.0", "wheels": wheels, **more}


def test_the_best_fitting_wheel_is_chosen() -> None:
    fitting = "some_pkg-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"
    lock = {
        "packages": [
            package(
                "some_pkg-1.0-py3-none-any.whl",
                "some_pkg-1.0-cp311-cp311-manylinux_2_39_x86_64.whl",
                "some_pkg-1.0-cp312-cp312-manylinux_2_17_x86_64.whl",
                "some_pkg-1.0-cp311-cp311-musllinux_1_2_x86_64.whl",
                "some_pkg-1.0-cp38-abi3-manylinux_2_17_x86_64.whl",
                fitting,
            )
        ]
    }
    (found,) = chosen(lock, AMD64)
    assert (found.filename, found.name) == (fitting, "some-pkg")
    musl = Target(platform=Platform.parse("linux/amd64"), python="3.11.2", libc="musl 1.2.4")
    assert "musllinux" in chosen(lock, musl)[0].filename
    arm = Target(platform=Platform.parse("linux/arm64"), python="3.11.2", libc="glibc 2.36")
    assert chosen(lock, arm)[0].filename.endswith("none-any.whl")


def test_markers_extras_and_groups_of_a_lock() -> None:
    packages = [
        {**package("a-1-py3-none-any.whl"), "name": "a", "marker": "sys_platform == 'win32'"},
        {**package("b-1-py3-none-any.whl"), "name": "b", "marker": "python_full_version >= '3.11.2'"},
        {**package("c-1-py3-none-any.whl"), "name": "c", "marker": "'gpu' in extras"},
        {**package("d-1-py3-none-any.whl"), "name": "d", "marker": "'dev' in dependency_groups"},
    ]
    assert [one.name for one in chosen({"packages": packages}, AMD64)] == ["b"]
    assert [one.name for one in chosen({"packages": packages}, AMD64, extras=["gpu"], groups=["dev"])] == [
        "b",
        "c",
        "d",
    ]


def test_a_package_without_a_wheel_is_named_with_the_way_out() -> None:
    lock = {"packages": [{"name": "old", "version": "2", "sdist": {"url": "https://index.test/old-2.tar.gz"}}]}
    with pytest.raises(Unsupported, match="old 2 has no wheel") as raised:
        chosen(lock, AMD64)
    assert raised.value.field == "packages"
    assert "buildkit" in raised.value.hint


def test_only_allowed_hashes_are_taken() -> None:
    lock = {"packages": [package("some_pkg-1.0-py3-none-any.whl")]}
    assert chosen(lock, AMD64, hashes={"some-pkg": ["some_pkg-1.0-py3-none-any.whl"]})
    with pytest.raises(Unsupported, match="hash"):
        chosen(lock, AMD64, hashes={"some-pkg": ["other"]})


@pytest.mark.parametrize(
    "lock", [{"packages": [{"name": "x", "wheels": [{"name": "x-1-py3-none-any.whl"}]}]}, {"packages": [1]}]
)
def test_a_lock_that_is_none_is_refused(lock: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="not a valid pylock"):
        chosen(lock, AMD64)


@pytest.mark.parametrize(
    ("libc", "triple"),
    [
        ("glibc 2.36", "x86_64-manylinux_2_36"),
        ("glibc 2.30", "x86_64-manylinux_2_28"),
        ("glibc 2.99", "x86_64-manylinux_2_40"),
        ("musl 1.2.4", "x86_64-unknown-linux-musl"),
    ],
)
def test_the_target_in_the_resolver_s_words(libc: str, triple: str) -> None:
    assert Target(platform=Platform.parse("linux/amd64"), python="3.11", libc=libc).triple == triple


@pytest.mark.parametrize(
    ("platform", "libc"), [("linux/amd64", ""), ("linux/amd64", "glibc 2.12"), ("linux/s390x", "glibc 2.36")]
)
def test_a_base_that_wheels_do_not_run_on_is_refused(platform: str, libc: str) -> None:
    with pytest.raises(Unsupported):
        _ = Target(platform=Platform.parse(platform), python="3.11", libc=libc).triple


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--pre",), ("--prerelease", "allow")),
        (("-i", "https://a.test/simple"), ("--index-url", "https://a.test/simple")),
        (("--index-url=https://a.test/simple",), ("--index-url", "https://a.test/simple")),
        (("--extra-index-url https://a.test/simple",), ("--extra-index-url", "https://a.test/simple")),
        (("--upgrade", "--prefer-binary", "--only-binary", ":all:"), ()),
    ],
)
def test_arguments_with_a_meaning(given: tuple[str, ...], words: tuple[str, ...]) -> None:
    assert understood(given, "pip_extra_args").words == words


@pytest.mark.parametrize("given", [("--user",), ("--target", "/x"), ("--no-binary", "x"), ("numpy",), ("--index-url",)])
def test_arguments_without_a_meaning_are_refused_by_name(given: tuple[str, ...]) -> None:
    with pytest.raises(Unsupported, match=given[0].replace("-", r"\-")) as raised:
        understood(given, "pip_extra_args")
    assert raised.value.field == "pip_extra_args"


def test_names_are_compared_in_their_normal_form() -> None:
    assert normalized("Foo__Bar.-baz") == "foo-bar-baz"
