"""flytekit's door: with ``imagespec-builder[flyte]`` installed, its image specs are built by us.

flytekit imports this module by itself (entry point ``flytekit.plugins``). That registers the builder ``imagespec`` with
a priority above flytekit's own, and gives the specs of that builder a tag that is ours and an id that stays what the
user declared. Specs that name another builder are left alone.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from flytekit.image_spec.image_spec import ImageBuildEngine

from imagespec.flyte.builder import ImageSpecImageBuilder, answer_always
from imagespec.flyte.declared import BUILDER
from imagespec.flyte.names import install_names

if TYPE_CHECKING:
    from imagespec.flyte.images import Images

__all__ = ["ImageSpecImageBuilder", "images_of_process"]

PRIORITY = 10


@cache
def images_of_process() -> Images:
    """Return what this process knows of its images: flytekit gives a builder no other place to keep it.

    All that builds is imported here, when the first image is asked for: flytekit is also imported in every pod.
    """
    made: Images = import_module("imagespec.flyte.images").Images()
    return made


install_names(images_of_process)
_builder = ImageSpecImageBuilder(images_of_process)
ImageBuildEngine.register(BUILDER, _builder, priority=PRIORITY)
answer_always(_builder)
