"""flytekit's own tag of a spec, bit for bit, where it follows from the spec: for teams whose images exist under it.

Source: flytekit 1.16, ``ImageSpec.tag`` and ``ImageSpec.id``, ``tools/ignore.py``, ``tools/script_mode.py``,
``tools/fast_registration.py``. Nothing of flytekit is imported. What flytekit's answer depends on besides the spec and
its files (the order of a dict, the process, the machine, the order in which a file system lists) is refused by name,
and so is what its tag does not see although the image depends on it (the files that a requirements file includes).

Not seen by flytekit's tag, and not refused, since hardly a spec would be left: the executable bit of a file, empty
folders, where one path ends and the next begins, and the versions of flytekit and of its tools at build time.
"""

from __future__ import annotations

import base64
import hashlib
import posixpath
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final, NoReturn, Protocol

from imagespec.errors import NoFlyteTag
from imagespec.flyte_tags.ignore import FlyteDockerIgnore, PatternError
from imagespec.spec import FIELD_NAMES, CopyFileDetection, Declaration
from imagespec.values import dataclass

__all__ = ["FlyteDisk", "FlyteFolder", "flyte_tag"]

_LEFT_OUT: Final = ("pip_secret_mounts", "builder", "runtime_packages", "registry_config")
_STANDARD_IGNORE: Final = ("*.pyc", ".cache", ".cache/*", "__pycache__/*", "**/__pycache__/*")
_SINGLE_PLATFORM: Final = "linux/amd64"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlyteFolder:
    """A folder, or one file, as it lies on the disk. Paths are relative to it, with '/'; "" is the file itself.

    ``files`` are the regular files and the links to such, ``others`` pipes and devices, which flytekit would read for
    ever; ``selected`` is what our own rules copy: files and links. ``dockerignore`` is the file of that name in it.
    """

    files: frozenset[str]
    others: frozenset[str]
    selected: frozenset[str]
    dockerignore: bytes = b""


class FlyteDisk(Protocol):
    """What flytekit reads when it computes a tag. Every method raises InputError for what cannot be read."""

    def requirements(self) -> tuple[bytes, tuple[str, ...]]:
        """Return the requirements file's bytes, and the other files that decide what it installs."""
        ...

    def folder(self, field: str) -> FlyteFolder:
        """Return what lies where ``field`` ("source_root", "copy[2]") points."""
        ...

    def read(self, field: str, path: str) -> Iterator[bytes]:
        """Yield the content of one of the folder's selected files; raise NoFlyteTag when it leads elsewhere."""
        ...


def flyte_tag(declaration: Declaration, disk: FlyteDisk, *, base_name: str = "") -> str:
    """Return the tag that flytekit 1.16 gives the spec as it is declared (as in fast registration).

    ``base_name`` is the name with flytekit's tag of the base, where that is a spec. Raise NoFlyteTag, naming the field,
    where flytekit's answer is luck, and InputError for a file.
    """
    values = _values(declaration)
    _refuse_luck(declaration, values)
    if base_name:
        values["base_image"] = base_name
    if declaration.source_copy_mode not in (None, CopyFileDetection.NO_COPY):
        values["source_root"] = _source_digest(str(declaration.source_root), disk)
    if declaration.copy:
        values["copy"] = _copies_digest(declaration.copy, disk)
    if declaration.requirements is not None:
        values["requirements"] = _requirements_digest(disk)
    raw = hashlib.md5(str(values).encode(), usedforsecurity=False).digest()
    tag = base64.urlsafe_b64encode(raw).decode().rstrip("=").replace("-", "_")
    return tag if declaration.tag_format is None else declaration.tag_format.replace("{spec_hash}", tag)


def _values(declaration: Declaration) -> dict[str, Any]:
    """Return the fields that are in flytekit's tag, as written, in flytekit's order and of its types."""
    values = {}
    for name in FIELD_NAMES:
        value = declaration.written.get(name)
        value = getattr(declaration, name) if value is None else value
        if name == "platform" and value is None:
            value = _SINGLE_PLATFORM
        if value is not None and name not in _LEFT_OUT:
            values[name] = _as_flytekit_has_it(value)
    return values


def _as_flytekit_has_it(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_flytekit_has_it(one) for key, one in value.items()}
    return [_as_flytekit_has_it(one) for one in value] if isinstance(value, (list, tuple)) else value


def _refuse_luck(declaration: Declaration, values: Mapping[str, Any]) -> None:
    mode = declaration.source_copy_mode
    for name in values:
        is_read = name in ("requirements", "copy") or (name == "source_root" and mode is CopyFileDetection.ALL)
        if name in declaration.written and declaration.written[name] is None and not is_read:
            _refuse(name, "was given as a set, a tuple or a path object, which flytekit's tag tells apart")
    if declaration.python_version is None and declaration.python_exec is None:
        _refuse("python_version", "is not set, and flytekit then takes that of the machine, which is not in its tag")
    if declaration.platform is None and (declaration.registry or "").startswith("localhost:"):
        _refuse("platform", "is not set, and for a registry on localhost flytekit takes that of the machine")
    if mode is CopyFileDetection.LOADED_MODULES:
        _refuse("source_copy_mode", "is LOADED_MODULES: flytekit's tag depends on what its process has imported")
    root = declaration.source_root
    if root is not None and mode is CopyFileDetection.NO_COPY and posixpath.isabs(root):
        _refuse("source_root", "is a path of this machine, which is in flytekit's tag although nothing is copied")
    for name in ("env", "builder_options", "builder_config"):
        if _is_ordered(values.get(name)):
            _refuse(name, "has several keys, and flytekit's tag depends on the order in which they were set")
    for name, value in values.items():
        if any(unicodedata.ucd_3_2_0.category(one) == "Cn" for text in _texts(value) for one in set(text)):
            _refuse(name, "holds a character that older versions of Python do not know, and write in another way")


def _is_ordered(value: object) -> bool:
    if isinstance(value, Mapping):
        return len(value) > 1 or any(map(_is_ordered, value.values()))
    return isinstance(value, list) and any(map(_is_ordered, value))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for item in value.items() for one in item for text in _texts(one))
    elif isinstance(value, list):
        yield from (text for one in value for text in _texts(one))


def _requirements_digest(disk: FlyteDisk) -> str:
    data, others = disk.requirements()
    if others:
        _refuse("requirements", f"depends on {others[0]!r}, which is not in flytekit's tag")
    return hashlib.sha1(data.strip(), usedforsecurity=False).hexdigest()


def _source_digest(root: str, disk: FlyteDisk) -> str:
    field = "source_root"
    folder = disk.folder(field)
    ignored = _ignored(root, folder.dockerignore)
    chosen = _same_as_ours(field, folder, {path for path in folder.files if not ignored(path)})
    if hanging := sorted(path for path in folder.others if not ignored(path)):
        _refuse(field, f"holds the pipe or device {hanging[0]!r}, which flytekit would read for ever")
    return _digest((disk.read(field, path), path) for path in sorted(chosen))


def _ignored(root: str, dockerignore: bytes) -> Any:
    """Return flytekit's rule for a path below ``root``, without git, which it asks where there is one.

    A relative root stays in front of the paths that are compared, as it does there.
    """
    if not dockerignore.isascii():
        _refuse("source_root", "has a .dockerignore that is not ASCII: flytekit reads it in the machine's encoding")
    try:
        docker = FlyteDockerIgnore.parse(dockerignore.decode())
    except PatternError as error:
        _refuse("source_root", f"has a .dockerignore that flytekit cannot read: {error}")

    def ignored(path: str) -> bool:
        shown = path if posixpath.isabs(root) else posixpath.join(root, path)
        return docker.matches(shown) or any(fnmatchcase(shown, pattern) for pattern in _STANDARD_IGNORE)

    return ignored


def _same_as_ours(field: str, folder: FlyteFolder, theirs: set[str]) -> set[str]:
    """Return what flytekit chooses; raise NoFlyteTag where that is not what we would copy.

    Whatever git ignores, we leave out: so flytekit's choice is then the same with git and without.
    """
    for path in sorted(theirs ^ folder.selected):
        if path in theirs:
            _refuse(field, f"has {path!r}, which flytekit takes in, where its machine has no git, and we leave out")
        _refuse(field, f"has {path!r}, which flytekit's tag does not see, and we copy")
    return theirs


def _copies_digest(paths: Iterable[str], disk: FlyteDisk) -> str:
    """Return the digest of what ``copy`` names: flytekit applies no ignore rules, and sorts files, not folders."""
    read: list[tuple[Iterator[bytes], str]] = []
    for index, written in enumerate(paths):
        field = f"copy[{index}]"
        folder = disk.folder(field)
        if folder.others:
            _refuse(field, f"holds the pipe or device {min(folder.others)!r}, which flytekit would read for ever")
        chosen = _same_as_ours(field, folder, set(folder.files))
        if chosen == {""}:
            read.append((disk.read(field, ""), posixpath.basename(written)))
        else:
            read += [(disk.read(field, path), path) for path in _walked(field, chosen)]
    return _digest(read)


def _walked(field: str, files: set[str]) -> Iterator[str]:
    """Yield the files in the order of ``os.walk``; raise NoFlyteTag where that is the file system's."""
    below: dict[str, set[str]] = {}
    for path in files:
        head, slash, rest = path.partition("/")
        below.setdefault(head if slash else "", set()).add(rest if slash else path)
    yield from sorted(below.pop("", ()))
    if len(below) > 1:
        first, second = sorted(below)[:2]
        _refuse(field, f"has the folders {first!r} and {second!r} in one, and flytekit does not sort folders")
    for head, inside in below.items():
        yield from (f"{head}/{path}" for path in _walked(field, inside))


def _digest(files: Iterable[tuple[Iterator[bytes], str]]) -> str:
    total = hashlib.md5(usedforsecurity=False)
    for chunks, path in files:
        for chunk in chunks:
            total.update(chunk)
        total.update(path.replace("/", "").encode())
    return total.hexdigest()


def _refuse(field: str, why: str) -> NoReturn:
    raise NoFlyteTag(
        f"{field}: {why}",
        path=field,
        hint="flytekit's tag cannot be told: the image is found under our own tag alone",
    )
