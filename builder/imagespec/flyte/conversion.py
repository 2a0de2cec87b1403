"""From flytekit's ``ImageSpec`` to our declaration, without touching the user's object."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Final

import flytekit
from flytekit.image_spec.image_spec import ImageSpec

from imagespec.errors import Unsupported
from imagespec.flyte.declared import BUILDER, foreign_bases, id_of, is_forced, is_ours, key_of, with_declared_base
from imagespec.identity import Target
from imagespec.patterns import lazy_pattern
from imagespec.snapshot import LockFiles
from imagespec.spec import FIELD_NAMES, CopyFileDetection, Declaration
from imagespec.workspace import Workspace

__all__ = ["target_of"]

_FLYTEKIT: Final = lazy_pattern(r"\s*flytekit\s*($|[\[<>=!~;@,(])", re.IGNORECASE)


def target_of(
    spec: Any, workspace: Workspace, modules: tuple[str, ...] = (), bases: dict[str, Declaration] | None = None
) -> Target:
    """Return what to build for a spec in the state in which flytekit hands it over.

    ``modules`` are the files that need it; ``bases`` keeps what specs are based on, for the next that is based on the
    same. flytekit itself is among the packages of the first image of a chain that lacks it. Raise SpecError for a value
    that we do not take, Unsupported for a field that we do not know.
    """
    declaration = _declaration(with_declared_base(spec), workspace, {} if bases is None else bases)
    return Target(declaration=declaration, origin=f"flytekit: {spec.name}", modules=modules)


def _declaration(spec: Any, workspace: Workspace, bases: dict[str, Declaration]) -> Declaration:
    given = {one.name: getattr(spec, one.name) for one in dataclasses.fields(spec)}
    base = given["base_image"]
    unknown = [name for name, value in given.items() if value is not None and name not in FIELD_NAMES]
    if unknown:
        raise Unsupported(
            f"{unknown[0]}: this release of flytekit has a field that is not known here",
            builder=BUILDER,
            field=unknown[0],
            hint="upgrade imagespec-builder, or name another builder",
        )
    if given["source_root"] is not None and "source_copy_mode" not in given:
        # Releases before 1.14 copy the whole of it.
        given["source_copy_mode"] = CopyFileDetection.ALL
    given["builder"] = None
    if isinstance(base, ImageSpec) and is_ours(base):
        given["base_image"] = _base(base, workspace, bases)
    elif isinstance(base, ImageSpec):
        # Whatever the other builder puts into it, flytekit is among it.
        (given["base_image"],) = foreign_bases(spec)
    elif not _installs_flytekit(given, workspace):
        given["added_packages"] = (_requirement(),)
    return Declaration(**given, is_forced=is_forced(spec), image_id=id_of(spec))


def _base(spec: Any, workspace: Workspace, bases: dict[str, Declaration]) -> Declaration:
    key = f"{key_of(spec)} {foreign_bases(spec)}"
    if key not in bases:
        bases[key] = _declaration(spec, workspace, bases)
    return bases[key]


def _installs_flytekit(given: Mapping[str, Any], workspace: Workspace) -> bool:
    lines = tuple(given["packages"] or ())
    if given["requirements"] is not None:
        listed = workspace.take(Declaration(requirements=given["requirements"]))
        if isinstance(listed.requirements, LockFiles):
            # A lock names everything that is to be there.
            return True
        lines += listed.requirements.lines if listed.requirements else ()
    return any(_FLYTEKIT.match(line) for line in lines)


def _requirement() -> str:
    """Return flytekit as installed here; a development build is not on the index."""
    version = flytekit.__version__
    return "flytekit" if not version or "dev" in version else f"flytekit=={version}"
