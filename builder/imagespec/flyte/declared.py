"""What the user declared in flytekit's ``ImageSpec``, whatever serialization has put into the same object since."""

from __future__ import annotations

import copy
import dataclasses
import functools
import sys
from typing import Any, Final

from flytekit.image_spec.image_spec import ImageSpec

__all__ = [
    "BUILDER",
    "as_declared",
    "defining_file",
    "foreign_bases",
    "id_of",
    "is_forced",
    "is_ours",
    "key_of",
    "remember_declarations",
    "with_declared_base",
]

BUILDER: Final = "imagespec"
# A plain tuple under a plain name: specs are pickled in notebooks and read back where imagespec is not installed.
_MEMORY: Final = "_imagespec_declared"
_CACHED: Final = ("id", "tag")
_FIELDS: Final = tuple(one.name for one in dataclasses.fields(ImageSpec))
_WRITTEN: Final = ("source_root", "source_copy_mode", "base_image")
_KEPT: Final = tuple(name for name in _FIELDS if name not in _WRITTEN)
_ids: dict[str, str] = {}
_NOT_THE_USERS: Final = ("dataclasses", "copy", "flytekit", "imagespec.flyte")


def remember_declarations() -> None:
    """Let every spec remember, when it is made, the fields that serialization writes to.

    flytekit writes ``source_root`` and ``source_copy_mode`` into the user's own object before it asks a builder, and
    releases before 1.14 ``base_image`` too; what was there before cannot be told afterwards.
    """
    post_init = ImageSpec.__post_init__

    @functools.wraps(post_init)
    def remembering(spec: Any) -> None:
        post_init(spec)
        mode = getattr(spec, "source_copy_mode", None)
        vars(spec)[_MEMORY] = (spec.source_root, mode, spec.base_image, _users_file())

    ImageSpec.__post_init__ = remembering


def _users_file() -> str:
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_NOT_THE_USERS):
        frame = frame.f_back
    return frame.f_code.co_filename


def is_ours(spec: Any) -> bool:
    """Return whether flytekit gives this spec to us; releases before 1.14 leave the builder open until they build."""
    return spec.builder in (None, BUILDER)


def defining_file(spec: Any) -> str:
    """Return the path of the Python file that made the spec, "" when it was made elsewhere (a notebook)."""
    file: str = vars(spec).get(_MEMORY, ("",))[-1]
    return file if file.endswith(".py") else ""


def key_of(spec: Any) -> str:
    """Return a text that is equal for specs that were declared equally, whatever was written into them since."""
    values = vars(spec)
    root, mode, base = _declared_values(spec)
    rest = {name: value for name in _KEPT if (value := values[name]) is not None}
    return f"{rest!r} {root!r} {mode!r} {key_of(base) if isinstance(base, ImageSpec) else repr(base)}"


def foreign_bases(spec: Any) -> tuple[str, ...]:
    """Return the names of what the spec is based on where another builder makes it, () where all is ours.

    The name that flytekit gives changes when the other builder answers with another, as ``noop`` always does.
    """
    base = _declared_values(spec)[2]
    if not isinstance(base, ImageSpec):
        return ()
    if is_ours(base):
        return foreign_bases(base)
    return (base.base_image if base.builder == "noop" and isinstance(base.base_image, str) else base.image_name(),)


def is_forced(spec: Any) -> bool:
    """Return whether the image is to be built also when it exists."""
    return bool(getattr(spec, "_is_force_push", False))


def as_declared(spec: Any) -> Any:
    """Return a copy of the spec as the user declared it, its ``base_image`` too."""
    root, mode, _ = _declared_values(spec)
    declared = with_declared_base(spec)
    declared.source_root = root
    if "source_copy_mode" in _FIELDS:
        declared.source_copy_mode = mode
    return declared


def with_declared_base(spec: Any) -> Any:
    """Return a copy that is based on what the user gave, where flytekit has put the base's name instead."""
    copied = copy.copy(spec)
    for name in _CACHED:
        vars(copied).pop(name, None)
    base = _declared_values(spec)[2]
    copied.base_image = as_declared(base) if isinstance(base, ImageSpec) else base
    return copied


def _declared_values(spec: Any) -> tuple[Any, Any, Any]:
    """Return source_root, source_copy_mode and base_image before serialization wrote to them.

    What the user set later than at construction counts: only what was empty then is written to by serialization, but
    for releases before 1.14, which overwrite the root.
    """
    now = (spec.source_root, getattr(spec, "source_copy_mode", None), spec.base_image)
    root, mode, base, _ = vars(spec).get(_MEMORY, (*now, ""))
    if root is not None and "source_copy_mode" in _FIELDS:
        root = now[0]
    if mode is not None:
        mode = now[1]
    is_named = isinstance(now[2], str) and isinstance(base, ImageSpec) and is_ours(base)
    return root, mode, base if is_named else now[2]


def id_of(spec: Any) -> str:
    """Return flytekit's own id of a spec as it was declared: what ``is_container()`` compares with in the image.

    Releases before 1.14 have no id: there it is the name that they would give.
    """
    key = key_of(spec)
    if key not in _ids:
        _ids[key] = _computed_id(as_declared(spec))
    return _ids[key]


def _computed_id(declared: Any) -> str:
    own = vars(ImageSpec).get("id")
    if own is not None:
        computed: str = own.func(declared)
        return computed
    if isinstance(declared.base_image, ImageSpec):
        declared = copy.copy(declared)
        declared.base_image = _computed_id(declared.base_image)
    name: str = declared._image_name()
    return name
