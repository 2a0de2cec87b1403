"""The build plan: everything that decides an image's bytes, and nothing else.

A builder sees the plan and nothing more of the declaration, so what is not in here cannot escape the fingerprint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from imagespec.names import Digest
from imagespec.oci import Platform
from imagespec.snapshot import ContextEntry, LocalProject, LockFiles
from imagespec.values import dataclass, replace

__all__ = [
    "RECIPE",
    "Account",
    "AptInstall",
    "Base",
    "BaseImage",
    "BaseLayout",
    "BaseParent",
    "BuildPlan",
    "CondaInstall",
    "CopyFiles",
    "ImageConfig",
    "Parent",
    "PythonEnvironment",
    "PythonPackages",
    "RunCommand",
    "Step",
    "Tools",
    "environment_of",
]

RECIPE: Final = 1
"""Raised when a rule or a template changes its meaning: that re-tags everybody's images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseImage:
    """A base in a registry: the normalised reference as text, with a digest where the user wrote one."""

    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseLayout:
    """A base in an OCI layout on disk: the digest of its manifest or index."""

    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseParent:
    """A base that is itself an ImageSpec: its fingerprint, whatever it is called and wherever it lies."""

    fingerprint: Digest


Base: TypeAlias = BaseImage | BaseLayout | BaseParent


@dataclass(frozen=True, slots=True, kw_only=True)
class AptInstall:
    """Debian packages, as a set."""

    packages: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaInstall:
    """Conda packages, as a set, from channels in order, and their Python, at ``prefix``.

    ``python_version`` is "" where the packages say themselves which Python they want.
    """

    prefix: str
    packages: tuple[str, ...]
    channels: tuple[str, ...]
    python_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonEnvironment:
    """A virtual environment at ``prefix`` with pip.

    ``version`` or ``executable`` is "" where the base decides; ``fallback`` is the version for a base without Python.
    ``bytecode`` compiles pip after install.
    """

    prefix: str
    version: str
    executable: str
    fallback: str
    system_site_packages: bool
    pip: str
    index: str = ""
    extra_indexes: tuple[str, ...] = ()
    bytecode: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonPackages:
    """Python packages for the environment at ``prefix``.

    ``keep_installed`` holds what the parent image installed to its versions. ``bytecode`` compiles after install.
    """

    prefix: str
    lines: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    projects: tuple[LocalProject, ...] = ()
    lock: LockFiles | None = None
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    index: str = ""
    extra_indexes: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    keep_installed: bool = False
    bytecode: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyFiles:
    """Sources at ``destination``, sorted by path, one entry a path."""

    destination: str
    entries: Sequence[ContextEntry]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCommand:
    """One shell command, run as root with ``sh -e``."""

    command: str


Step: TypeAlias = AptInstall | CondaInstall | PythonEnvironment | PythonPackages | CopyFiles | RunCommand


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The user that owns the workdir and the environment, and that the container runs as."""

    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """The run-time part: ``path`` comes before the base's PATH, ``entrypoint`` None keeps the base's, () removes it.

    ``build_arguments`` are variables that commands see while the image is built, and that it does not keep.
    ``is_inherited`` says that account and workdir are those of the base, an image of ours that has both.
    """

    env: tuple[tuple[str, str], ...]
    path: tuple[str, ...]
    entrypoint: tuple[str, ...] | None
    account: Account
    workdir: str
    labels: tuple[tuple[str, str], ...]
    image_id: str
    build_arguments: tuple[tuple[str, str], ...] = ()
    is_inherited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What does the installing: versions, or images that the user chose instead."""

    uv: str = "0.13.9"
    pip: str = "26.3"
    uv_image: str = ""
    micromamba_image: str = "docker.io/mambaorg/micromamba:2.3.3"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPlan:
    """Everything that decides the bytes of an image."""

    recipe: int
    base: Base
    tools: Tools
    steps: tuple[Step, ...]
    config: ImageConfig
    platforms: tuple[Platform, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """The plan of a ``base_image`` that is itself an ImageSpec, and its own parent where it has one."""

    plan: BuildPlan
    fingerprint: Digest
    parent: Parent | None = None


def environment_of(plan: BuildPlan) -> BuildPlan | None:
    """Return the plan of the steps before the sources, or None when the plan has no such split.

    There is a split when sources are copied and nothing runs after them.
    """
    kinds = [isinstance(step, CopyFiles) for step in plan.steps]
    if not any(kinds) or not all(kinds[kinds.index(True) :]):
        return None
    config = replace(plan.config, image_id="", entrypoint=None, labels=())
    return replace(plan, steps=plan.steps[: kinds.index(True)], config=config)
