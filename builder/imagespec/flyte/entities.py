"""What flytekit has loaded: the tasks, their image specs, and the Python files that define them."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from flytekit.configuration import SerializationSettings
from flytekit.core import python_auto_container
from flytekit.core.context_manager import FlyteContextManager, FlyteEntities
from flytekit.image_spec.image_spec import ImageSpec

from imagespec.flyte.declared import as_declared, is_ours, key_of

__all__ = ["TaskFiles", "current_settings", "serialized_specs"]


class TaskFiles:
    """Which files define the tasks that run in an image; tasks are looked at once, as they are loaded."""

    def __init__(self) -> None:
        self._looked_at = 0
        self._files: dict[str, set[str]] = {}
        self._task_images: set[str] = set()

    def of(self, key: str) -> tuple[str, ...]:
        """Return the files of the loaded tasks whose spec was declared like this (``key_of``), sorted."""
        self._look()
        return tuple(sorted(self._files.get(key, set()) - {""}))

    def is_side_only(self, key: str) -> bool:
        """Return whether such a spec is used by loaded tasks, and only beside their own image, in a pod template."""
        self._look()
        return key in self._files and key not in self._task_images

    def _look(self) -> None:
        entities = FlyteEntities.entities
        if self._looked_at > len(entities):
            self._looked_at = 0
        keys: dict[int, str] = {}
        for spec, file, is_task_image in _uses(entities[self._looked_at :]):
            key = keys.get(id(spec)) or keys.setdefault(id(spec), key_of(spec))
            self._files.setdefault(key, set()).add(file)
            if is_task_image:
                self._task_images.add(key)
        self._looked_at = len(entities)


def serialized_specs(settings: SerializationSettings) -> Iterator[Any]:
    """Yield every spec of our builder that is loaded, in the state in which serialization will ask for it.

    One that many tasks use is yielded once, or twice where it is also of a pod template.
    """
    used = {(id(spec), is_task_image): spec for spec, _, is_task_image in _uses(FlyteEntities.entities)}
    for (_, is_task_image), spec in used.items():
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


def _uses(entities: Sequence[Any]) -> Iterator[tuple[Any, str, bool]]:
    """Yield (spec, file of the task, whether it is the task's own image) for specs of our builder."""
    for entity in list(entities):
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
