"""Tags and ids of the specs of our builder: what ``spec.tag``, ``spec.image_name()`` and ``spec.id`` say."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from flytekit.image_spec.image_spec import ImageSpec

from imagespec.flyte.declared import id_of, is_ours, remember_declarations

if TYPE_CHECKING:
    from imagespec.flyte.images import Images

__all__ = ["install_names"]


def install_names(images: Callable[[], Images]) -> None:
    """Give flytekit's specs our tag and a steady id, where they are of our builder.

    Releases before 1.14 have neither: there the builder tells flytekit which name stands for which.
    """
    remember_declarations()
    if isinstance(vars(ImageSpec).get("id"), cached_property):
        ImageSpec.id = _Id(ImageSpec.id)
    if isinstance(vars(ImageSpec).get("tag"), cached_property):
        ImageSpec.tag = _Tag(ImageSpec.tag, images)


class _Id:
    """The id before serialization wrote anything into the spec: the one that the image's processes compute."""

    def __init__(self, own: Any) -> None:
        self._own = own
        self.func = own.func

    def __get__(self, spec: Any, owner: Any = None) -> Any:
        if spec is None:
            return self
        return id_of(spec) if is_ours(spec) else self._own.__get__(spec, owner)


class _Tag:
    """The tag of the image that we would build, from the declaration and the disk alone."""

    def __init__(self, own: Any, images: Callable[[], Images]) -> None:
        self._own = own
        self._images = images

    def __get__(self, spec: Any, owner: Any = None) -> Any:
        if spec is None:
            return self
        return self._images().tag_of(spec) if is_ours(spec) else self._own.__get__(spec, owner)
