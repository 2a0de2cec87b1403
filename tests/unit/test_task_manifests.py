"""Tasks as Kubernetes manifests, and the images of a pod, without a cluster, a registry or flytekit."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeAlias

import pytest
from kubernetes.client import ApiClient

from imagespec import ImageSpec
from imagespec.errors import SpecError
from imagespec.planner import spec_id
from imagespec.task import (
    ContainerTask,
    Image,
    ImageConfig,
    PodTemplate,
    Resources,
    Secret,
    SerializationSettings,
    TaskMetadata,
    job_manifest,
    pod_manifest,
    update_image_spec_copy_handling,
)
from imagespec.task.settings import FastSerializationSettings

Manifest: TypeAlias = Callable[..., dict[str, Any]]

SPEC = ImageSpec(name="side", registry="ghcr.io/team")
CONFIG = ImageConfig(images=[Image(spec_id(SPEC), "ghcr.io/team/side", "x1"), Image("other", "ghcr.io/other", "v2")])
SETTINGS = SerializationSettings(image_config=CONFIG, env={"A": "1"})


def test_a_job_holds_what_the_task_says() -> None:
    task = ContainerTask(
        "team.Count words",
        "alpine:3",
        ["wc", "-c", "{{.inputs.text}}"],
        inputs={"text": str},
        output_data_dir="/out",
        metadata=TaskMetadata(retries=2, timeout=90, labels={"team": "etl"}),
        requests=Resources(cpu=1),
        secret_requests=[
            Secret("db", "password"),
            Secret("tls", "key", mount_requirement=Secret.MountType.FILE, env_var="TLS"),
        ],
    )
    job = job_manifest(task, SETTINGS, inputs={"text": "a b"})
    assert (job["kind"], job["metadata"]["name"], job["metadata"]["labels"]) == (
        "Job",
        "team-count-words",
        {"team": "etl"},
    )
    assert job["spec"]["backoffLimit"] == 2
    spec = job["spec"]["template"]["spec"]
    assert (spec["restartPolicy"], spec["activeDeadlineSeconds"]) == ("Never", 90)
    (container,) = spec["containers"]
    assert container["command"] == ["wc", "-c", "a b"]
    assert container["resources"] == {"limits": {}, "requests": {"cpu": "1"}}
    assert container["env"] == [
        {"name": "A", "value": "1"},
        {"name": "_FSEC_DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
        {"name": "TLS", "value": "/etc/flyte/secrets/tls/key"},
    ]
    assert {volume["name"] for volume in spec["volumes"]} == {"task-outputs", "secret-0"}
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/out", "/etc/flyte/secrets/tls"}


def test_secrets_of_one_group_are_one_volume() -> None:
    file = Secret.MountType.FILE
    secrets = [
        Secret("tls", "key", mount_requirement=file, env_var="KEY"),
        Secret("tls", "crt", mount_requirement=file),
    ]
    for more, items in ([], [{"key": "key", "path": "key"}, {"key": "crt", "path": "crt"}]), ([Secret("tls")], None):
        task = ContainerTask("t", "alpine:3", ["true"], secret_requests=[*secrets, *more])
        spec = pod_manifest(task, SETTINGS)["spec"]
        (volume,), (container,) = spec["volumes"], spec["containers"]
        assert volume["secret"].get("items") == items
        assert container["volumeMounts"] == [{"name": "secret-0", "mountPath": "/etc/flyte/secrets/tls"}]
        assert {"name": "KEY", "value": "/etc/flyte/secrets/tls/key"} in container["env"]


@pytest.mark.parametrize("manifest", [pod_manifest, job_manifest])
def test_kubernetes_own_client_takes_the_manifest_and_gives_it_back(manifest: Manifest) -> None:
    """Its models refuse what lacks a required field, and lose what they do not know."""
    file = Secret.MountType.FILE
    template = PodTemplate(
        {"containers": [{"name": "side", "image": "a:1"}], "nodeSelector": {"a": "b"}}, labels={"a": "b"}
    )
    task = ContainerTask(
        "team.count",
        "alpine:3",
        ["wc", "{{.inputs.text}}"],
        inputs={"text": str},
        input_data_dir="/in",
        output_data_dir="/out",
        metadata=TaskMetadata(retries=2, timeout=90, annotations={"c": "d"}),
        requests=Resources(cpu=1, mem="1Gi"),
        limits=Resources(gpu=1),
        pod_template=template,
        secret_requests=[Secret("db", "password"), Secret("tls", mount_requirement=file, env_var="TLS")],
    )
    made = manifest(task, SETTINGS, inputs={"text": "a"})
    with ApiClient() as client:
        read = client.deserialize(SimpleNamespace(data=json.dumps(made)), f"V1{made['kind']}")
        assert client.sanitize_for_serialization(read) == made


def test_an_input_without_a_value_is_refused() -> None:
    task = ContainerTask("t", "alpine:3", ["echo", "{{.inputs.x}}"], inputs={"x": int})
    with pytest.raises(SpecError, match="'x' has no value"):
        pod_manifest(task, SETTINGS)


def test_every_image_of_a_pod_is_named_image_specs_and_placeholders_alike() -> None:
    containers = [{"name": "side", "image": SPEC}, {"name": "plain", "image": "{{.image.other}}"}]
    pod = {"containers": containers, "initContainers": [{"name": "first", "image": SPEC}]}
    task = ContainerTask("t", SPEC, ["true"], pod_template=PodTemplate(pod))
    spec = pod_manifest(task, SETTINGS)["spec"]
    named = {one["name"]: one["image"] for one in (*spec["containers"], *spec["initContainers"])}
    ours = "ghcr.io/team/side:x1"
    assert named == {"side": ours, "plain": "ghcr.io/other:v2", "primary": ours, "first": ours}
    assert containers[0]["image"] is SPEC, "the template is not touched"
    assert task.image_specs(SETTINGS) == (SPEC, SPEC, SPEC)


def test_code_goes_into_images_unless_it_is_sent_beside_them() -> None:
    baked = SerializationSettings(image_config=CONFIG, source_root="/src")
    fast = SerializationSettings(
        image_config=CONFIG, source_root="/src", fast_serialization_settings=FastSerializationSettings(enabled=True)
    )
    changed = update_image_spec_copy_handling(SPEC, baked)
    assert (changed.source_root, changed.source_copy_mode and changed.source_copy_mode.name) == (
        "/src",
        "LOADED_MODULES",
    )
    assert SPEC.source_root is None
    assert update_image_spec_copy_handling(SPEC, fast) is SPEC
    never = ImageSpec(source_copy_mode="NO_COPY")
    assert update_image_spec_copy_handling(never, baked) is never
