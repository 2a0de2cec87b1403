"""An image's config over its base's, with what BuildKit would make of the same plan.

Source: OCI Image Specification, ``config.md``; BuildKit's Dockerfile frontend for ENV, ENTRYPOINT and LABEL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from imagespec.builders.assembly.base import Image, search_path
from imagespec.builders.assembly.layers import Layer
from imagespec.oci import Platform, canonical_json
from imagespec.plan import ImageConfig
from imagespec.wheels.pins import is_lock_label

__all__ = ["CREATED", "image_config"]

CREATED: Final = "1980-01-01T00:00:00Z"
"""When images were made, as they say: one fixed time, so that the same image has the same digest."""

_IMAGE_ID: Final = "_F_IMG_ID"


def image_config(
    base: Image,
    platform: Platform,
    config: ImageConfig,
    layers: Sequence[Layer],
    labels: Mapping[str, str],
) -> bytes:
    """Return the config of an image that has ``layers`` over its base."""
    value: dict[str, Any] = {"created": CREATED, "os": platform.os, "architecture": platform.architecture}
    if platform.variant:
        value["variant"] = platform.variant
    for name in ("os.version", "os.features", "variant"):
        if name in base.config:
            value.setdefault(name, base.config[name])
    value["config"] = _run_time(base.run_time, config, labels)
    value["rootfs"] = {"type": "layers", "diff_ids": [*base.diff_ids, *(layer.diff_id for layer in layers)]}
    made = [{"created": CREATED, "created_by": f"imagespec: {layer.title}"} for layer in layers]
    value["history"] = [*_history(base), *made]
    return canonical_json(value)


def _run_time(inherited: Mapping[str, Any], config: ImageConfig, labels: Mapping[str, str]) -> dict[str, Any]:
    value = {name: item for name, item in inherited.items() if item is not None and name != "OnBuild"}
    value["Env"] = environment(inherited, config)
    value["User"] = config.account.name
    value["WorkingDir"] = config.workdir
    if config.entrypoint is not None:
        # ENTRYPOINT drops a command that comes from the base.
        value.pop("Cmd", None)
        value["Entrypoint"] = list(config.entrypoint)
        if not config.entrypoint:
            del value["Entrypoint"]
    below = inherited.get("Labels") or {}
    if any(map(is_lock_label, labels)):
        below = {name: value for name, value in below.items() if not is_lock_label(name)}
    merged = {**below, **dict(config.labels), **labels}
    if merged:
        value["Labels"] = merged
    return value


def environment(inherited: Mapping[str, Any], config: ImageConfig) -> list[str]:
    """Return the environment: the base's, PATH led by the plan's folders, the plan's own, the image's id last."""
    variables = dict(item.partition("=")[::2] for item in inherited.get("Env") or ())
    variables.setdefault("PATH", search_path(inherited))
    given = dict(config.env)
    if config.path and "PATH" not in given:
        variables["PATH"] = ":".join((*config.path, variables["PATH"]))
    variables.update(given)
    variables.pop(_IMAGE_ID, None)
    if config.image_id:
        variables[_IMAGE_ID] = config.image_id
    return [f"{name}={value}" for name, value in variables.items()]


def _history(base: Image) -> list[Any]:
    """Return the base's history, or one entry a layer where it has none that fits."""
    history = list(base.config.get("history") or ())
    filled = [one for one in history if not one.get("empty_layer")]
    return history if len(filled) == len(base.layers) else [{"created": CREATED} for _ in base.layers]
