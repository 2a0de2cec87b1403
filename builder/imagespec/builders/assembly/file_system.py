"""What a base image's file system holds, read from its layers without running anything, remembered by layer digest.

Source: OCI Image Specification, ``layer.md`` (changesets, whiteouts, opaque whiteouts).
"""

from __future__ import annotations

import base64
import posixpath
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

from imagespec.builders.assembly.base import Image
from imagespec.builders.assembly.layer_file import inflating_errors
from imagespec.builders.assembly.store import Store
from imagespec.errors import IntegrityError, Unsupported
from imagespec.names import Digest
from imagespec.oci import Descriptor
from imagespec.tarball import FILE

if TYPE_CHECKING:
    import tarfile

__all__ = ["FileSystem", "FileSystems", "Node", "read_files"]

_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"
_FORMAT: Final = 3
_MAX_LINKS: Final = 40
_REMEMBERED: Final = 8
_KEPT_TEXTS: Final = re.compile(r"etc/passwd|etc/group|(.*/)?pyvenv\.cfg")
# What the default workdir holds is re-written for its new owner: kept, so that layers are read once.
_KEPT_CONTENTS: Final = re.compile(r"root/.+")
_KEPT_BYTES: Final = 1 << 16
_PYTHON: Final = re.compile(r"(?:.*/)?(?:bin/python|lib/libpython)3\.(?P<minor>\d+)(?:\.so(?:\.1\.0)?)?")
_LIBPYTHON: Final = re.compile(r"(?:.*/)?libpython3\.(?P<minor>\d+)\.so\.1\.0")
_GLIBC: Final = re.compile(r"(?:.*/)?libc(?:\.so\.6|-2\.\d+\.so)")
_GLIBC_VERSION: Final = re.compile(rb"GNU C Library [^\n]*? version (\d+\.\d+)")
_MUSL: Final = re.compile(r"(?:.*/)?ld-musl-[^/]*\.so\.1")
_MUSL_VERSION: Final = re.compile(rb"\x00(1\.\d+\.\d+)\x00")


class Node(NamedTuple):
    """A path in the file system; ``layer`` is the index of the layer that put it there.

    ``kind`` is tar's type, that of a file for a hard link, which has in ``target`` the path whose content it shares.
    """

    kind: str
    mode: int
    uid: int
    gid: int
    target: str
    layer: int


class FileSystem:
    """The paths of an image, relative to its root; ``texts`` has what was kept of contents, by path."""

    def __init__(self, layers: Iterable[dict[str, Any]] = (), below: FileSystem | None = None, count: int = 0) -> None:
        """``layers`` come over those of ``below``, of which there are ``count``."""
        self.nodes: dict[str, Node] = dict(below.nodes) if below else {}
        self.texts: dict[str, str] = dict(below.texts) if below else {}
        self.contents: dict[str, str] = dict(below.contents) if below else {}
        """Contents of small files, in base64, by path."""
        self.libc: str = below.libc if below else ""
        """``glibc 2.36`` or ``musl 1.2.4``; "" when there is none."""
        for index, layer in enumerate(layers, count):
            self._apply(index, layer)

    def _apply(self, index: int, layer: dict[str, Any]) -> None:
        for path in layer["removed"]:
            self._remove(path, itself=True)
        for path in layer["emptied"]:
            self._remove(path, itself=False)
        for path, kind, mode, uid, gid, target in layer["entries"]:
            before = self.nodes.get(path)
            if before is not None and before.kind == "5" and kind != "5":
                self._remove(path, itself=True)
            self.nodes[path] = Node(kind, mode, uid, gid, target, index)
        self._forget({entry[0] for entry in layer["entries"]})
        self.texts.update(layer["texts"])
        self.contents.update(layer["contents"])
        self.libc = layer["libc"] or self.libc

    def _remove(self, path: str, *, itself: bool) -> None:
        below = path + "/" if path else ""
        gone = [one for one in self.nodes if one.startswith(below) or (itself and one == path)]
        for one in gone:
            del self.nodes[one]
        self._forget(set(gone))

    def _forget(self, paths: set[str]) -> None:
        """Drop what was kept of files that a layer removes or writes anew."""
        for kept in (self.texts, self.contents):
            for key in [key for key in kept if key.removesuffix("#version") in paths]:
                del kept[key]

    def real(self, path: str) -> str:
        """Return where a path leads once links are followed, also when nothing is there; "" for a loop or the root."""
        left, done, links = [part for part in path.split("/") if part], "", 0
        while left:
            part = left.pop(0)
            if part in (".", ".."):
                done = posixpath.dirname(done) if part == ".." else done
                continue
            done = f"{done}/{part}" if done else part
            node = self.nodes.get(done)
            if node is not None and node.kind == "2":
                links += 1
                if links > _MAX_LINKS:
                    return ""
                left = [one for one in node.target.split("/") if one] + left
                done = "" if node.target.startswith("/") else posixpath.dirname(done)
        return done

    def node(self, path: str) -> Node | None:
        """Return what a path leads to, links followed; None when nothing is there."""
        return self.nodes.get(self.real(path))

    def below(self, folder: str) -> list[str]:
        """Return the paths below a folder (not through links), sorted."""
        prefix = folder.strip("/") + "/"
        return sorted(path for path in self.nodes if path.startswith(prefix))


class FileSystems:
    """Reads the file systems of images, and remembers the last few: images of one run are based on one another.

    What it returns is shared, and not to be changed.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._remembered: OrderedDict[tuple[Digest, ...], FileSystem] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, image: Image, seen: Callable[[Descriptor], None]) -> FileSystem:
        """Return the image's file system; ``seen`` is told of each layer that has to be read for it.

        Raise IntegrityError for a layer that is not its digest's content, Unsupported for a compression without
        library.
        """
        wanted = tuple(layer.digest for layer in image.layers)
        with self._store.making("file systems", "+".join(map(str, wanted))):
            count, below = self._longest(wanted)
            if below is not None and count == len(wanted):
                return below
            files = FileSystem(
                [_layer(image, layer, self._store, seen) for layer in image.layers[count:]], below, count
            )
            self._remember(wanted, files)
        return files

    def _longest(self, wanted: tuple[Digest, ...]) -> tuple[int, FileSystem | None]:
        """Return how many of the layers, lowest first, are remembered together, and as what."""
        with self._lock:
            known = max((one for one in self._remembered if one == wanted[: len(one)]), key=len, default=())
            if known in self._remembered:
                self._remembered.move_to_end(known)
            return len(known), self._remembered.get(known)

    def _remember(self, layers: tuple[Digest, ...], files: FileSystem) -> None:
        with self._lock:
            self._remembered[layers] = files
            while len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)


def _layer(image: Image, layer: Descriptor, store: Store, seen: Callable[[Descriptor], None]) -> dict[str, Any]:
    name = f"{layer.digest.encoded}-{_FORMAT}"
    with store.making("bases", name):
        kept = store.value("bases", name)
        if isinstance(kept, dict):
            return kept
        seen(layer)
        found: dict[str, Any] = {"entries": [], "texts": {}, "contents": {}, "libc": "", "removed": [], "emptied": []}
        with _opened(image, layer) as archive:
            for member in archive:
                _index(found, member, archive)
        store.write_value("bases", name, found)
        return found


def _index(found: dict[str, Any], member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
    path = posixpath.normpath(member.name).strip("/")
    folder, _, name = path.rpartition("/")
    if path == ".":
        return
    if name == _OPAQUE:
        found["emptied"].append(folder)
    elif name.startswith(_WHITEOUT):
        found["removed"].append(f"{folder}/{name[len(_WHITEOUT) :]}" if folder else name[len(_WHITEOUT) :])
    else:
        kind = FILE if member.isreg() or member.islnk() else member.type
        target = member.linkname if member.issym() else ""
        if member.islnk():
            target = posixpath.normpath(member.linkname).strip("/")
        found["entries"].append([path, kind.decode(), member.mode & 0o7777, member.uid, member.gid, target])
        if member.isreg():
            _look_into(found, path, member, archive)


def _look_into(found: dict[str, Any], path: str, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
    def content() -> bytes:
        file = archive.extractfile(member)
        return file.read() if file is not None else b""

    if _KEPT_TEXTS.fullmatch(path):
        found["texts"][path] = content().decode("utf-8", "replace")
    elif _KEPT_CONTENTS.fullmatch(path) and member.size <= _KEPT_BYTES:
        found["contents"][path] = base64.b64encode(content()).decode()
    elif match := _PYTHON.fullmatch(path) or _LIBPYTHON.fullmatch(path):
        version = re.search(rb"\x00(3\.%s\.\d+)[+\x00]" % match["minor"].encode(), content())
        if version is not None:
            found["texts"][f"{path}#version"] = version[1].decode()
    elif _GLIBC.fullmatch(path):
        version = _GLIBC_VERSION.search(content())
        found["libc"] = f"glibc {version[1].decode()}" if version else found["libc"]
    elif _MUSL.fullmatch(path):
        version = _MUSL_VERSION.search(content())
        found["libc"] = f"musl {version[1].decode() if version else '1.1'}"


def read_files(image: Image, files: FileSystem, wanted: dict[str, Node]) -> dict[str, bytes]:
    """Return the contents of regular files, by path, kept or read from the layers that hold them."""
    found = {path: base64.b64decode(files.contents[path]) for path in wanted if path in files.contents}
    missing: dict[int, dict[str, list[str]]] = {}
    for path, node in wanted.items():
        if path not in found:
            missing.setdefault(node.layer, {}).setdefault(node.target or path, []).append(path)
    for index, sources in sorted(missing.items()):
        with _opened(image, image.layers[index]) as archive:
            for member in archive:
                path = posixpath.normpath(member.name).strip("/")
                if path in sources and member.isreg():
                    file = archive.extractfile(member)
                    found.update(dict.fromkeys(sources[path], file.read() if file is not None else b""))
    return found


@contextmanager
def _opened(image: Image, layer: Descriptor) -> Iterator[tarfile.TarFile]:
    """Give the layer's archive; at the end the blob is read to its own end, where its digest is checked."""
    import tarfile

    broken: tuple[type[Exception], ...] = (tarfile.TarError, OSError, EOFError, *inflating_errors())
    with image.registry.read_blob(image.repository, layer.digest) as blob:
        try:
            with _unpacked(blob, layer) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
                yield archive
                while stream.read(1 << 20):
                    pass
        except broken as error:
            raise IntegrityError(f"base_image: layer {layer.digest} cannot be unpacked: {error}") from error
        while blob.read(1 << 20):
            pass


def _unpacked(blob: BinaryIO, layer: Descriptor) -> Any:
    if layer.media_type.endswith("gzip"):
        return _gzip_reader()(fileobj=blob, mode="rb")
    if layer.media_type.endswith("zstd"):
        return _unpacked_zstd(blob)
    if layer.media_type.endswith("tar"):
        return blob
    raise Unsupported(
        f"base_image: a layer is of type {layer.media_type}",
        builder="daemonless",
        field="base_image",
        hint="--builder buildkit",
    )


def _gzip_reader() -> Any:
    """Return the class that unpacks gzip: ISA-L takes half the time."""
    import importlib

    try:
        return importlib.import_module("isal.igzip").IGzipFile
    except ImportError:
        import gzip

        return gzip.GzipFile


def _unpacked_zstd(blob: BinaryIO) -> Any:
    import importlib

    try:
        zstandard = importlib.import_module("zstandard")
    except ImportError as error:
        raise Unsupported(
            "base_image: its layers are compressed with zstd, which needs the zstandard package",
            builder="daemonless",
            field="base_image",
            hint="pip install zstandard, or --builder buildkit",
        ) from error
    return zstandard.ZstdDecompressor().stream_reader(blob, read_across_frames=True)
