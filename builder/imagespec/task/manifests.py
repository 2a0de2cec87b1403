"""Tasks as plain Kubernetes manifests, for clusters without Flyte: a Pod, or a Job around it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from imagespec.task.building import TaskImages
from imagespec.task.container_task import ContainerTask
from imagespec.task.pod import PodTemplate, _serialize_pod_spec
from imagespec.task.rendering import bound, rendered
from imagespec.task.security import Secret
from imagespec.task.settings import SerializationSettings

__all__ = ["job_manifest", "pod_manifest"]

_SECRETS: Final = "/etc/flyte/secrets"
_NAME_LIMIT: Final = 63


def pod_manifest(
    task: ContainerTask,
    settings: SerializationSettings,
    *,
    inputs: Mapping[str, Any] | None = None,
    images: TaskImages | None = None,
) -> dict[str, Any]:
    """Return the manifest of a Pod that runs the task once, with ``inputs`` in its command; images are built if absent.

    Folders for inputs and outputs are empty volumes: nobody fills them. Secrets are those of the cluster, by group and
    key. Raise SpecError for inputs that do not fit, ImageSpecError for an image.
    """
    images = images or TaskImages()
    template = task.pod_template or PodTemplate()
    spec = task.get_k8s_pod(settings, images=images)
    if spec is None:
        spec = _serialize_pod_spec(template, task.container(settings, images=images), settings)
    container = next(one for one in spec["containers"] if one["name"] == template.primary_container_name)
    values = bound(task.interface, inputs or {})
    for key in ("command", "args"):
        if container.get(key):
            container[key] = rendered(container[key], task.interface, values)
        else:
            container.pop(key, None)
    _mount_folders(task, spec, container)
    _give_secrets(task.secret_requests or (), spec, container)
    spec.setdefault("restartPolicy", "Never")
    if task.metadata and task.metadata.timeout_s:
        spec.setdefault("activeDeadlineSeconds", math.ceil(task.metadata.timeout_s))
    return {"apiVersion": "v1", "kind": "Pod", "metadata": _metadata(task), "spec": spec}


def job_manifest(
    task: ContainerTask,
    settings: SerializationSettings,
    *,
    inputs: Mapping[str, Any] | None = None,
    images: TaskImages | None = None,
) -> dict[str, Any]:
    """Return the manifest of a Job around the task's Pod, with as many retries as its metadata says; raise the same."""
    pod = pod_manifest(task, settings, inputs=inputs, images=images)
    template = {"metadata": {key: pod["metadata"][key] for key in ("labels", "annotations")}, "spec": pod["spec"]}
    retries = task.metadata.retries if task.metadata else 0
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": pod["metadata"],
        "spec": {"backoffLimit": retries, "template": template},
    }


def _metadata(task: ContainerTask) -> dict[str, Any]:
    template, metadata = task.pod_template or PodTemplate(), task.metadata
    return {
        "name": re.sub(r"[^a-z0-9]+", "-", task.name.lower())[:_NAME_LIMIT].strip("-"),
        "labels": {**(template.labels or {}), **((metadata.labels if metadata else None) or {})},
        "annotations": {**(template.annotations or {}), **((metadata.annotations if metadata else None) or {})},
    }


def _mount_folders(task: ContainerTask, spec: dict[str, Any], container: dict[str, Any]) -> None:
    for name, folder in (("inputs", task.input_data_dir), ("outputs", task.output_data_dir)):
        if folder:
            _mount(f"task-{name}", {"emptyDir": {}}, folder, spec, container)


def _mount(name: str, source: dict[str, Any], path: str, spec: dict[str, Any], container: dict[str, Any]) -> None:
    spec.setdefault("volumes", []).append({"name": name, **source})
    container.setdefault("volumeMounts", []).append({"name": name, "mountPath": path})


def _give_secrets(secrets: Sequence[Secret], spec: dict[str, Any], container: dict[str, Any]) -> None:
    files: dict[str, list[Secret]] = {}
    for secret in secrets:
        if secret.mount_requirement is Secret.MountType.FILE or secret.key is None:
            files.setdefault(str(secret.group), []).append(secret)
        else:
            # Without a name of its own the variable is called as Flyte calls it.
            variable = secret.env_var or f"_FSEC_{secret.group}_{secret.key}".upper().replace("-", "_")
            reference = {"secretKeyRef": {"name": secret.group, "key": secret.key}}
            container.setdefault("env", []).append({"name": variable, "valueFrom": reference})
    for index, (group, wanted) in enumerate(files.items()):
        folder = f"{_SECRETS}/{group}"
        source: dict[str, Any] = {"secretName": group}
        keys = [secret.key for secret in wanted]
        if None not in keys:  # the whole group was not asked for
            source["items"] = [{"key": key, "path": key} for key in dict.fromkeys(keys)]
        # One volume for a group: Kubernetes mounts nothing twice in one place.
        _mount(f"secret-{index}", {"secret": source}, folder, spec, container)
        for secret in wanted:
            if secret.env_var:
                value = f"{folder}/{secret.key}" if secret.key else folder
                container.setdefault("env", []).append({"name": secret.env_var, "value": value})
