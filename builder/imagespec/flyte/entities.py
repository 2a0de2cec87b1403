"""What flytekit has loaded: the tasks, their image specs, and the Python files that define them."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from typing import Any

from flytekit.configuration import SerializationSettings
from flytekit.core import python_auto_container
from flytekit.core.context_manager import FlyteContextManager, FlyteEntities
from flytekit.image_spec.image_spec import ImageSpec

from imagespec.flyte.declared import as_declared, is_ours

__all__ = ["current_settings", "modules_using", "serialized_specs"]


def modules_using(spec: Any) -> tuple[str, ...]:
    """Return the files of the loaded tasks that run in the spec's image, sorted."""
    wanted = as_declared(spec)
    found = {file for used, file, _ in _uses() if as_declared(used) == wanted}
    return tuple(sorted(found - {""}))


def serialized_specs(settings: SerializationSettings) -> Iterator[Any]:
    """Yield every spec of our builder that is loaded, in the state in which serialization will ask for it."""
    for spec, _, is_task_image in _uses():
        asked = copy.copy(spec)
        if is_task_image:
            _prepare(asked, settings)
        yield asked


def current_settings(spec: Any) -> SerializationSettings:
    """Return the settings of the serialization under way.

    Some commands do not publish them: then what has been done to ``spec``, the first spec asked for, tells.
    """
    published = FlyteContextManager.current_context().serialization_settings
    if published is not None:
        return published
    was_prepared = spec.source_root != as_declared(spec).source_root
    return SerializationSettings(image_config=None, source_root=spec.source_root if was_prepared else None)


def _prepare(spec: Any, settings: SerializationSettings) -> None:
    prepare = getattr(python_auto_container, "update_image_spec_copy_handling", None)
    if prepare is not None:
        prepare(spec, settings)
    elif not settings.should_fast_serialize():
        spec.source_root = settings.source_root


def _uses() -> Iterator[tuple[Any, str, bool]]:
    """Yield (spec, file of the task, whether it is the task's own image) for specs of our builder."""
    for entity in list(FlyteEntities.entities):
        file = _file_of(entity)
        own = getattr(entity, "container_image", None) or getattr(entity, "_image", None)
        if isinstance(own, ImageSpec) and is_ours(own):
            yield own, file, True
        pod = getattr(getattr(entity, "pod_template", None), "pod_spec", None)
        for container in (*(getattr(pod, "containers", None) or ()), *(getattr(pod, "init_containers", None) or ())):
            image = getattr(container, "image", None)
            if isinstance(image, ImageSpec) and is_ours(image):
                yield image, file, False


def _file_of(entity: Any) -> str:
    function = getattr(entity, "task_function", None)
    name = getattr(function, "__module__", None) or getattr(entity, "instantiated_in", None) or ""
    return getattr(sys.modules.get(name), "__file__", None) or ""
