"""What a declaration is, before anything is looked up: its plan, its fingerprint and its name."""

from __future__ import annotations

from typing import TypeAlias

from imagespec.errors import InputError, SpecError
from imagespec.events import Emit, discard
from imagespec.fingerprint import Fingerprint, fingerprint_of, tag_of
from imagespec.names import Reference, Repository
from imagespec.plan import BuildPlan, Parent
from imagespec.planner import make_plan
from imagespec.settings import Settings
from imagespec.sources.stat_cache import StatCache
from imagespec.spec import CopyFileDetection, Declaration
from imagespec.values import dataclass, replace
from imagespec.workspace import Workspace

__all__ = ["Identity", "Known", "Target", "identify", "workspace_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A declaration and where it was found; ``modules`` are the Python files that define it.

    ``code_root`` is the folder that these modules are imported from, "" for what is not to hold the project's code.
    """

    declaration: Declaration
    origin: str = ""
    modules: tuple[str, ...] = ()
    code_root: str = ""

    def with_code(self, *, is_sent_beside: bool) -> Target:
        """Return the target with the project's code in its image, or with the code sent beside it, as Flyte does."""
        declaration = self.declaration.with_code(self.code_root or None, is_sent_beside=is_sent_beside)
        return replace(self, declaration=declaration)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a declaration is, before anything is looked up: its plan, its fingerprint and its name.

    ``is_local`` means that it has no registry: it is kept by the local engine, or in the OCI layout store.
    """

    plan: BuildPlan
    fingerprint: Fingerprint
    reference: Reference
    is_local: bool
    parent: Identity | None = None

    @property
    def name(self) -> str:
        """The image's name as people write it: local images without the registry that Docker would fill in."""
        return self.reference.familiar if self.is_local else str(self.reference)


Known: TypeAlias = dict[tuple[int, tuple[str, ...], str | None], tuple[Declaration, Identity]]
"""What was identified in this run, by the declaration's object, its modules where it copies them, and its registry."""


def workspace_of(settings: Settings, cwd: str, emit: Emit = discard, *, use_stat_cache: bool = True) -> Workspace:
    """Return the workspace that the settings mean: which files are left out, which digests are remembered."""
    cache = StatCache(str(settings.cache_dir / "stat")) if use_stat_cache and settings.uses_stat_cache else None
    return Workspace(cwd=cwd, ignore=settings.ignore, stat_cache=cache, emit=emit)


def identify(target: Target, workspace: Workspace, known: Known | None = None) -> Identity:
    """Return plan, fingerprint and name, from the declaration and the disk alone.

    ``known`` is given to all targets of one run, so that what many are based on is identified once.
    Raise SpecError or InputError, beginning with where the target was found.
    """
    known = {} if known is None else known
    try:
        return _identify(target.declaration, target.modules, target.declaration.registry, workspace, known)
    except (SpecError, InputError) as error:
        if target.origin:
            error.args = (f"{target.origin}: {error}",)
        raise


def _identify(
    declaration: Declaration, modules: tuple[str, ...], registry: str | None, workspace: Workspace, known: Known
) -> Identity:
    key = (id(declaration), modules if _copies_modules(declaration) else (), registry)
    if key in known:
        return known[key][1]
    parent = None
    base = declaration.base_image
    if isinstance(base, Declaration):
        # A parent without a registry is kept where its child goes: nowhere else could a builder find it.
        parent = _identify(base, modules, base.registry or registry, workspace, known)
    snapshot = workspace.take(declaration, modules=modules)
    plan = make_plan(declaration, snapshot, _as_parent(parent), image_id=declaration.image_id)
    fingerprint = fingerprint_of(plan)
    reference = _reference(declaration, registry, tag_of(fingerprint, declaration.tag_format))
    found = Identity(plan=plan, fingerprint=fingerprint, reference=reference, is_local=registry is None, parent=parent)
    known[key] = (declaration, found)  # the declaration is kept: an id belongs to a living object
    return found


def _copies_modules(declaration: Declaration) -> bool:
    base = declaration.base_image
    is_here = declaration.source_copy_mode is CopyFileDetection.LOADED_MODULES
    return is_here or (isinstance(base, Declaration) and _copies_modules(base))


def _reference(declaration: Declaration, registry: str | None, tag: str) -> Reference:
    prefix = f"{registry}/" if registry else ""
    return Reference(Repository.parse(f"{prefix}{declaration.name}"), tag)


def _as_parent(identity: Identity | None) -> Parent | None:
    if identity is None:
        return None
    return Parent(plan=identity.plan, fingerprint=identity.fingerprint.digest, parent=_as_parent(identity.parent))
