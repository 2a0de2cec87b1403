"""From flytekit's ``ImageSpec`` to our declaration, without touching the user's object."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Final

import flytekit
from flytekit.image_spec.image_spec import ImageSpec

from imagespec.errors import Unsupported
from imagespec.flyte.declared import BUILDER, id_of, with_declared_base
from imagespec.identity import Target
from imagespec.snapshot import LockFiles
from imagespec.spec import FIELD_NAMES, CopyFileDetection, Declaration
from imagespec.workspace import Workspace

__all__ = ["target_of"]

_FLYTEKIT: Final = re.compile(r"\s*flytekit\s*($|[\[<>=!~;@,(])", re.IGNORECASE)


def target_of(spec: Any, workspace: Workspace, modules: tuple[str, ...] = ()) -> Target:
    """Return what to build for a spec in the state in which flytekit hands it over.

    ``modules`` are the files that need it. flytekit itself is among the packages. Raise SpecError for a value that we
    do not take, Unsupported for a field that we do not know.
    """
    declaration = _with_flytekit(_declaration(with_declared_base(spec)), workspace)
    return Target(declaration=declaration, origin=f"flytekit: {spec.name}", modules=modules)


def _declaration(spec: Any) -> Declaration:
    given = {one.name: getattr(spec, one.name) for one in dataclasses.fields(spec)}
    base = given.pop("base_image")
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
    return Declaration(
        **given,
        base_image=_declaration(base) if isinstance(base, ImageSpec) else base,
        is_forced=bool(getattr(spec, "_is_force_push", False)),
        image_id=id_of(spec),
    )


def _with_flytekit(declaration: Declaration, workspace: Workspace) -> Declaration:
    """Return the declaration with flytekit among the packages of the first image of its chain that lacks it."""
    if isinstance(declaration.base_image, Declaration):
        base = _with_flytekit(declaration.base_image, workspace)
        return declaration.replaced(base_image=base)
    if _installs_flytekit(declaration, workspace):
        return declaration
    return declaration.replaced(added_packages=(_requirement(),))


def _installs_flytekit(declaration: Declaration, workspace: Workspace) -> bool:
    lines = tuple(declaration.packages or ())
    if declaration.requirements is not None:
        listed = workspace.take(Declaration(requirements=declaration.requirements, folder=declaration.folder))
        if isinstance(listed.requirements, LockFiles):
            # A lock names everything that is to be there.
            return True
        lines += listed.requirements.lines if listed.requirements else ()
    return any(_FLYTEKIT.match(line) for line in lines)


def _requirement() -> str:
    """Return flytekit as installed here; a development build is not on the index."""
    version = flytekit.__version__
    return "flytekit" if not version or "dev" in version else f"flytekit=={version}"
