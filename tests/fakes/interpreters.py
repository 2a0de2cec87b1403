"""A site of interpreters as uv takes them: python-build-standalone's archives, here of a base image's Python."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["make_site"]

#: What uv puts a mirror in the place of.
_OFFICIAL = "https://github.com/astral-sh/python-build-standalone/releases/download"
_RELEASE = "20250101"


def make_site(layout: Path, version: str, folder: Path) -> str:
    """Write an archive with an image's Python, which is of this ``version``, and ``downloads.json`` that lists it.

    Returns the archive's path in ``folder``. The image has the interpreter's libraries, and so must who runs it.
    """
    major, middle, patch = version.split(".")
    minor = f"{major}.{middle}"
    files = dict(_files(layout))
    prefix = "usr/local" if f"usr/local/bin/python{minor}" in files else "usr"
    named = re.compile(rf"{prefix}/(bin/python{minor}|lib/python{minor}/.*|lib/libpython.*)")
    path = f"{_RELEASE}/cpython-{version}+{_RELEASE}-x86_64-unknown-linux-gnu-install_only.tar.gz"
    (folder / _RELEASE).mkdir(parents=True)
    with gzip.open(folder / path, "wb", compresslevel=1) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for name, (member, data) in files.items():
            if match := named.fullmatch(name):
                member.name = f"python/{match[1]}"
                archive.addfile(member, io.BytesIO(data))
    digest = hashlib.sha256((folder / path).read_bytes()).hexdigest()
    listed = {
        "name": "cpython",
        "arch": {"family": "x86_64", "variant": None},
        "os": "linux",
        "libc": "gnu",
        "major": int(major),
        "minor": int(middle),
        "patch": int(patch),
        "prerelease": "",
        "variant": None,
        "url": f"{_OFFICIAL}/{path.replace('+', '%2B')}",
        "sha256": digest,
        "build": _RELEASE,
    }
    (folder / "downloads.json").write_text(json.dumps({f"cpython-{version}-linux-x86_64-gnu": listed}))
    return path


def _files(layout: Path) -> Iterator[tuple[str, tuple[tarfile.TarInfo, bytes]]]:
    """Every regular file and link of the image's layers, with what it holds."""

    def read(descriptor: dict[str, Any]) -> bytes:
        return (layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()

    manifest = json.loads(read(json.loads((layout / "index.json").read_text())["manifests"][0]))
    for layer in manifest["layers"]:
        with tarfile.open(fileobj=io.BytesIO(read(layer)), mode="r:gz") as archive:
            for member in archive:
                if member.isreg() or (member.issym() and not member.linkname.startswith("/")):
                    file = archive.extractfile(member) if member.isreg() else None
                    yield member.name.removeprefix("./"), (member, file.read() if file else b"")
