"""The user, the working folder and the empty environment, as entries over what the base has."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from imagespec.builders.assembly.file_system import FileSystem, Node
from imagespec.builders.assembly.interpreters import Interpreter
from imagespec.errors import Unsupported
from imagespec.plan import Account, ImageConfig, PythonEnvironment
from imagespec.tarball import FILE, FOLDER, LINK, TarEntry
from imagespec.wheels.placement import Scheme

__all__ = ["Rooted", "above", "account_entries", "environment_entries", "with_parents"]

_OWNED: Final = {one.decode(): one for one in (FILE, FOLDER, LINK)}
_ACTIVATE: Final = """\
# Source this file from a POSIX shell.
VIRTUAL_ENV={prefix}
PATH="$VIRTUAL_ENV/bin:$PATH"
export VIRTUAL_ENV PATH
"""


class Rooted(NamedTuple):
    """An entry and its content."""

    entry: TarEntry
    data: bytes = b""


def above(files: FileSystem, paths: Iterable[str]) -> tuple[TarEntry, ...]:
    """Return the folders above the paths as the base has them, root's and 0755 where it has none, sorted.

    A layer without them would reset them. Raise Unsupported when a link or a file is in the way: writing there would
    replace it.
    """
    found: dict[str, TarEntry] = {}
    for path in paths:
        folder = posixpath.dirname(path)
        while folder:
            found[folder] = _folder(files, folder)
            folder = posixpath.dirname(folder)
    return tuple(found[folder] for folder in sorted(found))


def _folder(files: FileSystem, path: str) -> TarEntry:
    node = files.nodes.get(path)
    if node is None:
        return TarEntry(path, FOLDER, 0o755)
    if node.kind != "5":
        raise Unsupported(
            f"base_image: /{path} is a {'link' if node.kind == '2' else 'file'} there, where a folder is needed",
            builder="daemonless",
            field="base_image",
            hint="choose another workdir or base, or --builder buildkit",
        )
    return TarEntry(path, FOLDER, node.mode, node.uid, node.gid)


def with_parents(files: FileSystem, entries: Iterable[Rooted]) -> tuple[Rooted, ...]:
    """Return the entries and the folders above them, sorted, one entry a path."""
    found = {one.entry.path: one for one in entries}
    for entry in above(files, list(found)):
        found.setdefault(entry.path, Rooted(entry))
    return tuple(found[path] for path in sorted(found))


def account_entries(
    files: FileSystem, config: ImageConfig, read: Callable[[dict[str, Node]], dict[str, bytes]]
) -> list[Rooted]:
    """Return what makes the account and the workdir: only what the base has not.

    ``read`` returns contents of the base's files. Raise Unsupported when the base has such a user with another id.
    """
    account, workdir = config.account, config.workdir.strip("/")
    if not workdir:
        return _user_entries(files, account) if account.uid else []
    if not account.uid:
        above(files, [workdir])
        _folder(files, workdir)
        return [] if workdir in files.nodes else [Rooted(TarEntry(workdir, FOLDER, 0o755))]
    return [*_user_entries(files, account), *_workdir_entries(files, account, workdir, read)]


def _user_entries(files: FileSystem, account: Account) -> list[Rooted]:
    home = account.home.strip("/")
    entries = []
    passwd = f"{account.name}:x:{account.uid}:{account.gid}::{account.home}:/bin/sh"
    known = _lines(files, "etc/passwd").get(account.name)
    if known is not None and known.split(":")[2:3] != [str(account.uid)]:
        raise Unsupported(
            f"base_image: it has a user {account.name} with an id of its own",
            builder="daemonless",
            field="builder_options",
            hint="set builder_options user",
        )
    for path, line in (("etc/passwd", passwd), ("etc/group", f"{account.name}:x:{account.gid}:")):
        if account.name not in _lines(files, path):
            entries.append(_appended(files, path, line))
    node = files.nodes.get(home)
    if node is None or (node.uid, node.gid) != (account.uid, account.gid):
        entries.append(Rooted(TarEntry(home, FOLDER, node.mode if node else 0o755, account.uid, account.gid)))
    return entries


def _lines(files: FileSystem, path: str) -> dict[str, str]:
    return {line.partition(":")[0]: line for line in files.texts.get(path, "").splitlines()}


def _appended(files: FileSystem, path: str, line: str) -> Rooted:
    text = files.texts.get(path, "")
    data = f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{line}\n".encode()
    node = files.nodes.get(path)
    mode, uid, gid = (node.mode, node.uid, node.gid) if node else (0o644, 0, 0)
    return Rooted(TarEntry(path, FILE, mode, uid, gid, len(data)), data)


def _workdir_entries(
    files: FileSystem, account: Account, workdir: str, read: Callable[[dict[str, Node]], dict[str, bytes]]
) -> list[Rooted]:
    """Return the workdir and all that the base has in it, as the account's own."""
    _folder(files, workdir)
    entries = [Rooted(TarEntry(workdir, FOLDER, 0o755, account.uid, account.gid))]
    foreign = {path: files.nodes[path] for path in files.below(workdir)}
    # Pipes and devices stay as they are: a layer that has them is not taken everywhere.
    foreign = {
        path: node
        for path, node in foreign.items()
        if (node.uid, node.gid) != (account.uid, account.gid) and node.kind in _OWNED
    }
    contents = read({path: node for path, node in foreign.items() if node.kind == "0"})
    for path, node in foreign.items():
        data = contents.get(path, b"")
        kind = _OWNED[node.kind]
        target = node.target if kind == LINK else ""
        # As chown(2) does: a program does not run as whom it is given to.
        mode = node.mode & ~0o6000 if kind == FILE else node.mode
        entries.append(Rooted(TarEntry(path, kind, mode, account.uid, account.gid, len(data), target), data))
    return entries


def environment_entries(
    files: FileSystem, step: PythonEnvironment, python: Interpreter, account: Account
) -> list[Rooted]:
    """Return an empty virtual environment (PEP 405) over the base's interpreter.

    Raise Unsupported when the base has something in its place.
    """
    scheme = Scheme(prefix=step.prefix, python=python.minor)
    root = scheme.root
    if files.below(root):
        raise Unsupported(
            f"base_image: it has something in {step.prefix} already",
            builder="daemonless",
            field="base_image",
            hint="give the ImageSpec that the base was made from as base_image, or --builder buildkit",
        )
    settings = (
        f"home = {posixpath.dirname(python.path)}\nimplementation = CPython\nversion_info = {python.version}\n"
        f"include-system-site-packages = {'true' if step.system_site_packages else 'false'}\n"
    )
    uid, gid = account.uid, account.gid
    folders = [root, *(f"{root}/{name}" for name in ("bin", "lib")), posixpath.dirname(scheme.site_packages)]
    entries = [Rooted(TarEntry(folder, FOLDER, 0o755, uid, gid)) for folder in (*folders, scheme.site_packages)]
    links = {
        "bin/python": python.path,
        "bin/python3": "python",
        f"bin/python{python.minor}": "python",
        "lib64": "lib",
    }
    for name, target in links.items():
        entries.append(Rooted(TarEntry(f"{root}/{name}", LINK, 0o777, uid, gid, 0, target)))
    for name, text in (("pyvenv.cfg", settings), ("bin/activate", _ACTIVATE.format(prefix=step.prefix))):
        data = text.encode()
        entries.append(Rooted(TarEntry(f"{root}/{name}", FILE, 0o644, uid, gid, len(data)), data))
    return entries
