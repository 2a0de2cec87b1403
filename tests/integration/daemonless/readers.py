"""Those who read images: each gives the file system that it made of one, to be compared."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import stat
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import zstandard

from imagespec.names import Reference
from imagespec.oci import Descriptor
from imagespec.registry import Registry
from tests.integration import debian_tools
from tests.integration.daemonless.places import Place

__all__ = ["Containers", "Found", "Tree", "containerd", "different", "docker_tree", "expected", "skopeo_tree"]


class Found(NamedTuple):
    """What is at a path: its kind, mode (but for links), owner, and its content's digest or a link's target."""

    kind: str
    mode: int
    owner: tuple[int, int]
    content: str


Tree = dict[str, Found]


def tar_tree(path: Path) -> Tree:
    """Return what a tar archive holds."""
    with tarfile.open(path) as archive:
        return {member.name.strip("/"): _of_member(archive, member) for member in archive}


def _of_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Found:
    file = archive.extractfile(member) if member.isfile() else None
    if file is not None:
        return Found("file", member.mode & 0o7777, (member.uid, member.gid), hashlib.sha256(file.read()).hexdigest())
    if member.issym():
        return Found("link", 0, (member.uid, member.gid), member.linkname)
    return Found("folder", member.mode & 0o7777, (member.uid, member.gid), "")


def folder_tree(root: Path) -> Tree:
    """Return what a folder holds."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            state = path.lstat()
            owner = (state.st_uid, state.st_gid)
            if stat.S_ISLNK(state.st_mode):
                one = Found("link", 0, owner, str(path.readlink()))
            elif stat.S_ISDIR(state.st_mode):
                one = Found("folder", stat.S_IMODE(state.st_mode), owner, "")
            else:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                one = Found("file", stat.S_IMODE(state.st_mode), owner, digest)
            found[str(path.relative_to(root))] = one
    return found


def expected(registry: Registry, reference: Reference, platform: str = "") -> Tree:
    """Return what the layers hold, by the standard library; ``platform`` chooses one of an index."""
    manifest = registry.read_manifest(reference)
    assert manifest is not None
    if platform:
        digest = next(one.digest for one in manifest.manifests if str(one.platform) == platform)
        manifest = registry.read_manifest(Reference(reference.repository, None, digest))
        assert manifest is not None
    tree: Tree = {}
    for layer in manifest.layers:
        with registry.read_blob(reference.repository, layer.digest) as blob, \
                tarfile.open(fileobj=_unpacked(blob, layer), mode="r|") as archive:  # fmt: skip
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                kind = "file" if file else "link" if member.issym() else "folder"
                tree[member.name.strip("/")] = Found(
                    kind,
                    0 if kind == "link" else member.mode & 0o7777,
                    (member.uid, member.gid),
                    _digest(file.read()) if file else member.linkname,
                )
    return tree


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _unpacked(blob: Any, layer: Descriptor) -> Any:
    if layer.media_type.endswith("gzip"):
        return gzip.GzipFile(fileobj=blob)
    if layer.media_type.endswith("zstd"):
        return io.BytesIO(zstandard.ZstdDecompressor().stream_reader(blob, read_across_frames=True).read())
    return blob


def different(found: Tree, wanted: Tree, *, by_docker: bool = False) -> dict[str, object]:
    """Return what is not as it was written, and what is there besides; {} when all is right."""
    wrong: dict[str, object] = {path: (one, found.get(path)) for path, one in wanted.items() if found.get(path) != one}
    ours = ("opt", "root", "home", "usr")
    wrong.update((path, found[path]) for path in found if path not in wanted and path.split("/")[0] in ours)
    if by_docker:
        # Docker puts files of its own over this folder when it makes a container.
        wrong.pop("etc", None)
    return wrong


def docker_tree(place: Place, reference: Reference, folder: Path, archive: Path | None = None) -> Tree:
    """Return what a container of the engine would see, without running it; the image pulled, or loaded."""
    if archive is not None:
        place.docker("load", "--quiet", "--input", str(archive))
    else:
        place.docker("pull", "--quiet", str(reference))
    container = place.docker("create", str(reference), "none").strip()
    try:
        place.docker("export", "--output", str(folder / "docker.tar"), container)
    finally:
        place.docker("rm", container)
    return tar_tree(folder / "docker.tar")


def skopeo_tree(reference: Reference, folder: Path) -> Tree:
    """Return what the layers hold that skopeo copied and unpacked, one over the other."""
    # It takes no reference with a tag and a digest.
    source, target = f"docker://{reference.repository}:{reference.tag}", Path(tempfile.mkdtemp(dir=folder))
    words = ["--insecure-policy", "--src-tls-verify=false", "--dest-decompress"]
    debian_tools.skopeo()("copy", *words, source, f"dir:{target}")
    tree: Tree = {}
    for layer in json.loads((target / "manifest.json").read_text())["layers"]:
        tree.update(tar_tree(target / layer["digest"].partition(":")[2]))
    return tree


@dataclass(frozen=True)
class Containers:
    """Podman and Buildah, with stores and settings of their own in ``folder``."""

    folder: Path

    def podman(self, reference: Reference) -> Tree:
        """Return what Podman mounts."""
        podman, runc, conmon = map(debian_tools.podman, ("podman", "runc", "conmon"))
        store = [
            *self._store("podman"),
            "--runtime",
            runc.program,
            "--conmon",
            conmon.program,
        ]
        policy = ["--signature-policy", str(self._policy())]
        podman(*store, "pull", "--quiet", "--tls-verify=false", *policy, str(reference), **self._env())
        return folder_tree(Path(podman(*store, "image", "mount", str(reference), **self._env()).strip()))

    def podman_load(self, archive: Path, reference: Reference) -> Tree:
        """Return what Podman mounts of an archive that it loads."""
        podman, runc, conmon = map(debian_tools.podman, ("podman", "runc", "conmon"))
        store = [*self._store("loaded"), "--runtime", runc.program, "--conmon", conmon.program]
        policy = ["--signature-policy", str(self._policy())]
        podman(*store, "load", "--quiet", *policy, "--input", archive, **self._env())
        return folder_tree(Path(podman(*store, "image", "mount", str(reference), **self._env()).strip()))

    def buildah(self, reference: Reference) -> Tree:
        """Return what Buildah mounts."""
        buildah = debian_tools.buildah()
        store = self._store("buildah")
        policy = ["--signature-policy", str(self._policy())]
        name = buildah(*store, "from", "--quiet", "--tls-verify=false", *policy, str(reference), **self._env()).strip()
        return folder_tree(Path(buildah(*store, "mount", name, **self._env()).strip()))

    def _store(self, name: str) -> list[str]:
        root, run = self.folder / f"{name}-root", self.folder / f"{name}-run"
        # vfs needs no mounts; the images here are small.
        return ["--root", str(root), "--runroot", str(run), "--storage-driver", "vfs"]

    def _policy(self) -> Path:
        path = self.folder / "policy.json"
        path.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        return path

    def _env(self) -> dict[str, str]:
        for name in ("registries.conf", "containers.conf"):
            (self.folder / name).touch()
        return {
            "CONTAINERS_REGISTRIES_CONF": str(self.folder / "registries.conf"),
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "TMPDIR": str(self.folder),
            "HOME": str(self.folder),
        }


@contextmanager
def containerd(folder: Path) -> Iterator[Any]:
    """Run a containerd of our own; give what returns the tree of a reference, or of that in an archive, as unpacked."""
    server, ctr = map(debian_tools.containerd, ("containerd", "ctr"))
    socket = folder / "sock"
    (folder / "config.toml").write_text(
        f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.nri.v1.nri"]\n'
        f'[grpc]\naddress = "{socket}"\n'
    )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([server.program, "--config", str(folder / "config.toml")], stdout=log, stderr=log)
    asked = ["--address", str(socket), "--namespace", "tests"]

    def tree(reference: Reference, archive: Path | None = None) -> Tree:
        if archive is not None:
            ctr(*asked, "images", "import", "--snapshotter", "native", archive)
        else:
            ctr(*asked, "images", "pull", "--plain-http", "--snapshotter", "native", str(reference))
        target = folder / f"mount-{time.monotonic_ns()}"
        target.mkdir()
        ctr(*asked, "images", "mount", "--snapshotter", "native", str(reference), target)
        try:
            return folder_tree(target)
        finally:
            ctr(*asked, "images", "unmount", target)

    try:
        _wait_for(socket, process, folder / "log")
        yield tree
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(socket: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        assert process.poll() is None, log.read_text()[-2000:]
        if socket.exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"containerd does not answer: {log.read_text()[-2000:]}")
