"""Container tasks without flytekit: its names, Flyte's protobufs or Kubernetes' manifests, and runs on a local engine.

from imagespec.task import ContainerTask, ImageConfig, SerializationSettings, serialize
"""

from __future__ import annotations

from imagespec.task.building import TaskImages
from imagespec.task.container_task import ContainerTask
from imagespec.task.images import get_registerable_container_image, update_image_spec_copy_handling
from imagespec.task.interface import Directory, File, Interface
from imagespec.task.local import run_locally
from imagespec.task.manifests import job_manifest, pod_manifest
from imagespec.task.metadata import TaskMetadata
from imagespec.task.pod import Container, PodTemplate, _get_container_definition, _serialize_pod_spec
from imagespec.task.resources import Resources, ResourceSpec
from imagespec.task.security import Identity, OAuth2Client, OAuth2TokenRequest, Secret, SecurityContext
from imagespec.task.serialization import serialize, serialize_all
from imagespec.task.settings import (
    EntrypointSettings,
    FastSerializationSettings,
    Image,
    ImageConfig,
    SerializationSettings,
)

__all__ = [
    "Container",
    "ContainerTask",
    "Directory",
    "EntrypointSettings",
    "FastSerializationSettings",
    "File",
    "Identity",
    "Image",
    "ImageConfig",
    "Interface",
    "OAuth2Client",
    "OAuth2TokenRequest",
    "PodTemplate",
    "ResourceSpec",
    "Resources",
    "Secret",
    "SecurityContext",
    "SerializationSettings",
    "TaskImages",
    "TaskMetadata",
    "_get_container_definition",
    "_serialize_pod_spec",
    "get_registerable_container_image",
    "job_manifest",
    "pod_manifest",
    "run_locally",
    "serialize",
    "serialize_all",
    "update_image_spec_copy_handling",
]
