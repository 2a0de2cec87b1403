"""Every task that flytekit and we serialize from the same parameters is the same protobuf."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import typing
from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import flytekit
import pytest
from flyteidl.core import tasks_pb2
from flytekit.core.pod_template import PodTemplate
from flytekit.models.security import Secret
from flytekit.tools.translator import get_serializable
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile
from kubernetes.client import V1Container, V1EnvVar, V1PodSpec, V1ResourceRequirements, V1Toleration

from imagespec import task as ours

THEIRS = SimpleNamespace(
    ContainerTask=flytekit.ContainerTask,
    TaskMetadata=flytekit.TaskMetadata,
    Resources=flytekit.Resources,
    Secret=Secret,
    PodTemplate=PodTemplate,
    File=FlyteFile,
    Directory=FlyteDirectory,
)
OURS = SimpleNamespace(**{name: getattr(ours, name) for name in vars(THEIRS)})
DIGEST = "sha256:" + "5" * 64


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


def pod(*containers: V1Container, **fields: Any) -> V1PodSpec:
    return V1PodSpec(containers=list(containers), **fields)


CASES: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "plain": lambda of: {},
    "another name": lambda of: {"name": "project.tasks.copy"},
    "no command": lambda of: {"command": []},
    "command with blanks": lambda of: {"command": ["sh", "-c", "echo 'a b' > /out/x"]},
    "arguments": lambda of: {"arguments": ["-v", "{{.inputs.x}}"], "inputs": {"x": int}},
    "no arguments": lambda of: {"arguments": []},
    "simple inputs": lambda of: {"inputs": {"a": int, "b": float, "c": bool, "d": str}},
    "times": lambda of: {
        "inputs": {"a": datetime.datetime, "b": datetime.timedelta, "c": datetime.date},
        "outputs": {"t": datetime.timedelta},
    },
    "files and folders": lambda of: {
        "inputs": {"f": of.File, "d": of.Directory},
        "outputs": {"g": of.Directory, "h": of.File},
        "input_data_dir": "/var/inputs",
        "output_data_dir": "/var/outputs",
    },
    "lists and dicts": lambda of: {
        "inputs": {"a": list[int], "b": dict[str, list[float]]},
        "outputs": {"o": list[str]},
    },
    "unions": lambda of: {
        "inputs": {"a": typing.Optional[int], "b": typing.Union[float, bool, str]},  # noqa: UP007, UP045
        "outputs": {"o": typing.Optional[list[int]]},  # noqa: UP045
    },
    "a union of dicts and times": lambda of: {
        "inputs": {"a": typing.Union[dict[str, int], datetime.datetime, datetime.timedelta, None]}  # noqa: UP007
    },
    "enumerations": lambda of: {"inputs": {"c": Colour}, "outputs": {"c": Colour}},
    "annotated": lambda of: {"inputs": {"a": typing.Annotated[int, "unit"]}},
    "data folders": lambda of: {"input_data_dir": "/in", "output_data_dir": "/out"},
    "yaml": lambda of: {"metadata_format": of.ContainerTask.MetadataFormat.YAML},
    "proto": lambda of: {"metadata_format": of.ContainerTask.MetadataFormat.PROTO, "input_data_dir": "/in"},
    "requests": lambda of: {"requests": of.Resources(cpu="1", mem="2Gi")},
    "limits": lambda of: {"limits": of.Resources(cpu="2", gpu="1", ephemeral_storage="5Gi")},
    "requests and limits": lambda of: {
        "requests": of.Resources(cpu="500m", gpu="1", ephemeral_storage="1Gi"),
        "limits": of.Resources(mem="1Gi"),
    },
    "resources": lambda of: {"resources": of.Resources(cpu=("1", "2"), mem="512Mi")},
    "resources as lists": lambda of: {"resources": of.Resources(gpu=["1", "2"], mem=["1Gi", "2Gi"])},
    "a secret": lambda of: {"secret_requests": [of.Secret(group="db", key="password")]},
    "secrets": lambda of: {
        "secret_requests": [
            of.Secret(group="a", key="k", group_version="2", mount_requirement=of.Secret.MountType.FILE),
            of.Secret(group="b", mount_requirement=of.Secret.MountType.ENV_VAR, env_var="TOKEN"),
        ]
    },
    "cached": lambda of: {
        "metadata": of.TaskMetadata(
            cache=True, cache_version="7", cache_serialize=True, cache_ignore_input_vars=("a",), retries=3
        ),
        "inputs": {"a": int},
    },
    "timed": lambda of: {"metadata": of.TaskMetadata(timeout=90, interruptible=True, deprecated="use the other")},
    "labelled": lambda of: {
        "metadata": of.TaskMetadata(
            timeout=datetime.timedelta(minutes=2, milliseconds=5),
            interruptible=False,
            labels={"team": "etl"},
            annotations={"a": "b"},
        )
    },
    "pod template by name": lambda of: {"pod_template_name": "spot"},
    "pod template by name, metadata too": lambda of: {
        "pod_template_name": "gpu",
        "metadata": of.TaskMetadata(retries=1, generates_deck=True, is_eager=True),
    },
    "environment": lambda of: {"environment": {"A": "1", "K": "mine"}},
    "environment, no more": lambda of: {"environment": {"WITH SPACE": 'a "b" $c'}},
    "local logs": lambda of: {"local_logs": True},
    "local logs off": lambda of: {"local_logs": False, "name": "quiet"},
    "default image": lambda of: {"image": "{{.image.default}}"},
    "image by parts": lambda of: {"image": "{{.image.default.fqn}}:{{.image.default.version}}"},
    "image by another name": lambda of: {"image": "{{ .images.Other-1.fqn }}:{{.image.Other-1.version}}"},
    "image by digest": lambda of: {"image": "{{.image.pinned.fqn}}:{{.image.pinned.version}}"},
    "image whole, by digest": lambda of: {"image": "{{.image.pinned}}"},
    "image of two": lambda of: {"image": "{{.image.default.fqn}}-x:{{.image.Other-1.version}}"},
    "no image": lambda of: {"image": ""},
    "empty pod template": lambda of: {"pod_template": of.PodTemplate()},
    "pod template with labels": lambda of: {
        "pod_template": of.PodTemplate(labels={"a": "b"}, annotations={"c": "d"}, primary_container_name="main"),
        "environment": {"E": "1"},
    },
    "pod with a primary container": lambda of: {
        "pod_template": of.PodTemplate(
            pod_spec=pod(
                V1Container(name="main", image="its/own:1", env=[V1EnvVar(name="T", value="1")], args=["gone"]),
                tolerations=[V1Toleration(key="gpu", operator="Exists")],
            ),
            primary_container_name="main",
        ),
        "arguments": ["x"],
        "requests": of.Resources(cpu="1"),
    },
    "pod that keeps its resources": lambda of: {
        "pod_template": of.PodTemplate(
            pod_spec=pod(
                V1Container(name="primary", resources=V1ResourceRequirements(limits={"cpu": "9"}), command=["gone"])
            )
        ),
    },
    "pod with several images": lambda of: {
        "pod_template": of.PodTemplate(
            pod_spec=pod(
                V1Container(name="side", image="{{.image.Other-1}}", command=["x"]),
                V1Container(name="bare"),
                service_account_name="me",
            )
        ),
        "resources": of.Resources(cpu=("1", "2"), ephemeral_storage="1Gi"),
        "inputs": {"x": int},
        "input_data_dir": "/in",
    },
}

IMAGES = {"Other-1": "ghcr.io/team/other:v2", "pinned": f"ghcr.io/team/pinned@{DIGEST}"}


def settings(of: Any, **changes: Any) -> Any:
    module = flytekit.configuration if of is THEIRS else ours
    config = module.ImageConfig.from_images("localhost:5000/team/default:v1", IMAGES)
    given = {"project": "p", "domain": "d", "version": "v", "env": {"K": "V"}, **changes}
    return module.SerializationSettings(image_config=config, **given)


def parameters(of: Any, case: str) -> dict[str, Any]:
    return {"name": "task", "image": "alpine:3", "command": ["echo"], **CASES[case](of)}


def theirs_serialized(case: str, **changes: Any) -> Any:
    made = THEIRS.ContainerTask(**parameters(THEIRS, case))
    return get_serializable(OrderedDict(), settings(THEIRS, **changes), made).template.to_flyte_idl()


@pytest.mark.parametrize("case", CASES)
def test_the_same_protobuf(case: str) -> None:
    task = OURS.ContainerTask(**parameters(OURS, case))
    assert ours.serialize(task, settings(OURS)) == theirs_serialized(case)


@pytest.mark.parametrize("case", ["plain", "pod with several images", "environment"])
@pytest.mark.parametrize("changes", [{"env": None}, {"project": None, "version": None}], ids=["no env", "no project"])
def test_the_same_protobuf_under_other_settings(case: str, changes: dict[str, Any]) -> None:
    task = OURS.ContainerTask(**parameters(OURS, case))
    assert ours.serialize(task, settings(OURS, **changes)) == theirs_serialized(case, **changes)


@pytest.mark.parametrize("download", [None, "DOWNLOAD_EAGER", "DOWNLOAD_STREAM", "DO_NOT_DOWNLOAD"])
@pytest.mark.parametrize("upload", [None, "UPLOAD_EAGER", "UPLOAD_ON_EXIT", "DO_NOT_UPLOAD"])
def test_the_io_strategy_is_what_flytekits_model_of_it_says(download: str | None, upload: str | None) -> None:
    """Its ContainerTask puts a number where the model belongs, and cannot be serialized: the model is asked itself."""
    members = [ours.ContainerTask.IOStrategy[one] for one in (download, upload) if one]
    strategy = members[0] if len(members) == 1 else members or None
    task = OURS.ContainerTask(**parameters(OURS, "data folders"), io_strategy=strategy)
    model = flytekit.models.task.IOStrategy(
        download_mode=tasks_pb2.IOStrategy.DownloadMode.Value(download or "DOWNLOAD_EAGER"),
        upload_mode=tasks_pb2.IOStrategy.UploadMode.Value(upload or "UPLOAD_ON_EXIT"),
    )
    wanted = theirs_serialized("data folders")
    if members:
        wanted.container.data_config.io_strategy.CopyFrom(model.to_flyte_idl())
    assert ours.serialize(task, settings(OURS)) == wanted


def test_every_parameter_is_tried_at_least_twice() -> None:
    counts: dict[str, int] = {}
    for case in CASES:
        for name in parameters(OURS, case):
            counts[name] = counts.get(name, 0) + 1
    given = {field.name for field in dataclasses.fields(ours.ContainerTask)} - {"io_strategy", "module"}
    assert {name for name in given if counts.get(name, 0) < 2} == set()
    assert len(CASES) >= 30


def test_a_difference_is_seen() -> None:
    task = OURS.ContainerTask(**{**parameters(OURS, "plain"), "command": ["other"]})
    assert ours.serialize(task, settings(OURS)) != theirs_serialized("plain")
