"""Which images the packages of a project need, before anything is registered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flytekit.configuration import FastSerializationSettings, Image, ImageConfig, SerializationSettings
from flytekit.core.context_manager import FlyteContextManager
from flytekit.tools.module_loader import add_sys_path, just_load_modules

from imagespec.flyte import images_of_process
from imagespec.flyte.declared import id_of
from imagespec.flyte.entities import serialized_specs

__all__ = ["image_config"]


def image_config(packages: Sequence[str], source: str, *, is_fast: bool, build: bool) -> ImageConfig:
    """Return flytekit's mapping from the id of each image spec to its image's name; build what is absent if asked to.

    ``is_fast`` means that code is sent beside the images. With this mapping flytekit neither looks up nor builds.
    Raise what the user's modules raise when they are imported, and ImageSpecError for an image.
    """
    settings = SerializationSettings(
        image_config=ImageConfig(),
        source_root=source,
        fast_serialization_settings=FastSerializationSettings(enabled=is_fast),
    )
    context = FlyteContextManager.current_context().with_serialization_settings(settings)
    with FlyteContextManager.with_context(context), add_sys_path(source):
        just_load_modules(pkgs=list(packages))
        names = {id_of(spec): _name(spec, build) for spec in serialized_specs(settings)}
    return ImageConfig(images=[Image.look_up_image_info(key, names[key]) for key in sorted(names)])


def _name(spec: Any, build: bool) -> str:
    images = images_of_process()
    if build:
        return images.build(spec).name
    # An image that flytekit made before has another name, which only a look tells.
    looks = images.settings.reuses_flyte_tags
    return (images.look_up(spec) if looks else images.image_of(spec)).name
