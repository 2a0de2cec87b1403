"""Where the files of a wheel belong, and what an installer adds to them.

Sources: PEP 427 (spread of ``.data``, scripts, RECORD), PEP 376 and 627 (INSTALLER, RECORD of what is installed), and
the entry points specification (console scripts). Paths here are relative to the image's root, without a leading '/'.
"""

from __future__ import annotations

import base64
import hashlib
import io
import posixpath
import re
from collections.abc import Mapping
from typing import Final

from imagespec.errors import IntegrityError
from imagespec.values import dataclass
from imagespec.wheels.archive import Member

__all__ = ["Placed", "Scheme", "Spread", "metadata_names", "spread"]

INSTALLER: Final = b"imagespec\n"
_SCHEMES: Final = ("purelib", "platlib", "headers", "scripts", "data")
_ENTRY_POINT: Final = re.compile(r"(?P<module>[\w.]+)\s*:\s*(?P<object>[\w.]+)\s*(\[.*\])?")
_COMPILED: Final = re.compile(r"(?P<folder>(.*/)?)__pycache__/(?P<stem>[^/.]+)\.[^/]*\.pyc")
_SCRIPT_NAME: Final = re.compile(r"[^/\\\x00-\x1f]+")
_SHEBANG: Final = re.compile(rb"#!python[w]?(?=[\s])")

_SCRIPT: Final = """\
#!{python}
# -*- coding: utf-8 -*-
import re
import sys
from {module} import {first}
if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])
    sys.exit({called}())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """An environment's folders: ``prefix`` is absolute (``/opt/venv``), ``python`` is ``3.11``."""

    prefix: str
    python: str

    @property
    def root(self) -> str:
        """The prefix, relative to the image's root."""
        return self.prefix.strip("/")

    @property
    def site_packages(self) -> str:
        """Where pure and platform packages are, relative to the image's root."""
        return f"{self.root}/lib/python{self.python}/site-packages"

    @property
    def interpreter(self) -> str:
        """What scripts name in their first line."""
        return f"{self.prefix}/bin/python"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A file of the image: bytes of its own, or a member of the archive as it is."""

    path: str
    executable: bool = False
    member: Member | None = None
    data: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A wheel's files in the image, sorted by path, one file a path."""

    files: tuple[Placed, ...]


def metadata_names(names: list[str]) -> tuple[str, tuple[str, ...]]:
    """Return the wheel's ``.dist-info`` folder, and the members whose text ``spread`` needs; raise IntegrityError."""
    folders = {name.partition("/")[0] for name in names if "/" in name}
    found = sorted(folder for folder in folders if folder.endswith(".dist-info"))
    if len(found) != 1:
        raise IntegrityError(f"wheel: it has {len(found)} .dist-info folders, not one")
    info = found[0]
    data = f"{info.removesuffix('.dist-info')}.data/scripts/"
    wanted = {f"{info}/RECORD", f"{info}/entry_points.txt"}
    return info, tuple(name for name in names if name in wanted or name.startswith(data))


def spread(members: list[Member], texts: Mapping[str, bytes], scheme: Scheme) -> Spread:
    """Return where the wheel's files go; ``texts`` has the content of the members that ``metadata_names`` names.

    Raise IntegrityError for a wheel without RECORD, or with a path that leads out of its folder.
    """
    info, _ = metadata_names([member.name for member in members])
    name = info.removesuffix(".dist-info")
    record = f"{info}/RECORD"
    if record not in texts:
        raise IntegrityError(f"wheel: {info} has no RECORD")
    files: dict[str, Placed] = {}
    hashes = _recorded(texts[record])
    lines: dict[str, tuple[str, str]] = {}
    names = {member.name for member in members}
    for member in members:
        if member.name == record or _is_compiled(member.name, names):
            continue
        placed = _placed(member, name, texts, scheme)
        files[placed.path] = placed
        rewritten = placed.member is None
        lines[placed.path] = _line(placed.data) if rewritten else hashes.get(member.name, ("", ""))
    for placed in _added(info, texts, scheme):
        files[placed.path] = placed
        lines[placed.path] = _line(placed.data)
    written = f"{scheme.site_packages}/{record}"
    lines[written] = ("", "")
    files[written] = Placed(path=written, data=_record(lines, scheme))
    return Spread(files=tuple(files[path] for path in sorted(files)))


def _is_compiled(name: str, names: set[str]) -> bool:
    """Return whether a file is bytecode of a source beside it: it holds for the times of another machine."""
    match = _COMPILED.fullmatch(name) if name.endswith(".pyc") else None
    return match is not None and f"{match['folder']}{match['stem']}.py" in names


def _placed(member: Member, name: str, texts: Mapping[str, bytes], scheme: Scheme) -> Placed:
    if member.name.startswith("/") or "\\" in member.name or (".." in member.name and ".." in member.name.split("/")):
        raise IntegrityError(f"wheel: {member.name!r} leads out of its folder")
    executable = bool(member.mode & 0o111)
    data = f"{name}.data/"
    if not member.name.startswith(data):
        return Placed(path=f"{scheme.site_packages}/{member.name}", executable=executable, member=member)
    kind, _, rest = member.name[len(data) :].partition("/")
    if kind not in _SCHEMES or not rest:
        raise IntegrityError(f"wheel: {member.name!r} is of no known scheme")
    if kind == "scripts":
        return _script_of(member, rest, texts, scheme)
    if kind == "data" and rest.startswith("lib64/"):
        # lib64 is a link to lib in an environment: a folder of that name would replace it.
        rest = rest.replace("lib64/", "lib/", 1)
    roots = {
        "purelib": scheme.site_packages,
        "platlib": scheme.site_packages,
        "data": scheme.root,
        "headers": f"{scheme.root}/include/site/python{scheme.python}/{name.partition('-')[0]}",
    }
    return Placed(path=f"{roots[kind]}/{rest}", executable=executable, member=member)


def _script_of(member: Member, rest: str, texts: Mapping[str, bytes], scheme: Scheme) -> Placed:
    """Return a script of the wheel, its first line naming the environment's interpreter where it says ``#!python``."""
    text = texts.get(member.name, b"")
    path = f"{scheme.root}/bin/{rest}"
    if _SHEBANG.match(text):
        text = _SHEBANG.sub(b"#!" + scheme.interpreter.encode(), text, count=1)
        return Placed(path=path, executable=True, data=text)
    return Placed(path=path, executable=True, member=member)


def _added(info: str, texts: Mapping[str, bytes], scheme: Scheme) -> list[Placed]:
    added = [Placed(path=f"{scheme.site_packages}/{info}/INSTALLER", data=INSTALLER)]
    text = texts.get(f"{info}/entry_points.txt", b"").decode("utf-8", "replace")
    for name, target in _scripts(text, info).items():
        match = _ENTRY_POINT.fullmatch(target)
        if match is None or _SCRIPT_NAME.fullmatch(name) is None or name in (".", ".."):
            raise IntegrityError(f"wheel: {info} has a console script that names no function")
        called = match["object"]
        script = _SCRIPT.format(
            python=scheme.interpreter, module=match["module"], first=called.partition(".")[0], called=called
        )
        added.append(Placed(path=f"{scheme.root}/bin/{name}", executable=True, data=script.encode()))
    return added


def _scripts(text: str, info: str) -> dict[str, str]:
    import configparser

    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names are case-sensitive
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise IntegrityError(f"wheel: {info}/entry_points.txt cannot be read") from error
    groups = [group for group in ("console_scripts", "gui_scripts") if parser.has_section(group)]
    return {name.strip(): target.strip() for group in groups for name, target in parser.items(group)}


def _recorded(text: bytes) -> dict[str, tuple[str, str]]:
    """Return hash and size by path, as the wheel's RECORD has them."""
    import csv

    rows = csv.reader(io.StringIO(text.decode("utf-8")))
    return {row[0]: (row[1], row[2]) for row in rows if len(row) >= 3}


def _line(data: bytes) -> tuple[str, str]:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"sha256={digest}", str(len(data))


def _record(lines: Mapping[str, tuple[str, str]], scheme: Scheme) -> bytes:
    """Return the RECORD of what is installed: paths relative to site-packages, sorted."""
    import csv

    site = scheme.site_packages + "/"
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for path, (digest, size) in sorted(lines.items()):
        relative = path[len(site) :] if path.startswith(site) else posixpath.relpath(path, site)
        writer.writerow((relative, digest, size))
    return text.getvalue().encode()
