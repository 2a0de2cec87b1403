"""From a declaration and a snapshot to a build plan: the only way there."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Mapping
from typing import Any, Final

from imagespec import builder_options, fields
from imagespec.builder_options import WhatToBuild
from imagespec.errors import InputMissing, SpecError
from imagespec.names import Reference
from imagespec.oci import Platform, canonical_json, digest_of
from imagespec.patterns import lazy_pattern
from imagespec.plan import (
    RECIPE,
    Account,
    AptInstall,
    Base,
    BaseImage,
    BaseLayout,
    BaseParent,
    BuildPlan,
    CondaInstall,
    CopyFiles,
    ImageConfig,
    Parent,
    PythonEnvironment,
    PythonPackages,
    RunCommand,
    Step,
    Tools,
)
from imagespec.requirements import environment_file
from imagespec.requirements.environment_file import ENVIRONMENT_FILE
from imagespec.snapshot import ContextEntry, EntryKind, LockFiles, RequirementLines, Snapshot
from imagespec.spec import CopyFileDetection, Declaration
from imagespec.values import replace

__all__ = ["DEFAULT_PYTHON", "VENV", "default_base", "make_plan", "spec_id"]

VENV: Final = "/opt/venv"
CONDA: Final = "/opt/conda"
DEFAULT_PYTHON: Final = "3.13"
DEFAULT_PLATFORM: Final = "linux/amd64"
DEFAULT_WORKDIR: Final = "/root"
DEFAULT_USER: Final = "flytekit"
_USER_ID: Final = 1000

_TOOL_KEYS: Final = ("uv_image", "micromamba_image")
_LOCKS: Final = ("uv.lock", "poetry.lock", "pylock.toml")
_CONDA_PYTHON: Final = lazy_pattern(r"([^:]*::)?python($|[\s=<>!~\[])")
_WITH_EXTRAS: Final = (*_LOCKS, "pyproject.toml")


def make_plan(
    declaration: Declaration, snapshot: Snapshot, parent: Parent | None = None, *, image_id: str = ""
) -> BuildPlan:
    """Return the plan of a declaration, given what the disk said; ``parent`` when its base is an ImageSpec.

    ``image_id`` replaces the declaration's own id in the image's environment (flytekit's id, where it asks).
    Raise SpecError, naming the field, for what no builder could carry out.
    """
    _refuse_unusable(declaration)
    what, _ = builder_options.parse(declaration.builder_options)
    conda = _conda(declaration, snapshot, parent)
    config = _config(declaration, what, parent, image_id or spec_id(declaration))
    if conda is not None:
        config = replace(config, path=(*config.path, f"{conda.prefix}/bin"))
    tools = _tools(declaration)
    before = _environment_steps(declaration, snapshot, what, parent, conda, tools)
    copies = _copies(snapshot, config.workdir)
    commands = tuple(RunCommand(command=command) for command in declaration.commands or ())
    code: tuple[Step, ...] = (*commands, *copies) if what.commands_first else (*copies, *commands)
    return BuildPlan(
        recipe=RECIPE,
        base=_base(declaration, snapshot, parent),
        tools=tools,
        steps=(*before, *code),
        config=config,
        platforms=_platforms(declaration, parent),
    )


def spec_id(declaration: Declaration) -> str:
    """Return the declaration's own identity: 22 characters, a pure function of the declared fields.

    Not in it: name, registry and where files lie or what they hold, so that the same declaration evaluated inside
    its own image gives the same id; nor anything that does not change the image.
    """
    left_out = {
        *("name", "registry", "registry_config", "builder", "tag_format", "pip_secret_mounts", "runtime_packages"),
        *("requirements", "source_root", "builder_options", "platform"),
    }
    declared: dict[str, object] = {}
    for name, value in declaration.declared().items():
        says_nothing = not value and name != "entrypoint"
        if name not in left_out and not says_nothing and value is not CopyFileDetection.NO_COPY:
            declared[name] = _declared_value(name, value)
    return digest_of(canonical_json(declared)).encoded[:22]


def _declared_value(name: str, value: Any) -> object:
    """Return the value as plain data, the same for all spellings of the same thing."""
    if name in ("packages", "conda_packages", "apt_packages"):
        return sorted(set(value))
    if name == "copy":
        return sorted({posixpath.normpath(path) for path in value})
    if name == "pip_extra_args":
        return shlex.split(value)
    if isinstance(value, Declaration):
        return spec_id(value)
    if name == "base_image" and _is_layout(value):
        return value.partition(":")[0]
    return value.name if isinstance(value, CopyFileDetection) else _plain(value)


def _plain(value: object) -> object:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def _is_layout(base_image: str) -> bool:
    return base_image.startswith("oci-layout:")


def _refuse_unusable(declaration: Declaration) -> None:
    copies = declaration.source_copy_mode not in (None, CopyFileDetection.NO_COPY)
    if copies and declaration.source_root is None:
        raise SpecError(
            "source_copy_mode: nothing to copy, since source_root is not set",
            path="source_copy_mode",
            hint="set source_root to the folder to copy from",
        )
    for name in ("cuda", "cudnn"):
        if getattr(declaration, name) is not None:
            raise SpecError(
                f"{name}: is not installed by any builder",
                path=name,
                hint="GPU packages on the index bring their own CUDA; for system libraries use a base_image with CUDA "
                "in it, or conda_channels=['nvidia'] with conda_packages",
            )


def _base(declaration: Declaration, snapshot: Snapshot, parent: Parent | None) -> Base:
    base = declaration.base_image
    if isinstance(base, Declaration):
        if parent is None:
            raise SpecError("base_image: its own plan is missing", path="base_image")
        return BaseParent(fingerprint=parent.fingerprint)
    if base is None:
        return BaseImage(reference=default_base(declaration.python_version or DEFAULT_PYTHON))
    if _is_layout(base):
        if snapshot.base_digest is None:
            raise InputMissing("base_image: no such OCI layout", path=base, hint="give oci-layout:PATH[:tag]")
        return BaseLayout(digest=snapshot.base_digest)
    return BaseImage(reference=base)


def default_base(python_version: str) -> str:
    """Return the official slim Python image of this version: Debian 12 up to 3.12, Debian 13 from 3.13 on."""
    minor = int(python_version.split(".")[1])
    suite = "bookworm" if minor <= 12 else "trixie"
    return str(Reference.parse(f"python:{python_version}-slim-{suite}"))


def _tools(declaration: Declaration) -> Tools:
    given = dict(declaration.builder_config or {})
    for key, value in given.items():
        path = f"builder_config.{key}"
        if key not in _TOOL_KEYS:
            raise SpecError(f"{path}: is not a tool", path=path, hint=fields.choice_hint(key, list(_TOOL_KEYS)))
        given[key] = fields.image_reference(path, value)
    return replace(Tools(), **given)


def _platforms(declaration: Declaration, parent: Parent | None) -> tuple[Platform, ...]:
    asked = tuple(Platform.parse(one) for one in declaration.platform.split(",")) if declaration.platform else None
    if parent is None:
        return asked or (Platform.parse(DEFAULT_PLATFORM),)
    missing = [str(one) for one in asked or () if one not in parent.plan.platforms]
    if missing:
        raise SpecError(
            f"platform: base_image is not built for {', '.join(missing)}",
            path="platform",
            hint="give base_image the same platform",
        )
    return asked or parent.plan.platforms


def _config(declaration: Declaration, what: WhatToBuild, parent: Parent | None, image_id: str) -> ImageConfig:
    inherited = parent.plan.config if parent else None
    workdir = what.workdir or (inherited.workdir if inherited else DEFAULT_WORKDIR)
    env = dict(declaration.env or {})
    if inherited is None or what.workdir is not None:
        env.setdefault("PYTHONPATH", workdir)
    account = _account_over(inherited.account if inherited else None, what.user)
    return ImageConfig(
        env=tuple(sorted(env.items())),
        path=() if parent else (f"{VENV}/bin",),
        build_arguments=what.build_args,
        entrypoint=None if declaration.entrypoint is None else tuple(declaration.entrypoint),
        account=account,
        workdir=workdir,
        labels=what.labels,
        image_id=image_id,
        is_inherited=inherited is not None and (account, workdir) == (inherited.account, inherited.workdir),
    )


def _account_over(inherited: Account | None, name: str | None) -> Account:
    """Return the account that ``name`` asks for, above a base of ours that has ``inherited``."""
    if inherited is not None and name is None:
        return inherited
    account = _account(name or DEFAULT_USER)
    if inherited is not None and account.uid == inherited.uid and account.name != inherited.name:
        # Two names of one id: the container would answer with the first, whichever is asked for.
        raise SpecError(
            f"builder_options.user: base_image has the user {inherited.name!r} with the id of {name!r}",
            path="builder_options.user",
            hint=f"leave user out, or give base_image the user {name!r}",
        )
    return account


def _account(name: str) -> Account:
    if name == "root":
        return Account(name="root", uid=0, gid=0, home="/root")
    return Account(name=name, uid=_USER_ID, gid=_USER_ID, home=f"/home/{name}")


def _environment_steps(
    declaration: Declaration,
    snapshot: Snapshot,
    what: WhatToBuild,
    parent: Parent | None,
    conda: CondaInstall | None,
    tools: Tools,
) -> tuple[Step, ...]:
    steps: list[Step] = []
    if declaration.apt_packages:
        steps.append(AptInstall(packages=tuple(sorted(set(declaration.apt_packages)))))
    if conda is not None:
        steps.append(conda)
    if parent is None:
        steps.append(_environment(declaration, what, conda, tools))
    elif declaration.python_exec or declaration.python_version not in (None, _python_of(parent)):
        field = "python_exec" if declaration.python_exec else "python_version"
        raise SpecError(f"{field}: base_image has its own Python", path=field, hint=f"set {field} on the base_image")
    packages = _packages(declaration, snapshot, what, parent)
    if packages is not None:
        steps.append(packages)
    return tuple(steps)


def _python_of(parent: Parent) -> str | None:
    """Return the Python version that the lowest of the parents declares, None when its base decides."""
    environments = [step for step in parent.plan.steps if isinstance(step, PythonEnvironment)]
    if environments:
        return environments[-1].version or None
    return _python_of(parent.parent) if parent.parent else None


def _conda(declaration: Declaration, snapshot: Snapshot, parent: Parent | None) -> CondaInstall | None:
    packages, channels = set(declaration.conda_packages or ()), tuple(declaration.conda_channels or ())
    if isinstance(snapshot.requirements, LockFiles) and snapshot.requirements.kind == ENVIRONMENT_FILE:
        file = environment_file.parse(snapshot.requirements)
        packages |= set(file.packages)
        channels = (*channels, *(channel for channel in file.channels if channel not in channels))
    if not packages:
        if declaration.conda_channels:
            raise SpecError(
                "conda_channels: no conda_packages to take from them",
                path="conda_channels",
                hint="add conda_packages, or remove conda_channels",
            )
        return None
    if parent is not None:
        raise SpecError(
            "conda_packages: base_image has its own Python", path="conda_packages", hint="set them on the base_image"
        )
    if declaration.python_exec:
        raise SpecError(
            "python_exec: conda_packages bring their own Python", path="python_exec", hint="set one of them"
        )
    return CondaInstall(
        prefix=CONDA,
        packages=tuple(sorted(packages)),
        channels=channels or ("conda-forge",),
        python_version=declaration.python_version
        or ("" if any(map(_CONDA_PYTHON.match, packages)) else DEFAULT_PYTHON),
    )


def _environment(
    declaration: Declaration, what: WhatToBuild, conda: CondaInstall | None, tools: Tools
) -> PythonEnvironment:
    version = declaration.python_version or ""
    if conda is not None:
        version = conda.python_version
    elif declaration.base_image is None:
        version = version or DEFAULT_PYTHON
    return PythonEnvironment(
        prefix=VENV,
        version=version,
        executable=f"{conda.prefix}/bin/python" if conda else declaration.python_exec or "",
        fallback=DEFAULT_PYTHON,
        system_site_packages=conda is not None or declaration.base_image is not None,
        pip=tools.pip,
        index=declaration.pip_index or "",
        extra_indexes=tuple(declaration.pip_extra_index_url or ()),
        bytecode=what.bytecode,
    )


def _packages(
    declaration: Declaration, snapshot: Snapshot, what: WhatToBuild, parent: Parent | None
) -> PythonPackages | None:
    listed, required = (*(declaration.packages or ()), *declaration.added_packages), snapshot.requirements
    if not listed and required is None:
        _selected("extras", what.extras, None)
        _selected("groups", what.groups, None)
        return None
    if isinstance(required, LockFiles) and required.kind == ENVIRONMENT_FILE:
        required_lines, lock = environment_file.parse(required).pip, None
        if not listed and not required_lines.lines:
            return None
    elif isinstance(required, LockFiles):
        if listed and required.kind in _LOCKS:
            raise SpecError(
                f"packages: cannot be added to {required.kind}",
                path="packages",
                hint="add them to what is locked and lock it again, or build an image on top with base_image",
            )
        required_lines, lock = RequirementLines(), required
    else:
        required_lines, lock = required or RequirementLines(), None
    return PythonPackages(
        prefix=VENV,
        lines=tuple(sorted({*listed, *required_lines.lines})),
        constraints=tuple(sorted(set(required_lines.constraints))),
        options=required_lines.options,
        projects=required_lines.projects,
        lock=lock,
        extras=_selected("extras", what.extras, lock),
        groups=_selected("groups", what.groups, lock),
        index=declaration.pip_index or "",
        extra_indexes=tuple(declaration.pip_extra_index_url or ()),
        arguments=tuple(shlex.split(declaration.pip_extra_args or "")),
        keep_installed=parent is not None,
        bytecode=what.bytecode,
    )


def _selected(key: str, names: tuple[str, ...], lock: LockFiles | None) -> tuple[str, ...]:
    if names and (lock is None or lock.kind not in _WITH_EXTRAS):
        path = f"builder_options.{key}"
        raise SpecError(f"{path}: nothing to choose from", path=path, hint=f"they go with {', '.join(_WITH_EXTRAS)}")
    return names


def _copies(snapshot: Snapshot, workdir: str) -> tuple[CopyFiles, ...]:
    """One step for all trees: a path that two of them select is the later one's."""
    if len(snapshot.trees) == 1:
        (tree,) = snapshot.trees
        return (CopyFiles(destination=workdir, entries=tree.entries),) if tree.entries else ()
    entries: dict[str, ContextEntry] = {}
    for tree in snapshot.trees:
        entries.update((entry.path, entry) for entry in tree.entries)
    kept = tuple(entry for _, entry in sorted(_merged(entries).items()))
    return (CopyFiles(destination=workdir, entries=kept),) if kept else ()


def _merged(entries: dict[str, ContextEntry]) -> dict[str, ContextEntry]:
    """Return the entries without empty folders that another tree fills; raise SpecError for a file used as a folder."""
    filled: set[str] = set()
    for path in entries:
        parts = path.split("/")
        filled.update("/".join(parts[:count]) for count in range(1, len(parts)))
    for path in sorted(filled & entries.keys()):
        kind = entries[path].kind
        if kind is not EntryKind.FOLDER:
            raise SpecError(f"copy: {path!r} is a {kind.value} in one place and a folder in another", path="copy")
    return {path: entry for path, entry in entries.items() if path not in filled}
