"""A build plan and a template to Dockerfile text, with the quoting that keeps user text from becoming an instruction.

Grammar: BuildKit's Dockerfile reference (``ENV``, ``LABEL``, ``COPY`` in JSON form, ``RUN`` with here-documents),
for the frontend that is built into BuildKit: no ``# syntax`` line, so nothing is pulled to read the file.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from imagespec.errors import Unsupported
from imagespec.names import Reference
from imagespec.plan import (
    AptInstall,
    BaseImage,
    BuildPlan,
    CondaInstall,
    CopyFiles,
    PythonEnvironment,
    PythonPackages,
    RunCommand,
    Step,
)
from imagespec.requirements.poetry_lock import POETRY_LOCK
from imagespec.requirements.project_file import PROJECT_FILE, asked_for
from imagespec.values import dataclass, fields

__all__ = [
    "BASE_CONTEXT",
    "UV_CONTEXT",
    "Rendering",
    "command_file",
    "heredoc_delimiter",
    "quoted_json",
    "quoted_value",
    "quoted_word",
    "render",
    "replaced_patterns",
    "step_folder",
    "title_of",
]

UV_LOCK: Final = "uv.lock"
UV_CONTEXT: Final = "imagespec-uv"
BASE_CONTEXT: Final = "imagespec-base"
"""The names of the build contexts that a Dockerfile refers to: the uv binaries, and a base that has no public name."""

_WORD = re.compile(r"[A-Za-z0-9_./:@+~-]+")
# BuildKit reads a Dockerfile line by line, at most 65,535 bytes each (bufio.MaxScanTokenSize). A here-document
# becomes one argument of a shell: at most 128 KiB (execve(2), MAX_ARG_STRLEN).
_MAX_LINE_BYTES: Final = 65_000
_MAX_SCRIPT_BYTES: Final = 130_000
_MAX_VALUE_BYTES: Final = 32_000
_MAX_COMMAND_BYTES: Final = 100_000
# The whole build is one message of gRPC: at most 4 MiB (BuildKit does not raise gRPC's default).
_MAX_BUILD_BYTES: Final = 3_500_000
_ARGUMENT: Final = "IMAGESPEC_VALUE_"
COMMAND_FILE: Final = "command.sh"
REPLACED_FILE: Final = "replaced.txt"
"""Files of a step's folder: a command that no Dockerfile can hold; patterns of what a step installs anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """A Dockerfile, and the build arguments that carry the values which no Dockerfile line can hold.

    ``titles`` name the steps for people; step ``i`` is marked ``step-i`` in its instruction.
    """

    dockerfile: str
    arguments: tuple[tuple[str, str], ...]
    titles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setting:
    """A name and its value as they stand in ENV or LABEL; ``argument`` names the ARG that carries the value, or ""."""

    name: str
    text: str
    argument: str = ""


def render(plan: BuildPlan, template: str, secret_targets: Sequence[str] = (), ssh: Sequence[str] = ()) -> Rendering:
    """Return the Dockerfile for a plan; ``secret_targets`` are paths that steps see mounted and no layer keeps,
    ``ssh`` the ids of the agents that they may use.

    Raise Unsupported, naming the field, for a value that has no safe form.
    """
    arguments: dict[str, str] = {}
    variables = _variables(plan, arguments)
    text = _compiled(template).render(
        plan=plan,
        config=plan.config,
        account=plan.config.account,
        base=_base(plan),
        base_id=hashlib.sha256(_base(plan).encode()).hexdigest()[:12],
        variables=variables,
        carriers=[variable.argument for variable in variables if variable.argument],
        labels=[_setting(plan, quoted_value(name), value, arguments) for name, value in plan.config.labels],
        secrets=[{"id": f"imagespec-secret-{i}", "target": target} for i, target in enumerate(secret_targets)],
        build_arguments=[name for name, _ in plan.config.build_arguments],
        ssh=list(ssh),
        steps=[_step(index, step) for index, step in enumerate(plan.steps)],
    )
    _check_sizes(text)
    _check_variables(plan, arguments, text.count("\nRUN"))
    titles = tuple(title_of(step) for step in plan.steps)
    passed = (*arguments.items(), *plan.config.build_arguments)
    return Rendering(dockerfile=text, arguments=passed, titles=titles)


@lru_cache(maxsize=2)
def _compiled(template: str) -> Any:
    import jinja2

    environment = jinja2.Environment(
        autoescape=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=False,
        keep_trailing_newline=True,
    )
    environment.filters.update(_FILTERS)
    return environment.from_string(template)


def step_folder(index: int) -> str:
    """Return the folder of the build context that holds what step ``index`` needs."""
    return f"step-{index}"


def title_of(step: Step) -> str:
    """Return what the step does, in a few words on one line."""
    if isinstance(step, AptInstall):
        return f"apt packages: {_few(step.packages)}"
    if isinstance(step, CondaInstall):
        return f"conda packages: {_few(step.packages)}"
    if isinstance(step, PythonEnvironment):
        return f"python {step.version or step.executable or 'of the base'} in {step.prefix}"
    if isinstance(step, PythonPackages):
        return f"python packages: {_few(step.lines) or (step.lock.kind if step.lock else '')}"
    if isinstance(step, CopyFiles):
        return f"copy {len(step.entries)} files to {step.destination}"
    lines = step.command.strip().splitlines()
    return f"command: {lines[0][:60]}{'…' if len(lines) > 1 or len(lines[0]) > 60 else ''}"


def _few(names: Sequence[str]) -> str:
    # A requirement's hashes, marker or URL come after a space.
    shown = ", ".join(name.split(" ")[0] for name in names[:4])
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown


def quoted_word(text: str) -> str:
    """Return ``text`` if a Dockerfile reads it as one word; raise Unsupported otherwise."""
    if _WORD.fullmatch(text) is None:
        raise Unsupported("dockerfile: a word has characters that it cannot hold", builder="buildkit", field="")
    return text


def quoted_value(text: str) -> str:
    """Return ``text`` in double quotes, so that ENV and LABEL take it as it is written."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'


def quoted_json(items: Sequence[str]) -> str:
    """Return the JSON form of an instruction's arguments."""
    return json.dumps(list(items), ensure_ascii=False)


def heredoc_delimiter(text: str) -> str:
    """Return a delimiter that is not a line of ``text``, the same for the same text."""
    delimiter, lines = "IMAGESPEC", set(text.splitlines())
    while delimiter in {line.strip() for line in lines}:
        delimiter = "IMAGESPEC_" + hashlib.sha256((delimiter + text).encode()).hexdigest()[:12].upper()
    return delimiter


_FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "word": quoted_word,
    "value": quoted_value,
    "json": quoted_json,
    "sh": shlex.quote,
}


def _base(plan: BuildPlan) -> str:
    return str(Reference.parse(plan.base.reference)) if isinstance(plan.base, BaseImage) else BASE_CONTEXT


def _variables(plan: BuildPlan, arguments: dict[str, str]) -> list[_Setting]:
    names = {name for name, _ in plan.config.env}
    settings = []
    if plan.config.path and "PATH" not in names:
        prefix = ":".join(plan.config.path)
        settings.append(_Setting(name="PATH", text=f'"{prefix}:$PATH"'))
    return settings + [_setting(plan, name, value, arguments) for name, value in plan.config.env]


def _setting(plan: BuildPlan, name: str, value: str, arguments: dict[str, str]) -> _Setting:
    if value.isprintable() and len(value.encode()) <= _MAX_VALUE_BYTES:
        return _Setting(name=name, text=quoted_value(value))
    argument = f"{_ARGUMENT}{len(arguments)}"
    # A variable of the same name would hide the argument.
    while any(argument == other for other, _ in plan.config.env):
        argument += "_"
    arguments[argument] = value
    return _Setting(name=name, text=f'"${{{argument}}}"', argument=argument)


def _step(index: int, step: Step) -> Mapping[str, Any]:
    """Return what the template needs of a step: its fields, its kind and the folder of the build context."""
    known = {one.name: getattr(step, one.name) for one in fields(step)}
    known |= {"kind": type(step).__name__, "folder": step_folder(index)}
    if isinstance(step, PythonPackages):
        known |= _package_files(step)
    elif isinstance(step, RunCommand):
        known |= {"delimiter": heredoc_delimiter(step.command), "file": command_file(step)}
    elif isinstance(step, PythonEnvironment):
        minor = ".".join((step.version or step.fallback).split(".")[:2])
        known["apt_python"] = f"python{minor}" if step.version else "python3"
    return known


def command_file(step: RunCommand) -> str:
    """Return the name of the file that carries the command where no here-document can hold it, else ""."""
    data = step.command.encode()
    fits = len(data) <= _MAX_COMMAND_BYTES and all(len(line) <= _MAX_LINE_BYTES for line in data.split(b"\n"))
    return "" if fits else COMMAND_FILE


def replaced_patterns(step: PythonPackages) -> tuple[str, ...]:
    """Return patterns for lines of ``uv pip freeze`` that a step must not keep as they are: what it asks for anew,
    and editable installs."""
    listed = {re.split(r"[^a-z0-9._-]", line, maxsplit=1)[0] for line in step.lines} - {""}
    if step.lock is not None and step.lock.kind == PROJECT_FILE:
        listed |= asked_for(step.lock, step.extras, step.groups)
    names = sorted(listed)
    return ("^-e ", *(f"^{re.escape(name)}(==| @ )" for name in names))


def _check_sizes(dockerfile: str) -> None:
    """Raise Unsupported for what BuildKit or Linux would refuse with a message that helps nobody."""
    for instruction in dockerfile.encode().split(b"\n\n"):
        longest = max(len(line) for line in instruction.split(b"\n"))
        if longest > _MAX_LINE_BYTES or (instruction.startswith(b"RUN") and len(instruction) > _MAX_SCRIPT_BYTES):
            start = instruction[:80].split(b"\n")[0].decode(errors="replace")
            raise Unsupported(
                f"dockerfile: an instruction is too long for BuildKit: {start}",
                builder="buildkit",
                field="",
                hint="shorten the list, or split it over images with base_image",
            )


def _check_variables(plan: BuildPlan, arguments: Mapping[str, str], scripts: int) -> None:
    """Raise Unsupported when BuildKit's client could not tell its engine: every script is sent with all variables."""
    known = (*plan.config.env, *arguments.items(), *plan.config.build_arguments)
    size_bytes = scripts * sum(len(name.encode()) + len(value.encode()) for name, value in known)
    if size_bytes > _MAX_BUILD_BYTES:
        raise Unsupported(
            f"env: too long for a build of {scripts} steps, each of which gets all variables",
            builder="buildkit",
            field="env",
            hint="put long values in a file, and copy that; or join commands",
        )


def _package_files(step: PythonPackages) -> dict[str, Any]:
    files = ["requirements.txt"] if step.lines or step.options or step.projects else []
    kind = step.lock.kind if step.lock else ""
    if kind == POETRY_LOCK:
        files.append("requirements.txt")
    elif step.lock is not None and kind != UV_LOCK:
        # pylock.NAME.toml keeps its name; a pylock or a pyproject.toml comes alone.
        files.append(step.lock.files[0].path)
    return {
        "lock": kind,
        # A lock says itself which versions go together. Poetry's extras are in the lines made of its lock.
        "keeps_installed": step.keep_installed and kind in ("", PROJECT_FILE),
        "extras": () if kind == POETRY_LOCK else step.extras,
        "groups": () if kind == POETRY_LOCK else step.groups,
        "group_file": f"/run/imagespec/packages/{PROJECT_FILE}:" if kind == PROJECT_FILE else "",
        "requirement_files": files,
        "has_constraints": bool(step.constraints),
        # Building a project writes next to its sources; what is written there is thrown away.
        "mount_options": ",rw" if step.projects else "",
        "replaced_file": REPLACED_FILE,
    }
