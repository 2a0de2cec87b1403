"""A task that runs one container: declared like flytekit's, serialized without it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any, ClassVar

from imagespec.errors import SpecError
from imagespec.planner import spec_id
from imagespec.spec import Declaration
from imagespec.task.building import TaskImages
from imagespec.task.images import get_registerable_container_image, update_image_spec_copy_handling
from imagespec.task.interface import Interface
from imagespec.task.metadata import TaskMetadata
from imagespec.task.pod import (
    Container,
    DataLoading,
    PodTemplate,
    _get_container_definition,
    _serialize_pod_spec,
)
from imagespec.task.resources import Resources, ResourceSpec
from imagespec.task.security import Secret, SecurityContext
from imagespec.task.settings import SerializationSettings

__all__ = ["ContainerTask"]


class _MetadataFormat(Enum):
    """How inputs are described to the container."""

    JSON = "JSON"
    YAML = "YAML"
    PROTO = "PROTO"


class _IOStrategy(Enum):
    """When inputs are fetched, or outputs are stored; flytekit's names."""

    DOWNLOAD_EAGER = "DOWNLOAD_EAGER"
    DOWNLOAD_STREAM = "DOWNLOAD_STREAM"
    DO_NOT_DOWNLOAD = "DO_NOT_DOWNLOAD"
    UPLOAD_EAGER = "UPLOAD_EAGER"
    UPLOAD_ON_EXIT = "UPLOAD_ON_EXIT"
    DO_NOT_UPLOAD = "DO_NOT_UPLOAD"


@dataclass(frozen=True, slots=True)
class ContainerTask:
    """A container with inputs and outputs. ``image`` is a name, a placeholder or an ImageSpec.

    ``command`` and ``arguments`` may say ``{{.inputs.NAME}}``. ``io_strategy`` is one of its members, or one for the
    download and one for the upload. ``module`` is the Python file that makes the task: what LOADED_MODULES copies
    starts from it. Raise SpecError for parameters that exclude each other.
    """

    name: str
    image: str | Declaration
    command: Sequence[str]
    inputs: Mapping[str, Any] | None = None
    metadata: TaskMetadata | None = None
    arguments: Sequence[str] | None = None
    outputs: Mapping[str, Any] | None = None
    requests: Resources | None = None
    limits: Resources | None = None
    input_data_dir: str | None = None
    output_data_dir: str | None = None
    metadata_format: _MetadataFormat = _MetadataFormat.JSON
    io_strategy: _IOStrategy | Sequence[_IOStrategy] | None = None
    secret_requests: Sequence[Secret] | None = None
    pod_template: PodTemplate | None = None
    pod_template_name: str | None = None
    local_logs: bool = False
    resources: Resources | None = None
    environment: Mapping[str, str] | None = None
    module: str = field(default="", kw_only=True)

    MetadataFormat: ClassVar[type[_MetadataFormat]] = _MetadataFormat
    IOStrategy: ClassVar[type[_IOStrategy]] = _IOStrategy
    task_type: ClassVar[str] = "raw-container"
    task_type_version: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if self.resources is not None and (self.requests is not None or self.limits is not None):
            raise SpecError(
                "resources: cannot be used together with requests or limits",
                path="resources",
                hint="a pair in resources is (request, limit)",
            )
        for index, secret in enumerate(self.secret_requests or ()):
            if not isinstance(secret, Secret):
                raise SpecError(
                    f"secret_requests[{index}]: is a {type(secret).__name__}, not a Secret", path="secret_requests"
                )
        if isinstance(self.image, Declaration) and self.image.runtime_packages:
            raise SpecError(
                "image: its runtime_packages are installed by pyflyte's command, which a container task does not run",
                path="image",
                hint="put them into packages",
            )
        metadata = dataclasses.replace(self.metadata or TaskMetadata(), pod_template_name=self.pod_template_name)
        object.__setattr__(self, "metadata", metadata)
        if not self.module:
            object.__setattr__(self, "module", _caller())
        Interface(self.inputs, self.outputs)

    @property
    def interface(self) -> Interface:
        """Inputs and outputs."""
        return Interface(self.inputs, self.outputs)

    @property
    def python_interface(self) -> Interface:
        """The same, under flytekit's name."""
        return self.interface

    @property
    def security_context(self) -> SecurityContext | None:
        """The secrets that are asked for, None without."""
        return SecurityContext(secrets=self.secret_requests) if self.secret_requests else None

    @property
    def resource_spec(self) -> ResourceSpec:
        """Requests and limits, however they were declared."""
        if self.resources is not None:
            return ResourceSpec.from_multiple_resource(self.resources)
        return ResourceSpec(requests=self.requests or Resources(), limits=self.limits or Resources())

    def get_input_types(self) -> dict[str, Any]:
        """Return the inputs' types by name."""
        return self.interface.inputs

    def get_type_for_input_var(self, k: str, v: Any) -> Any:
        """Return the type of the input ``k``, whatever its value ``v``; raise KeyError for a name that is none."""
        return self.interface.inputs[k]

    def get_type_for_output_var(self, k: str, v: Any) -> Any:
        """Return the type of the output ``k``, whatever its value ``v``; raise KeyError for a name that is none."""
        return self.interface.outputs[k]

    def get_config(self, settings: SerializationSettings) -> dict[str, str]:
        """Return the task's configuration: the primary container of its pod, nothing without one."""
        return {} if self.pod_template is None else {"primary_container_name": self.pod_template.primary_container_name}

    def get_container(self, settings: SerializationSettings, *, images: TaskImages | None = None) -> Container | None:
        """Return the container, None for a task with a pod template; its image is built if absent."""
        return None if self.pod_template is not None else self.container(settings, images=images)

    def get_k8s_pod(
        self, settings: SerializationSettings, *, images: TaskImages | None = None
    ) -> dict[str, Any] | None:
        """Return the JSON form of the pod, None for a task without a pod template; its images are built if absent."""
        if self.pod_template is None:
            return None
        images = images or TaskImages()
        container = self.container(settings, images=images)
        name = partial(self._name, settings=settings, images=images)
        return _serialize_pod_spec(self.pod_template, container, settings, name_image=name)

    def container(self, settings: SerializationSettings, *, images: TaskImages | None = None) -> Container:
        """Return the task's own container, whether or not a pod is around it."""
        return _get_container_definition(
            image=self._name(self.image, settings, images or TaskImages()),
            resource_spec=self.resource_spec,
            command=self.command,
            args=self.arguments,
            data_loading_config=self.data_loading,
            environment={**(settings.env or {}), **(self.environment or {})},
        )

    @property
    def data_loading(self) -> DataLoading:
        """How inputs come in and outputs go out."""
        strategy = self.io_strategy
        chosen = (strategy,) if isinstance(strategy, _IOStrategy) else tuple(strategy or ())
        modes = {("upload" if "UPLOAD" in one.value else "download"): one.value for one in chosen}
        return DataLoading(
            input_path=self.input_data_dir,
            output_path=self.output_data_dir,
            format=self.metadata_format.value,
            download_mode=modes.get("download", ""),
            upload_mode=modes.get("upload", ""),
        )

    def image_specs(self, settings: SerializationSettings) -> tuple[Declaration, ...]:
        """Return every ImageSpec of the task and its pod, with the code that this serialization puts into them."""
        containers: list[Any] = []
        if self.pod_template is not None:
            spec = self.pod_template.pod_spec
            read = spec.get if isinstance(spec, Mapping) else partial(getattr, spec)
            names = ("containers", "initContainers" if isinstance(spec, Mapping) else "init_containers")
            containers = [one for name in names for one in read(name, None) or ()]
        found = [one.get("image") if isinstance(one, Mapping) else one.image for one in containers]
        specs = (one for one in (self.image, *found) if isinstance(one, Declaration))
        return tuple(update_image_spec_copy_handling(one, settings) for one in specs)

    def _name(self, image: str | Declaration | None, settings: SerializationSettings, images: TaskImages) -> str:
        if isinstance(image, Declaration) and settings.image_config.find_image(spec_id(image)) is None:
            image = update_image_spec_copy_handling(image, settings)
        return get_registerable_container_image(image, settings.image_config, images=images, module=self.module)


def _caller() -> str:
    """Return the Python file that makes the task, "" outside of one (a notebook)."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(("imagespec.", "dataclasses")):
        frame = frame.f_back
    file = frame.f_code.co_filename
    return file if file.endswith(".py") else ""
