"""From what a task says of its image to the name that is registered."""

from __future__ import annotations

import re
from typing import Final

from imagespec.errors import SpecError
from imagespec.planner import spec_id
from imagespec.spec import Declaration
from imagespec.task.building import TaskImages
from imagespec.task.settings import Image, ImageConfig, SerializationSettings

__all__ = ["get_registerable_container_image", "update_image_spec_copy_handling"]

_PLACEHOLDER: Final = re.compile(
    r"\{\{\s*\.images?\.(?P<name>[a-zA-Z0-9_-]+)(?:\.(?P<part>[a-zA-Z0-9_-]+))?\s*\}\}", re.IGNORECASE
)


def get_registerable_container_image(
    img: str | Declaration | None, cfg: ImageConfig, *, images: TaskImages | None = None, module: str = ""
) -> str:
    """Return the full name to register: an ImageSpec's image is built if absent, placeholders are filled in.

    ``{{.image.NAME.fqn}}``, ``{{.image.NAME.version}}`` and ``{{.image.NAME}}`` name images of ``cfg``; ``None`` and
    "" mean its default. Raise SpecError for an unknown name or part, ImageSpecError when an image cannot be had.
    """
    if isinstance(img, Declaration):
        known = cfg.find_image(spec_id(img))
        return known.full if known else (images or TaskImages()).name_of(img, module)
    if img:
        # A digest follows "@", where a tag follows ":".
        text = re.sub(rf":(?={_PLACEHOLDER.pattern})", lambda match: _separator(match, cfg), img, flags=re.IGNORECASE)
        return _PLACEHOLDER.sub(lambda match: _filled(match, cfg), text)
    if cfg.default_image is None:
        raise SpecError(
            "image: the task has none, and there is no default", path="image", hint="give the task an image"
        )
    return cfg.default_image.full


def _separator(match: re.Match[str], cfg: ImageConfig) -> str:
    if (match["part"] or "").lower() != "version":
        return ":"
    return "@" if ":" in _version(_image(match["name"], cfg), cfg) else ":"


def _filled(match: re.Match[str], cfg: ImageConfig) -> str:
    image, part = _image(match["name"], cfg), match["part"]
    if part is None:
        return image.full
    if part == "fqn":
        return image.fqn
    if part == "version":
        return _version(image, cfg)
    raise SpecError(f"{match[0]}: an image has fqn and version, not {part}", path="image")


def _image(name: str, cfg: ImageConfig) -> Image:
    image = cfg.find_image(name)
    if image is None:
        known = sorted({one.name for one in (*(cfg.images or ()), cfg.default_image) if one})
        hint = f"known: {', '.join(known)}" if known else "give it with --image name=repository:tag"
        raise SpecError(f"image: the configuration has none named {name!r}", path="image", hint=hint)
    return image


def _version(image: Image, cfg: ImageConfig) -> str:
    version = image.version or (cfg.default_image.version if cfg.default_image else None)
    if version is None:
        raise SpecError(f"image: {image.name} has no version, nor has the default", path="image")
    return version


def update_image_spec_copy_handling(image_spec: Declaration, settings: SerializationSettings, /) -> Declaration:
    """Return the spec with the code that this serialization puts into images; the given one stays as it is.

    A spec that says what is copied gets at most a root to copy from. Any other gets the loaded modules, unless the
    code is sent beside the image (fast registration) or nobody says where it is.
    """
    return image_spec.with_code(settings.source_root, is_sent_beside=settings.should_fast_serialize())
