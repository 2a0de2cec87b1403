"""Our serialization values do what flytekit's do: the same expression, on both, with the same answer."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import flytekit
import pytest
from flytekit.configuration import (
    FastSerializationSettings,
    Image,
    ImageConfig,
    SerializationSettings,
)
from flytekit.core.interface import Interface
from flytekit.core.python_auto_container import get_registerable_container_image
from flytekit.core.resources import ResourceSpec
from flytekit.core.utils import _get_container_definition
from flytekit.models.security import Identity, Secret, SecurityContext

from imagespec import ImageSpec
from imagespec import task as ours
from imagespec.errors import SpecError
from imagespec.spec import FIELD_NAMES

THEIRS = SimpleNamespace(
    Resources=flytekit.Resources,
    ResourceSpec=ResourceSpec,
    TaskMetadata=flytekit.TaskMetadata,
    Image=Image,
    ImageConfig=ImageConfig,
    SerializationSettings=SerializationSettings,
    FastSerializationSettings=FastSerializationSettings,
    Secret=Secret,
    SecurityContext=SecurityContext,
    Identity=Identity,
    Interface=Interface,
    ImageSpec=flytekit.ImageSpec,
    ContainerTask=flytekit.ContainerTask,
    get_registerable_container_image=get_registerable_container_image,
    _get_container_definition=_get_container_definition,
)
OURS = SimpleNamespace(
    **{name: getattr(ours, name) for name in vars(THEIRS) if name != "ImageSpec"}, ImageSpec=ImageSpec
)
DIGEST = "sha256:" + "a" * 64


def config(of: Any) -> Any:
    return of.ImageConfig.from_images("ghcr.io/a/b:c", {"x": "localhost:5000/d/e:f", "y": f"g/h@{DIGEST}"})


def settings(of: Any, **fields: Any) -> Any:
    given: dict[str, Any] = {"project": "p", "env": {"A": "1"}, "python_interpreter": "/my/venv/bin/python3", **fields}
    return of.SerializationSettings(image_config=config(of), **given)


def full_settings(of: Any) -> Any:
    return settings(
        of,
        default_resources=of.ResourceSpec(requests=of.Resources(cpu="1"), limits=of.Resources()),
        fast_serialization_settings=of.FastSerializationSettings(enabled=True, destination_dir="/root"),
        source_root="/src",
        git_repo="g",
        domain="d",
        version="v",
    )


def idl(value: Any) -> Any:
    """Return the protobuf of a value; of flytekit's models, too."""
    return value.to_flyte_idl() if hasattr(value, "to_flyte_idl") else value


def secret(of: Any, **fields: Any) -> Any:
    return of.Secret(group="g", **fields)


def image_spec(of: Any) -> Any:
    return of.ImageSpec(name="Spec", packages=["a", "b"], registry="r.test/x", builder="noop", env={"A": "1"})


def declared(spec: Any) -> dict[str, Any]:
    """Return the fields that are set; flytekit fills in the platform and the builder, and names a mode by its own."""
    values = {name: getattr(spec, name) for name in FIELD_NAMES if name not in ("platform", "builder")}
    lists = {name: list(value) if isinstance(value, (list, tuple)) else value for name, value in values.items()}
    return {name: dict(value) if hasattr(value, "items") else value for name, value in lists.items()}


def container_task(of: Any, **fields: Any) -> Any:
    given = {"inputs": {"a": int}, "outputs": {"o": str}, "environment": {"E": "1"}, **fields}
    return of.ContainerTask("name", "alpine:3", ["echo", "{{.inputs.a}}"], **given)


def resources_of(task: Any) -> Any:
    return task.resource_spec if hasattr(task, "resource_spec") else task.resources


QUESTIONS: dict[str, Callable[[Any], Any]] = {
    "resources to dict": lambda of: of.Resources(cpu=("1", "2"), mem=1024, gpu=[1, 2]).to_dict(),
    "resources to json": lambda of: of.Resources(cpu=0.5, ephemeral_storage="1Gi").to_json(),
    "resources from dict": lambda of: of.Resources.from_dict({"cpu": ["1", 2], "mem": 5, "other": 1}).to_dict(),
    "resources from json": lambda of: of.Resources.from_json('{"gpu": "1"}').to_dict(),
    "spec of several": lambda of: of.ResourceSpec.from_multiple_resource(
        of.Resources(cpu=("1", 2), mem="1Gi", gpu=["1", "3"])
    ).to_json(),
    "spec there and back": lambda of: of.ResourceSpec.from_json(
        of.ResourceSpec(requests=of.Resources(cpu="1"), limits=of.Resources(mem=1)).to_json()
    ).to_dict(),
    "spec from dict": lambda of: of.ResourceSpec.from_dict({"requests": {"cpu": 1}, "limits": {}}).to_dict(),
    "image full": lambda of: [config(of).find_image(name).full for name in ("default", "x", "y")],
    "image version": lambda of: [config(of).find_image(name).version for name in ("default", "x", "y")],
    "image unknown": lambda of: config(of).find_image("z"),
    "image with a port and no tag": lambda of: of.Image.look_up_image_info("n", "host:5000/a/b", True).to_dict(),
    "image with a digest": lambda of: of.Image.look_up_image_info("n", f"host:5000/a/b@{DIGEST}").to_dict(),
    "config to json": lambda of: config(of).to_json(),
    "config from json": lambda of: of.ImageConfig.from_json(config(of).to_json()).to_dict(),
    "config of nothing": lambda of: of.ImageConfig().to_json(),
    "config of the command line": lambda of: of.ImageConfig.validate_image(
        None, "image", ("a/b:c", "x=d/e:f")
    ).to_dict(),
    "settings to json": lambda of: full_settings(of).to_json(),
    "settings to dict": lambda of: settings(of).to_dict(),
    "settings from dict": lambda of: of.SerializationSettings.from_dict(full_settings(of).to_dict()).to_json(),
    "settings from a little": lambda of: of.SerializationSettings.from_dict({"image_config": {}, "other": 1}).to_json(),
    "settings from a dict with gaps": lambda of: of.SerializationSettings.from_dict(
        {"project": "p"}, infer_missing=True
    ).to_json(),
    "settings from json, read otherwise": lambda of: (
        of.SerializationSettings.from_json('{"image_config": {}, "version": 1.50}', parse_float=str).version
    ),
    "settings as indented json": lambda of: settings(of).to_json(indent=1, sort_keys=True),
    "settings in transport": lambda of: full_settings(of).serialized_context,
    "settings from transport": lambda of: of.SerializationSettings.from_transport(
        full_settings(of).serialized_context
    ).to_json(),
    "settings with context": lambda of: settings(of).with_serialized_context().to_json(),
    "settings with context twice": lambda of: settings(of).with_serialized_context().with_serialized_context().env,
    "settings with context without env": lambda of: settings(of, env=None).with_serialized_context().env,
    "settings for an image": lambda of: of.SerializationSettings.for_image("a/b:c", "v", "p", "d").to_json(),
    "settings rebuilt": lambda of: (
        settings(of)
        .new_builder()
        .with_fast_serialization_settings(of.FastSerializationSettings(enabled=True))
        .build()
        .to_json()
    ),
    "fast or not": lambda of: [one.should_fast_serialize() for one in (settings(of), full_settings(of))],
    "venv": lambda of: of.SerializationSettings.venv_root_from_interpreter("/opt/venv/bin/python3"),
    "venv of the settings": lambda of: settings(of).flytekit_virtualenv_root,
    "entry point": lambda of: settings(of).entrypoint_settings.path,
    "entry point of another": lambda of: of.SerializationSettings.default_entrypoint_settings("/a/bin/python").path,
    "secret": lambda of: secret(of, key="k", env_var="A").to_flyte_idl(),
    "secret, its bytes": lambda of: secret(of, mount_requirement=of.Secret.MountType.FILE).serialize_to_string(),
    "secret, shown": lambda of: secret(of, key="k", group_version="3").short_string(),
    "secret from a protobuf": lambda of: of.Secret.from_flyte_idl(secret(of, key="k").to_flyte_idl()).to_flyte_idl(),
    "secret is not empty": lambda of: secret(of).is_empty,
    "context": lambda of: of.SecurityContext(secrets=[secret(of)]).to_flyte_idl(),
    "context of one": lambda of: of.SecurityContext(secrets=secret(of)).to_flyte_idl(),
    "context of nothing": lambda of: of.SecurityContext().to_flyte_idl(),
    "context, shown": lambda of: of.SecurityContext(secrets=[secret(of)]).short_string(),
    "context from a protobuf": lambda of: of.SecurityContext.from_flyte_idl(
        of.SecurityContext(
            secrets=[secret(of)], run_as=of.Identity(iam_role="r", k8s_service_account="s")
        ).to_flyte_idl()
    ).to_flyte_idl(),
    "metadata": lambda of: idl(of.TaskMetadata(retries=2, timeout=5, labels={"a": "b"}).to_taskmetadata_model()),
    "metadata, cached": lambda of: idl(
        of.TaskMetadata(cache=True, cache_version="1", timeout=datetime.timedelta(days=1)).to_taskmetadata_model()
    ),
    "retries": lambda of: idl(of.TaskMetadata(retries=4).retry_strategy),
    "interface": lambda of: str(of.Interface({"a": int, "b": (str, "x")}, {"o": int})),
    "interface, its parts": lambda of: [
        (i.inputs, i.outputs, i.output_names, i.inputs_with_defaults, i.default_inputs_as_kwargs, i.output_tuple_name)
        for i in (of.Interface({"a": int, "b": (str, "x")}, {"o": int, "p": str}, "Named"), of.Interface())
    ],
    "interface, its tuple": lambda of: of.Interface({}, {"o": int, "p": str}, "Named").output_tuple(1, "x")._asdict(),
    "interface with more": lambda of: str(
        of.Interface({"a": int}, {"o": int}).with_inputs({"b": (float, 1.0)}).with_outputs({"p": str})
    ),
    "interface with less": lambda of: str(of.Interface({"a": int, "b": str}, {"o": int}).remove_inputs(["a", "zz"])),
    "interface as it was": lambda of: [
        changed is interface
        for interface in [of.Interface({"a": int})]
        for changed in (interface.with_inputs({}), interface.with_outputs({}), interface.remove_inputs(None))
    ],
    "registered image": lambda of: [
        of.get_registerable_container_image(text, config(of))
        for text in (
            None,
            "",
            "a/b:c",
            "{{.image.x}}",
            "{{ .image.y.fqn }}:{{.images.y.version}}",
            "{{.IMAGE.x.fqn}}:1",
        )
    ],
    "image spec with more": lambda of: declared(
        image_spec(of).with_packages("c").with_packages(["d"]).with_apt_packages("git").with_commands(["x", "y"])
    ),
    "image spec with files and options": lambda of: declared(
        image_spec(of).with_copy("a.txt").with_copy(["b"]).with_runtime_packages(["r"]).with_builder_options({"k": 1})
    ),
    "image spec as it was": lambda of: [
        declared(spec) for spec in [image_spec(of)] for _ in (spec.with_packages("c"), spec.force_push())
    ],
    "image spec of this environment": lambda of: declared(
        of.ImageSpec.from_env(pinned_packages=["click"], packages=["a"], name="E")
    ),
    "image spec, inside or not": lambda of: image_spec(of).is_container(),
    "image spec, its name": lambda of: image_spec(of).image_name().rpartition(":")[0],
    "task's types": lambda of: [
        (
            task.name,
            task.get_input_types(),
            task.get_type_for_input_var("a", 1),
            task.get_type_for_output_var("o", None),
            task.get_config(settings(of)),
            task.task_type,
            task.task_type_version,
            task.environment,
            str(task.python_interface),
        )
        for task in [container_task(of)]
    ],
    "task's container": lambda of: idl(container_task(of).get_container(settings(of))),
    "task's pod": lambda of: container_task(of).get_k8s_pod(settings(of)),
    "task's resources": lambda of: resources_of(container_task(of, requests=of.Resources(cpu="1"))).to_json(),
    "task's secrets": lambda of: container_task(of, secret_requests=[secret(of)]).security_context.to_flyte_idl(),
    "task without secrets": lambda of: container_task(of).security_context,
    "container": lambda of: of._get_container_definition(
        image="i",
        resource_spec=of.ResourceSpec(requests=of.Resources(cpu="1", mem=""), limits=of.Resources(gpu="1")),
        command=["a"],
        args=None,
        environment=None,
    ).to_flyte_idl(),
}


@pytest.mark.filterwarnings("ignore:Missing value of non-optional type")
@pytest.mark.parametrize("question", QUESTIONS)
def test_the_same_answer(question: str) -> None:
    asked = QUESTIONS[question]
    assert asked(OURS) == asked(THEIRS)


THEIR_REFUSALS = (AssertionError, ValueError, LookupError, OSError)
WRONG: dict[str, Callable[[Any], Any]] = {
    "resource of a wrong kind": lambda of: of.Resources(mem=0.5),
    "resource of three": lambda of: of.Resources(cpu=(1, 2, 3)),
    "a pair as a request": lambda of: of._get_container_definition(
        image="i", resource_spec=of.ResourceSpec(requests=of.Resources(cpu=(1, 2)), limits=of.Resources()), command=[]
    ),
    "spec without limits": lambda of: of.ResourceSpec.from_dict({"requests": {}}),
    "image without tag": lambda of: of.Image.look_up_image_info("n", "host:5000/a/b"),
    "image with both": lambda of: of.Image("n", "a/b", tag="c", digest=DIGEST),
    "two defaults": lambda of: of.ImageConfig.validate_image(None, "image", ("a/b:c", "d/e:f")),
    "secret without a group": lambda of: of.Secret(key="k"),
    "secret in an odd variable": lambda of: secret(of, env_var="lower case"),
    "cache without a version": lambda of: of.TaskMetadata(cache=True),
    "cache version of no cache": lambda of: of.TaskMetadata(cache_serialize=True),
    "time-out that is none": lambda of: of.TaskMetadata(timeout="soon"),
    "input that is no name": lambda of: of.Interface({"not a name": int}),
    "input twice": lambda of: of.Interface({"a": int}).with_inputs({"a": str}),
    "output twice": lambda of: of.Interface({}, {"a": int}).with_outputs({"a": str}),
    "image of an unknown name": lambda of: of.get_registerable_container_image("{{.image.zz}}", config(of)),
    "image of an unknown part": lambda of: of.get_registerable_container_image("{{.image.x.tag}}", config(of)),
    "no image at all": lambda of: of.get_registerable_container_image(None, of.ImageConfig()),
    "transport that is none": lambda of: of.SerializationSettings.from_transport("bm9uZQ=="),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_flytekit_refuses_we_refuse_by_name(case: str) -> None:
    with pytest.raises(THEIR_REFUSALS):
        WRONG[case](THEIRS)
    with pytest.raises(SpecError) as raised:
        WRONG[case](ours)
    message = str(raised.value)
    assert message
    assert not message.startswith("failed")


def test_values_do_not_change() -> None:
    value = ours.Resources(cpu="1")
    with pytest.raises(AttributeError):
        value.cpu = "2"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        settings(ours).project = "other"
    assert json.loads(value.to_json()) == {"cpu": "1", "mem": None, "gpu": None, "ephemeral_storage": None}
