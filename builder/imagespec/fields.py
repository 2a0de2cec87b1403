"""The grammar of every field of a declaration: each function returns the normalised value or raises SpecError.

A value is shown in a message only when it is printable, and never when the field may carry a secret (URLs).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Final

from imagespec.errors import InvalidReference, SpecError
from imagespec.names import Reference, Repository, check_tag
from imagespec.oci import LINUX_ARCHITECTURES, Platform
from imagespec.plain_data import FrozenDict, kind_of, one_line, refuse, strings, text, variables

__all__ = [
    "absolute_path",
    "apt_package",
    "base_image",
    "builder_name",
    "choice_hint",
    "command",
    "conda_channel",
    "conda_package",
    "entry_point_word",
    "environment",
    "image_reference",
    "local_path",
    "pip_arguments",
    "platform",
    "python_executable",
    "python_package",
    "python_version",
    "registry",
    "repository_name",
    "secret_mounts",
    "strings",
    "tag_format",
    "url",
]

SPEC_HASH: Final = "{spec_hash}"

# Compiled where they are used (re keeps them): a spec has few of its fields.
_PYTHON_VERSION: Final = r"3\.[0-9]{1,2}(\.[0-9]{1,3})?"
_BUILDER: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_ENV_NAME: Final = r"[A-Za-z_][A-Za-z0-9_.-]{0,254}"
# deb-version(7) and deb-control(5): package names, then what apt-get(8) install accepts after them.
_APT: Final = r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9-]+)?(=[A-Za-z0-9.+:~-]+)?(/[A-Za-z0-9._-]+)?"
_CONDA_PACKAGE: Final = r"[A-Za-z0-9_][A-Za-z0-9_.\-:/=<>!~,*|+ \[\]']*"
_CONDA_CHANNEL_NAME: Final = r"[A-Za-z0-9_][A-Za-z0-9_./-]*"
_EXECUTABLE: Final = r"[A-Za-z0-9_./+-]+"
_TARGET_PATH: Final = r"/[A-Za-z0-9_./@+~-]*"
_URL: Final = r"(https?|file)://[\x21\x23-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e%]+"
_LOGIN: Final = r"(?i)(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<user>[^/?#\s@]*)@"
_SIGNED: Final = (
    r"(?i)[?&](access_token|api_?key|auth|password|private_token|secret|sig|signature|token|x-amz-signature)="
)
_SIMPLE_REQUIREMENT: Final = r"(?P<name>[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)(?P<version>(==|>=)[0-9]+(\.[0-9]+)*)?"
_RUNS: Final = r"[-_.]+"
_VCS_OR_URL: Final = r"(git|hg|bzr|svn)\+[a-z+]+://\S+|https?://\S+|file://\S+"
_CREDENTIALS: Final = "holds credentials, which would end up in image history and logs"
_SECRET_WAY_OUT: Final = "keep credentials out of URLs: mount them with pip_secret_mounts, for example a .netrc file"


def _holds_credentials(text: str) -> bool:
    # The user name of an SSH login ("git@") opens nothing by itself.
    logins = (one for one in re.finditer(_LOGIN, text) if "ssh" not in one["scheme"].lower() or ":" in one["user"])
    return any(logins) or ("://" in text and re.search(_SIGNED, text) is not None)


def choice_hint(word: str, choices: list[str]) -> str:
    """Return "did you mean …?" with the nearest choice, or the list of them."""
    import difflib

    near = [one for one in choices if one.lower() == word.lower()]
    near = near or difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"one of: {', '.join(sorted(choices))}"


def repository_name(path: str, value: object) -> str:
    """Return the image's name in lower case, as Flyte does, if it is an OCI repository name."""
    name = one_line(path, value).lower()
    try:
        Repository.parse(f"registry.invalid/{name}")
    except InvalidReference as error:
        hint = "leave out the tag: it follows from the content" if ":" in name else error.hint
        refuse(path, "is not a repository name", name, hint=hint)
    return name


def registry(path: str, value: object) -> str:
    """Return the repository prefix, such as ``ghcr.io/team`` or ``localhost:5000``, in lower case."""
    prefix = one_line(path, value).lower()
    try:
        Repository.parse(f"{prefix}/name")
    except InvalidReference:
        hint = "for example ghcr.io/team or localhost:5000"
        if "://" in prefix:
            hint = f"leave out {prefix.partition('//')[0]}//: {hint}"
        elif prefix.endswith("/"):
            hint = f"leave out the last '/': {hint}"
        refuse(path, "is not host[:port][/path]", prefix, hint=hint)
    return prefix


def python_version(path: str, value: object) -> str:
    """Return a version such as ``3.11`` or ``3.11.7``."""
    version = text(
        path, value, hint=f'put the version in quotes: {path}: "3.11" (3.10 without quotes is the number 3.1)'
    )
    if re.fullmatch(_PYTHON_VERSION, version) is None:
        refuse(path, "is not 3.MINOR or 3.MINOR.PATCH", version, hint='for example "3.11"')
    return version


def builder_name(path: str, value: object) -> str:
    """Return a builder's name."""
    name = one_line(path, value)
    if re.fullmatch(_BUILDER, name) is None:
        refuse(path, "is not a builder's name", name, hint="for example buildkit or daemonless")
    return name


def environment(path: str, value: object) -> FrozenDict | None:
    """Return the environment variables, sorted by name; values may hold anything that Linux can pass on."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        refuse(path, f"must map names to values, not {kind_of(value)}", hint=f"for example {path}: {{NAME: value}}")
    for name in value:
        if not isinstance(name, str) or re.fullmatch(_ENV_NAME, name) is None:
            refuse(
                path,
                "has a name that is not a variable's name",
                name,
                hint="letters, digits, '_', '.', '-'; no digit first",
            )
        if name == "_F_IMG_ID":
            refuse(f"{path}.{name}", "is set by the build itself", hint="remove it")
    return FrozenDict(variables(path, value))


def apt_package(path: str, value: object) -> str:
    """Return name[:architecture][=version][/release], as apt-get(8) takes it."""
    package = one_line(path, value)
    if re.fullmatch(_APT, package) is None:
        refuse(path, "is not an apt package", package, hint="for example git or git=1:2.39.5-0+deb12u2")
    return package


def conda_package(path: str, value: object) -> str:
    """Return a conda match specification."""
    package = one_line(path, value)
    if re.fullmatch(_CONDA_PACKAGE, package) is None:
        refuse(
            path, "is not a conda match specification", package, hint="for example numpy>=1.26 or conda-forge::numpy"
        )
    return package


def conda_channel(path: str, value: object) -> str:
    """Return a channel's name or URL (without credentials)."""
    channel = one_line(path, value)
    if "://" in channel:
        return url(path, channel)
    if re.fullmatch(_CONDA_CHANNEL_NAME, channel) is None:
        refuse(path, "is not a channel's name or URL", channel, hint="for example conda-forge")
    return channel


def url(path: str, value: object) -> str:
    """Return an http, https or file URL without credentials; a URL is never echoed in a message."""
    address = one_line(path, value)
    if _holds_credentials(address):
        refuse(path, _CREDENTIALS, hint=_SECRET_WAY_OUT)
    if re.fullmatch(_URL, address) is None:
        refuse(path, "is not an http, https or file URL", hint="for example https://packages.example.com/simple")
    return address


def python_package(path: str, value: object) -> str:
    """Return one requirement (PEP 508, or a VCS or archive URL), its name and specifiers normalised."""
    line = one_line(path, value)
    if _holds_credentials(line):
        refuse(path, _CREDENTIALS, hint=_SECRET_WAY_OUT)
    if re.fullmatch(_VCS_OR_URL, line):
        return line
    simple = re.fullmatch(_SIMPLE_REQUIREMENT, line)
    if simple is not None:
        # What packaging would say, without its import: most lines are a name, or a name at a version.
        return f"{re.sub(_RUNS, '-', simple['name']).lower()}{simple['version'] or ''}"
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        refuse(path, "is not a requirement", line, hint=_requirement_hint(line))
    name = canonicalize_name(requirement.name)
    extras = f"[{','.join(sorted(canonicalize_name(one) for one in requirement.extras))}]" if requirement.extras else ""
    marker = f" ; {requirement.marker}" if requirement.marker else ""
    if requirement.url:
        return f"{name}{extras} @ {requirement.url}{marker}"
    # Sorted here and not by packaging, whose order may differ from version to version.
    return f"{name}{extras}{','.join(sorted(str(one) for one in requirement.specifier))}{marker}"


def _requirement_hint(line: str) -> str:
    if line.startswith("-"):
        return "options belong in pip_index, pip_extra_index_url or pip_extra_args"
    if line.startswith((".", "/")):
        return "list a project of your own in a requirements file"
    return 'for example "pandas>=2.2", or "name @ https://…" (PEP 508)'


def pip_arguments(path: str, value: object) -> str:
    """Return arguments as a shell would split them, without credentials."""
    arguments = one_line(path, value)
    if _holds_credentials(arguments):
        refuse(path, _CREDENTIALS, hint=_SECRET_WAY_OUT)
    try:
        shlex.split(arguments)
    except ValueError as error:
        refuse(path, str(error).lower(), arguments, hint="close the quotes")
    return arguments


def base_image(path: str, value: object) -> str:
    """Return the reference in full (Docker Hub's short names filled in), or ``oci-layout:PATH[:tag]`` as written."""
    reference = one_line(path, value)
    return reference if reference.startswith("oci-layout:") else image_reference(path, reference)


def image_reference(path: str, value: object) -> str:
    """Return the reference in full, Docker Hub's short names filled in."""
    reference = one_line(path, value)
    try:
        return str(Reference.parse(reference))
    except InvalidReference as error:
        refuse(path, "is not an image reference", reference, hint=f"{error.hint}: for example debian:bookworm-slim")


def platform(path: str, value: object) -> str | None:
    """Return the platforms, normalised, without repeats, sorted and joined by commas."""
    if value is None:
        return None
    listed = value.split(",") if isinstance(value, str) else strings(path, value, one_line)
    try:
        platforms = sorted({Platform.parse(one) for one in listed or ()})
    except SpecError:
        platforms = []
    if not platforms or any(one.os != "linux" for one in platforms):
        refuse(path, "is not a list of linux platforms", str(value), hint="for example linux/amd64,linux/arm64")
    for one in platforms:
        if one.architecture not in LINUX_ARCHITECTURES:
            hint = choice_hint(one.architecture, list(LINUX_ARCHITECTURES))
            refuse(path, "names an architecture that Linux does not run on", str(one), hint=hint)
    return ",".join(str(one) for one in platforms)


def absolute_path(path: str, value: object) -> str:
    """Return an absolute path inside the image, of plain characters, in its shortest form."""
    target = one_line(path, value)
    if re.fullmatch(_TARGET_PATH, target) is None or ".." in target.split("/"):
        refuse(
            path,
            "is not an absolute path of letters, digits and '/._@+~-'",
            target,
            hint="start it with '/', as in /srv/app",
        )
    return "/" + "/".join(part for part in target.split("/") if part not in ("", "."))


def local_path(path: str, value: object) -> str:
    """Return a path on this machine as text; ``os.PathLike`` is accepted."""
    as_path = getattr(value, "__fspath__", None)
    return one_line(path, as_path() if as_path is not None else value)


def secret_mounts(path: str, value: object) -> tuple[tuple[str, str], ...] | None:
    """Return the pairs (file here, path that steps see)."""
    if value is None:
        return None
    if not isinstance(value, (list, tuple)):
        refuse(path, "must be a list of pairs (file, mount path)")
    mounts = []
    for index, pair in enumerate(value):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            refuse(
                f"{path}[{index}]", "must be a pair (file, mount path)", hint='for example [".netrc", "/root/.netrc"]'
            )
        source, target = pair
        mounts.append((local_path(f"{path}[{index}][0]", source), absolute_path(f"{path}[{index}][1]", target)))
    return tuple(mounts)


def entry_point_word(path: str, value: object) -> str:
    """Return one word of the entrypoint: any text."""
    return text(path, value)


def command(path: str, value: object) -> str:
    """Return a shell command, any text with something in it."""
    line = text(path, value)
    if not line.strip():
        refuse(path, "is empty", hint="remove it")
    return line


def tag_format(path: str, value: object) -> str:
    """Return the format, which holds ``{spec_hash}`` and gives a tag."""
    layout = one_line(path, value)
    if SPEC_HASH not in layout:
        refuse(
            path,
            f"must contain {SPEC_HASH}",
            layout,
            hint=f"without it every build would overwrite the last: {SPEC_HASH}-dev",
        )
    try:
        check_tag(layout.replace(SPEC_HASH, "x" * 35))
    except InvalidReference as error:
        refuse(path, "does not give a tag", layout, hint=error.hint)
    return layout


def python_executable(path: str, value: object) -> str:
    """Return an interpreter's name or path inside the base."""
    executable = one_line(path, value)
    if re.fullmatch(_EXECUTABLE, executable) is None or executable.startswith("-"):
        refuse(path, "is not an interpreter's path", executable, hint="for example /usr/bin/python3")
    return executable
