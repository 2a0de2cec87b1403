"""Tasks to Flyte's own protobufs (package ``flyteidl``, an extra), equal to what flytekit makes of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from imagespec.errors import SettingsError
from imagespec.identity import Target
from imagespec.task.building import TaskImages
from imagespec.task.container_task import ContainerTask
from imagespec.task.metadata import TaskMetadata
from imagespec.task.settings import SerializationSettings
from imagespec.task.types import literal_type

__all__ = ["serialize", "serialize_all"]


def serialize(task: ContainerTask, settings: SerializationSettings, *, images: TaskImages | None = None) -> Any:
    """Return the ``flyteidl.core.tasks_pb2.TaskTemplate``; images that are absent are built.

    Raise SpecError for what cannot be serialized, SettingsError without ``flyteidl``, ImageSpecError for an image.
    """
    tasks_pb2 = _flyteidl()
    from flyteidl.core import identifier_pb2

    images = images or TaskImages()
    container = task.get_container(settings, images=images)
    context = task.security_context
    metadata = task.metadata or TaskMetadata()
    return tasks_pb2.TaskTemplate(
        id=identifier_pb2.Identifier(
            resource_type=identifier_pb2.TASK,
            project=settings.project,
            domain=settings.domain,
            name=task.name,
            version=settings.version,
        ),
        type=task.task_type,
        metadata=metadata.to_taskmetadata_model(),
        interface=_typed_interface(task),
        container=container.to_flyte_idl() if container else None,
        k8s_pod=_pod(task, settings, images),
        task_type_version=task.task_type_version,
        security_context=context.to_flyte_idl() if context else None,
        config=task.get_config(settings),
    )


def serialize_all(tasks: Sequence[ContainerTask], settings: SerializationSettings) -> tuple[Any, ...]:
    """Return the templates of all tasks; their images are looked up together, and built several at a time."""
    images = TaskImages()
    wanted = [
        Target(declaration=spec, modules=(task.module,) if task.module else ())
        for task in tasks
        for spec in task.image_specs(settings)
    ]
    images.make_sure(wanted)
    return tuple(serialize(task, settings, images=images) for task in tasks)


def _flyteidl() -> Any:
    try:
        from flyteidl.core import tasks_pb2
    except ImportError as error:
        raise SettingsError(
            "serialize: flyteidl is not installed", variable="flyteidl", hint="pip install 'imagespec-builder[idl]'"
        ) from error
    return tasks_pb2


def _typed_interface(task: ContainerTask) -> Any:
    from flyteidl.core import interface_pb2

    interface = task.interface
    return interface_pb2.TypedInterface(
        inputs=interface_pb2.VariableMap(variables=_variables(interface.inputs)),
        outputs=interface_pb2.VariableMap(variables=_variables(interface.outputs)),
    )


def _variables(types: Mapping[str, Any]) -> dict[str, Any]:
    from flyteidl.core import interface_pb2

    return {name: interface_pb2.Variable(type=literal_type(kind), description=name) for name, kind in types.items()}


def _pod(task: ContainerTask, settings: SerializationSettings, images: TaskImages) -> Any:
    from flyteidl.core import tasks_pb2
    from google.protobuf import json_format, struct_pb2

    spec, template = task.get_k8s_pod(settings, images=images), task.pod_template
    if spec is None or template is None:
        return None
    return tasks_pb2.K8sPod(
        metadata=tasks_pb2.K8sObjectMetadata(labels=template.labels, annotations=template.annotations),
        pod_spec=json_format.Parse(json.dumps(spec), struct_pb2.Struct()),
        data_config=task.data_loading.to_flyte_idl(),
    )
