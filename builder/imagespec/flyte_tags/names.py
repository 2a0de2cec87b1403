"""The names that flytekit would give images: its own tag in the repository where we keep them."""

from __future__ import annotations

from functools import partial

from imagespec.errors import NoFlyteTag
from imagespec.events import discard
from imagespec.flyte_tags.disk import DeclaredFiles
from imagespec.flyte_tags.stand_in import StandIn
from imagespec.flyte_tags.stand_ins import look_up_stand_ins
from imagespec.flyte_tags.tag import flyte_tag
from imagespec.identity import Identity, Target
from imagespec.names import Reference
from imagespec.registry import Resolver
from imagespec.spec import Declaration
from imagespec.workspace import Workspace

__all__ = ["flyte_reference", "flyte_tag_of", "stand_in_of", "stands_in"]


def flyte_reference(target: Target, identity: Identity, workspace: Workspace) -> Reference:
    """Return the image's name with flytekit's tag; raise NoFlyteTag, naming the field, and InputError."""
    try:
        return identity.reference.with_tag(flyte_tag_of(target.declaration, workspace))
    except NoFlyteTag as error:
        if target.origin:
            error.args = (f"{target.origin}: {error}",)
        raise


def flyte_tag_of(declaration: Declaration, workspace: Workspace) -> str:
    """Return the tag that flytekit 1.16 computes for the declaration; raise NoFlyteTag and InputError."""
    base_name = ""
    if isinstance(declaration.base_image, Declaration):
        base = declaration.base_image
        try:
            tag = flyte_tag_of(base, workspace)
        except NoFlyteTag as error:
            path = f"base_image.{error.path}"
            raise NoFlyteTag(f"base_image: {error}", path=path, hint=error.hint) from error
        base_name = f"{base.registry}/{base.name}:{tag}" if base.registry else f"{base.name}:{tag}"
    return flyte_tag(declaration, DeclaredFiles(declaration, workspace), base_name=base_name)


def stands_in(target: Target, identity: Identity, images: Resolver, workspace: Workspace) -> bool:
    """Return whether the target's image is there under flytekit's own tag; raise RegistryError and InputError."""
    stand_in = stand_in_of(target, identity, images, workspace)
    answer = look_up_stand_ins([stand_in], discard).get(identity.reference)
    if answer is not None and answer.error is not None:
        raise answer.error
    return answer is not None


def stand_in_of(target: Target, identity: Identity, images: Resolver, workspace: Workspace) -> StandIn:
    """Return how to find the target's image under flytekit's own tag; nothing is read yet."""
    return StandIn(
        own=identity.reference,
        images=images,
        platforms=identity.plan.platforms,
        find=partial(flyte_reference, target, identity, workspace),
    )
