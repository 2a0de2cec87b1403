"""The container of a task, and the pod around it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from imagespec.errors import SpecError
from imagespec.spec import Declaration
from imagespec.task.idl_form import IdlForm
from imagespec.task.images import get_registerable_container_image
from imagespec.task.resources import Resources, ResourceSpec, singular
from imagespec.task.settings import SerializationSettings

__all__ = ["Container", "DataLoading", "ImageNamer", "PodTemplate", "_get_container_definition", "_serialize_pod_spec"]

PRIMARY: Final = "primary"
# In the order of flytekit's entries: our field, the enumeration's name, Kubernetes' name.
_RESOURCES: Final = (
    ("ephemeral_storage", "EPHEMERAL_STORAGE", "ephemeral-storage"),
    ("cpu", "CPU", "cpu"),
    ("gpu", "GPU", "gpu"),
    ("mem", "MEMORY", "memory"),
)

ImageNamer = Callable[["str | Declaration | None"], str]
"""Returns the name to register for what a container says of its image."""


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """A pod around the task: ``pod_spec`` is a ``V1PodSpec`` of the Kubernetes client, or its JSON form as a dict."""

    pod_spec: Any = None
    primary_container_name: str = PRIMARY
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if not self.primary_container_name:
            raise SpecError("primary_container_name: is empty", path="primary_container_name")
        if self.pod_spec is None:
            object.__setattr__(self, "pod_spec", {"containers": []})


@dataclass(frozen=True, slots=True, kw_only=True)
class DataLoading(IdlForm):
    """Where a sidecar puts inputs and finds outputs; ``format`` and the two modes are flyteidl's names."""

    input_path: str | None = None
    output_path: str | None = None
    format: str = "PROTO"
    download_mode: str = ""
    upload_mode: str = ""

    def to_flyte_idl(self) -> Any:
        """Return the ``flyteidl.core.tasks_pb2.DataLoadingConfig``."""
        from flyteidl.core import tasks_pb2

        strategy = None
        if self.download_mode or self.upload_mode:
            strategy = tasks_pb2.IOStrategy(
                download_mode=self.download_mode or "DOWNLOAD_EAGER", upload_mode=self.upload_mode or "UPLOAD_ON_EXIT"
            )
        return tasks_pb2.DataLoadingConfig(
            enabled=True,
            input_path=self.input_path,
            output_path=self.output_path,
            format=self.format,
            io_strategy=strategy,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Container(IdlForm):
    """One container as it is registered; ``requests`` and ``limits`` are pairs of Kubernetes' name and quantity."""

    image: str
    command: Sequence[str] = ()
    args: Sequence[str] | None = None
    requests: tuple[tuple[str, str], ...] = ()
    limits: tuple[tuple[str, str], ...] = ()
    env: Mapping[str, str]
    data_loading_config: DataLoading | None = None

    def to_flyte_idl(self) -> Any:
        """Return the ``flyteidl.core.tasks_pb2.Container``."""
        from flyteidl.core import literals_pb2, tasks_pb2

        return tasks_pb2.Container(
            image=self.image,
            command=self.command,
            args=self.args,
            resources=tasks_pb2.Resources(requests=_entries(self.requests), limits=_entries(self.limits)),
            env=[literals_pb2.KeyValuePair(key=key, value=value) for key, value in self.env.items()],
            data_config=self.data_loading_config.to_flyte_idl() if self.data_loading_config else None,
        )


def _entries(pairs: tuple[tuple[str, str], ...]) -> list[Any]:
    from flyteidl.core import tasks_pb2

    names = {kubernetes: name for _, name, kubernetes in _RESOURCES}
    return [tasks_pb2.Resources.ResourceEntry(name=names[key], value=value) for key, value in pairs]


def _get_container_definition(
    image: str,
    resource_spec: ResourceSpec,
    command: Sequence[str],
    args: Sequence[str] | None = None,
    data_loading_config: DataLoading | None = None,
    environment: Mapping[str, str] | None = None,
) -> Container:
    """Return the container; raise SpecError when a quantity is a pair. Quantities that are not set are left out."""
    return Container(
        image=image,
        command=tuple(command or ()),
        args=None if args is None else tuple(args),
        requests=_pairs(singular(resource_spec.requests)),
        limits=_pairs(singular(resource_spec.limits)),
        env=dict(environment or {}),
        data_loading_config=data_loading_config,
    )


def _pairs(resources: Resources) -> tuple[tuple[str, str], ...]:
    found = ((kubernetes, getattr(resources, field)) for field, _, kubernetes in _RESOURCES)
    return tuple((name, str(value)) for name, value in found if value)


def _serialize_pod_spec(
    pod_template: PodTemplate,
    primary_container: Container,
    settings: SerializationSettings,
    *,
    name_image: ImageNamer | None = None,
) -> dict[str, Any]:
    """Return the pod's JSON form with the primary container merged in and every image named.

    The primary container keeps an image of its own; command and arguments are the task's, resources too where it asks
    for any, and its variables go before those of the template. ImageSpecs and placeholders of all containers, also
    those that initialise the pod, are resolved.
    """

    def by_configuration(image: str | Declaration | None) -> str:
        return get_registerable_container_image(image, settings.image_config)

    name = name_image or by_configuration
    spec = _json_of(pod_template.pod_spec, name)
    containers = spec.setdefault("containers", [])
    primary = pod_template.primary_container_name
    if all(container.get("name") != primary for container in containers):
        containers.append({"name": primary})
    for container in containers:
        if container.get("name") == primary:
            _merge(container, primary_container, name)
        else:
            container["image"] = name(container.get("image"))
    for container in spec.get("initContainers") or ():
        container["image"] = name(container.get("image"))
    return spec


def _merge(container: dict[str, Any], task: Container, name: ImageNamer) -> None:
    container["image"] = task.image if container.get("image") is None else name(container["image"])
    container["command"] = list(task.command)
    container.pop("args", None)
    if task.args is not None:
        container["args"] = list(task.args)
    if task.requests or task.limits:
        container["resources"] = {"limits": dict(task.limits), "requests": dict(task.requests)}
    env = [{"name": key, "value": value} for key, value in task.env.items()]
    container["env"] = [*env, *(container.get("env") or ())]


def _json_of(pod_spec: Any, name: ImageNamer) -> dict[str, Any]:
    """Return the JSON form of a pod, as a copy."""
    if isinstance(pod_spec, Mapping):
        return copy.deepcopy(dict(pod_spec))
    from kubernetes.client import ApiClient

    pod_spec = copy.copy(pod_spec)
    for field in ("containers", "init_containers"):
        # The client's JSON form knows no ImageSpec: it is named before.
        named = [_named(container, name) for container in getattr(pod_spec, field) or ()]
        if named:
            setattr(pod_spec, field, named)
    client: Any = ApiClient()
    found: dict[str, Any] = json.loads(json.dumps(client.sanitize_for_serialization(pod_spec)))
    return found


def _named(container: Any, name: ImageNamer) -> Any:
    if not isinstance(container.image, Declaration):
        return container
    container = copy.copy(container)
    container.image = name(container.image)
    return container
