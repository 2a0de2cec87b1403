"""Makes a conda channel in a folder: ``python``, which is the machine's own behind another prefix, and ``hello``.

Formats: conda's package format 1 (``.tar.bz2`` with ``info/index.json`` and ``info/paths.json``) and ``repodata.json``.
"""

import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any


def package(folder: Path, name: str, version: str, depends: list[str], files: dict[str, tuple[str, bytes]]) -> Any:
    """Write a package; ``files`` are pairs (kind "f" or "l", content or link target)."""
    index: dict[str, Any] = {
        "name": name,
        "version": version,
        "build": "0",
        "build_number": 0,
        "depends": depends,
        "subdir": folder.name,
    }
    paths = [
        {
            "_path": path,
            "path_type": "softlink" if kind == "l" else "hardlink",
            **({} if kind == "l" else {"sha256": hashlib.sha256(data).hexdigest(), "size_in_bytes": len(data)}),
        }
        for path, (kind, data) in files.items()
    ]
    info = {"info/index.json": index, "info/paths.json": {"paths": paths, "paths_version": 1}}
    file = folder / f"{name}-{version}-0.tar.bz2"
    with tarfile.open(file, "w:bz2") as archive:
        for path, value in info.items():
            add(archive, path, "f", json.dumps(value).encode())
        for path, (kind, data) in files.items():
            add(archive, path, kind, data)
    data = file.read_bytes()
    sums = {"md5": hashlib.md5(data).hexdigest(), "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    return {file.name: {**index, **sums, "timestamp": 1700000000000}}


def add(archive: tarfile.TarFile, path: str, kind: str, data: bytes) -> None:
    member = tarfile.TarInfo(path)
    member.mode = 0o755
    if kind == "l":
        member.type, member.linkname = tarfile.SYMTYPE, data.decode()
    else:
        member.size = len(data)
    archive.addfile(member, io.BytesIO(data if kind == "f" else b""))


def main(channel: Path) -> None:
    minor = f"python3.{sys.version_info.minor}"
    interpreter = Path(f"/usr/bin/{minor}").read_bytes()
    for subdir in ("linux-64", "noarch"):
        (channel / subdir).mkdir(parents=True)
    version = ".".join(map(str, sys.version_info[:3]))
    files = {
        f"bin/{minor}": ("f", interpreter),
        "bin/python": ("l", minor.encode()),
        f"lib/{minor}": ("l", f"/usr/lib/{minor}".encode()),
    }
    native = package(channel / "linux-64", "python", version, [], files)
    says = {"bin/hello": ("f", b"#!/bin/sh\necho hello from conda\n")}
    plain = package(channel / "noarch", "hello", "1.2", ["python"], says)
    plain |= package(channel / "noarch", "hello", "2.0", ["python"], says)
    for subdir, packages in (("linux-64", native), ("noarch", plain)):
        repodata = {"info": {"subdir": subdir}, "packages": packages, "packages.conda": {}, "repodata_version": 1}
        (channel / subdir / "repodata.json").write_text(json.dumps(repodata))


main(Path(sys.argv[1]))
