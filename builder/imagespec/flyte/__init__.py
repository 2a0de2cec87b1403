"""flytekit's door: with ``imagespec-builder[flyte]`` installed, its image specs are built by us.

flytekit imports this module by itself (entry point ``flytekit.plugins``). That registers the builder ``imagespec`` with
a priority above flytekit's own, and gives the specs of that builder a tag that is ours and an id that stays what the
user declared. Specs that name another builder are left alone.
"""

from __future__ import annotations

from flytekit.image_spec.image_spec import ImageBuildEngine

from imagespec.flyte.builder import ImageSpecImageBuilder
from imagespec.flyte.declared import BUILDER
from imagespec.flyte.images import Images
from imagespec.flyte.names import install_names

__all__ = ["IMAGES", "ImageSpecImageBuilder"]

PRIORITY = 10

IMAGES = Images()
"""What this process knows of its images: flytekit gives a builder no other place to keep it."""

install_names(IMAGES)
ImageBuildEngine.register(BUILDER, ImageSpecImageBuilder(IMAGES), priority=PRIORITY)
