"""``requirements`` files as values: requirements.txt with what it includes, and locks with what lies beside them.

The format is pip's ("Requirements File Format"), the requirements PEP 508. Reading goes through a function that is
passed in, so this module touches no disk.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import Final, NoReturn, TypeAlias

from imagespec.errors import SpecError
from imagespec.snapshot import LocalProject, RequirementLines
from imagespec.values import dataclass, field

__all__ = ["FIELD", "Read", "refuse_credentials", "requirement_lines"]

FIELD: Final = "requirements"

Read: TypeAlias = Callable[[str], bytes]
"""Return the bytes of the file at a path relative to the first file's folder ('..' allowed), or raise InputError."""

# Compiled where they are used (re keeps them): most runs have no such file.
_COMMENT: Final = r"(^|\s+)#.*$"
_VARIABLE: Final = r"\$\{[A-Z0-9_]+\}"
_CREDENTIALS: Final = r"(?i)(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<user>[^/?#\s@'\"]*)@"
_SIGNED: Final = (
    r"(?i)[?&](?:access_token|api_?key|auth|password|private_token|secret|sig|signature|token|x-amz-signature)="
)
_URL: Final = r"(?i)(?:(?:git|hg|bzr|svn)\+)?[a-z][a-z0-9+.-]*://"
_HASH: Final = r"\s--hash[=\s]\s*(?P<hash>[a-z0-9]+:[0-9A-Fa-f]+)(?=\s|$)"
# Those that uv takes, with how many digits they have.
_HASH_DIGITS: Final = {"sha256": 64, "sha384": 96, "sha512": 128, "blake2b": 128, "md5": 32}
_PER_LINE_OPTION: Final = r"\s--(?P<name>global-option|config-settings?|install-option)\b"
_PROJECT: Final = r"(?P<path>[^\[;]+?)\s*(?:\[(?P<extras>[^\]]*)\])?\s*(?:;(?P<marker>.*))?"
_ARCHIVE: Final = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_WAY_OUT: Final = "keep credentials out of the file: mount them with pip_secret_mounts, for example a .netrc file"

_SHORT: Final = {
    "-i": "--index-url",
    "-f": "--find-links",
    "-r": "--requirement",
    "-c": "--constraint",
    "-e": "--editable",
}
_WITH_VALUE: Final = (
    "--index-url",
    "--extra-index-url",
    "--find-links",
    "--no-binary",
    "--only-binary",
    "--trusted-host",
)
_WITHOUT_VALUE: Final = ("--no-index", "--pre", "--prefer-binary", "--require-hashes")
_OPTION: Final = r"(?s)(?P<name>--[a-z-]+|-[a-zA-Z])(?:\s*=\s*|\s+|(?<=^-\w)(?=\S))?(?P<value>.*)"


@dataclass(slots=True)
class _Collected:
    lines: set[str] = field(default_factory=set)
    constraints: set[str] = field(default_factory=set)
    options: list[str] = field(default_factory=list)
    projects: dict[str, LocalProject] = field(default_factory=dict)
    seen: set[tuple[str, bool]] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Place:
    """A line of a file, for messages; ``path`` is relative to the folder of the first file."""

    path: str
    number: int

    @property
    def text(self) -> str:
        return f"{self.path}:{self.number}"

    @property
    def folder(self) -> str:
        return posixpath.dirname(self.path)


def requirement_lines(name: str, read: Read) -> RequirementLines:
    """Return what the requirements file ``name`` and the files it includes ask for, normalised.

    Raise SpecError, naming file and line, for what is no requirement, for an option that has no effect on an image,
    for credentials in a URL, and for ``${VARIABLES}``, whose value differs from machine to machine.
    """
    collected = _Collected()
    _include(name, collected, read, is_constraint=False)
    return RequirementLines(
        lines=tuple(sorted(collected.lines)),
        constraints=tuple(sorted(collected.constraints)),
        options=tuple(collected.options),
        projects=tuple(collected.projects[key] for key in sorted(collected.projects)),
    )


def refuse_credentials(name: str, data: bytes) -> None:
    """Raise SpecError, naming the line, when a lock or project file holds a URL with credentials."""
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), start=1):
        _check_secrets(line, _Place(name, number))


def _include(path: str, collected: _Collected, read: Read, *, is_constraint: bool) -> None:
    if (path, is_constraint) in collected.seen:
        return
    collected.seen.add((path, is_constraint))
    for number, line in _logical_lines(_decoded(path, read(path))):
        place = _Place(path, number)
        _check_secrets(line, place)
        if line.startswith("-"):
            _option(line, place, collected, read, is_constraint=is_constraint)
        else:
            _requirement(line, place, collected, is_constraint=is_constraint)


def _decoded(path: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(f"{FIELD}: {path!r} is not UTF-8 text", path=FIELD, hint="save it as UTF-8") from error


def _logical_lines(text: str) -> list[tuple[int, str]]:
    """Return (number, line) with continuation lines joined, and comments and blank lines gone, in pip's order."""
    joined: list[tuple[int, str]] = []
    pending, start = "", 0
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        is_comment = line.lstrip().startswith("#")
        start = start or number
        if line.endswith("\\") and not is_comment:
            pending += line[:-1]
            continue
        # A comment ends a continued line, and is itself dropped below.
        joined.append((start, pending + (" " + line if is_comment and pending else line)))
        pending, start = "", 0
    if pending:
        joined.append((start, pending))
    cleaned = ((number, re.sub(_COMMENT, "", line).strip()) for number, line in joined)
    return [(number, line) for number, line in cleaned if line]


def _check_secrets(line: str, place: _Place) -> None:
    for match in re.finditer(_CREDENTIALS, line):
        # The user name of an SSH login ("git@") opens nothing by itself.
        if "ssh" not in match["scheme"].lower() or ":" in match["user"]:
            _refuse(place, "holds credentials, which would end up in image history and logs", _WAY_OUT)
    if "://" in line and re.search(_SIGNED, line):
        _refuse(place, "holds a URL with a token in it, which would end up in image history and logs", _WAY_OUT)


def _refuse(place: _Place, message: str, hint: str = "") -> NoReturn:
    # Place and reason alone: a file that was named by mistake may hold secrets in any line.
    raise SpecError(f"{FIELD}: {place.text} {message}", path=FIELD, hint=hint)


def _option(line: str, place: _Place, collected: _Collected, read: Read, *, is_constraint: bool) -> None:
    match = re.fullmatch(_OPTION, line)
    name = match["name"] if match else line.split()[0]
    name = _SHORT.get(name, name)
    value = match["value"].strip().strip("'\"") if match else ""
    if re.search(_VARIABLE, value):
        _refuse(place, "uses an environment variable, which differs from machine to machine", _WAY_OUT)
    if name in ("--requirement", "--constraint"):
        nested = _beside(value, place)
        _include(nested, collected, read, is_constraint=is_constraint or name == "--constraint")
    elif name == "--editable" and value:
        _editable(value, place, collected)
    elif name in _WITH_VALUE and value:
        _add_option(f"{name} {_option_value(name, value, place)}", collected)
    elif name in _WITHOUT_VALUE and not value:
        _add_option(name, collected)
    else:
        _refuse(place, f"has an option that is not used here: {name}", "remove the line, or set pip_extra_args")


def _add_option(option: str, collected: _Collected) -> None:
    if option not in collected.options:
        collected.options.append(option)


def _option_value(name: str, value: str, place: _Place) -> str:
    if name == "--find-links" and re.match(_URL, value) is None:
        _refuse(place, "names a folder of this machine, which the build does not see", "list its files one by one")
    return value


def _beside(value: str, place: _Place) -> str:
    """Return the path of an included file, relative to the folder of the first file."""
    if not value:
        _refuse(place, "includes a file without naming it")
    if re.match(_URL, value):
        _refuse(place, "includes a file from the network, whose content may change", "download it and include the file")
    return posixpath.normpath(posixpath.join(place.folder, value))


def _editable(value: str, place: _Place, collected: _Collected) -> None:
    if re.match(_URL, value):
        _requirement(value, place, collected, is_constraint=False)
        return
    _project(value, place, collected, editable=True)


def _requirement(line: str, place: _Place, collected: _Collected, *, is_constraint: bool) -> None:
    if re.search(_VARIABLE, line):
        _refuse(place, "uses an environment variable, which differs from machine to machine", _WAY_OUT)
    hashes = tuple(sorted({match["hash"].lower() for match in re.finditer(_HASH, line)}))
    for one in hashes:
        algorithm, _, digits = one.partition(":")
        if len(digits) != _HASH_DIGITS.get(algorithm):
            known = ", ".join(f"{name} ({count} digits)" for name, count in _HASH_DIGITS.items())
            _refuse(
                place, f"has a --hash of {algorithm} with {len(digits)} digits, which no file has", f"one of {known}"
            )
    text = re.sub(_HASH, "", line).strip()
    option = re.search(_PER_LINE_OPTION, text)
    if option:
        _refuse(place, f"has an option that is not used here: --{option['name']}", "set pip_extra_args")
    if _is_local(text):
        _project(text, place, collected, editable=False)
        return
    normal = _normalised(text, place)
    (collected.constraints if is_constraint else collected.lines).add(
        " ".join((normal, *(f"--hash={one}" for one in hashes)))
    )


def _is_local(text: str) -> bool:
    """Return whether pip would take the text for a path: it looks like one, or names an archive."""
    if re.match(_URL, text) or " @ " in text:
        return False
    path = text.split(";")[0].split("[")[0].strip()
    return path.startswith((".", "/", "~")) or "/" in path or path.lower().endswith(_ARCHIVE) or path == "."


def _project(text: str, place: _Place, collected: _Collected, *, editable: bool) -> None:
    match = re.fullmatch(_PROJECT, text)
    if match is None or match["path"].startswith(("/", "~")):
        _refuse(place, "names a path that is not relative", "write it relative to the file")
    path = posixpath.normpath(posixpath.join(place.folder, match["path"].removeprefix("file:")))
    extras = tuple(sorted({one.strip().lower() for one in (match["extras"] or "").split(",") if one.strip()}))
    marker = _marker(match["marker"], place)
    collected.projects[path] = LocalProject(path=path, editable=editable, extras=extras, marker=marker)


def _marker(text: str | None, place: _Place) -> str:
    if not text or not text.strip():
        return ""
    from packaging.markers import InvalidMarker, Marker

    try:
        return str(Marker(text.strip()))
    except InvalidMarker:
        _refuse(place, "has a marker that is not one of PEP 508")


def _normalised(text: str, place: _Place) -> str:
    if re.match(_URL, text):
        return re.sub(r"\s+;", " ;", text)
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        _refuse(place, "is not a requirement", 'for example "pandas>=2.2" (PEP 508)')
    if requirement.url and requirement.url.startswith("file:"):
        _refuse(place, "names a file of this machine", "write its path relative to the file")
    name = canonicalize_name(requirement.name)
    extras = f"[{','.join(sorted(canonicalize_name(one) for one in requirement.extras))}]" if requirement.extras else ""
    marker = f" ; {requirement.marker}" if requirement.marker else ""
    if requirement.url:
        return f"{name}{extras} @ {requirement.url}{marker}"
    # Sorted here and not by packaging, whose order may differ from version to version.
    return f"{name}{extras}{','.join(sorted(str(one) for one in requirement.specifier))}{marker}"
