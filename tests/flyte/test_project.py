"""A whole project through pyflyte: every image there afterwards, running, and known to itself; nothing done twice."""

from __future__ import annotations

import json
import signal
import subprocess
import tarfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flyte.conftest import Commands, templates
from tests.flyte.door import Door
from tests.flyte.project import IMAGES, TASKS, write_project
from tests.flyte.running import CODE, executed

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def root(flyte: Commands, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("project") / "root", flyte.registry)


@pytest.fixture(scope="module")
def packaged(flyte: Commands, root: Path) -> dict[str, Any]:
    return flyte.package(cwd=root)


def images_of(template: Any) -> Iterator[str]:
    if template.container.image:
        yield template.container.image
    for container in (
        template.k8s_pod.pod_spec.fields["containers"].list_value.values if template.HasField("k8s_pod") else ()
    ):
        yield container.struct_value["image"]


def test_every_image_is_there_afterwards(flyte: Commands, packaged: dict[str, Any], root: Path) -> None:
    assert len(packaged) == TASKS
    names = {image for template in packaged.values() for image in images_of(template)}
    assert len(names) == IMAGES
    assert all(name.startswith(f"{flyte.registry}/") for name in names)
    answers = flyte.imagespec("exists", *sorted(names), cwd=root)
    assert answers.splitlines() == [f"present\t{name}" for name in sorted(names)]


@pytest.mark.parametrize("module", [*(f"flow{number}" for number in range(11)), "other"])
def test_an_image_executes_its_task_and_knows_itself(
    flyte: Commands, packaged: dict[str, Any], module: str, tmp_path: Path
) -> None:
    template = packaged[f"shop.{module}.task0"]
    said = executed(flyte, template.container.image, list(template.container.args), tmp_path)
    number = 11 if module == "other" else int(module.removeprefix("flow"))
    assert said == f"{number} True 0.9.0 7"


def test_the_base_is_an_image_of_its_own(flyte: Commands, packaged: dict[str, Any], tmp_path: Path) -> None:
    template = packaged["shop.flow3.task3"]
    said = executed(flyte, template.container.image, list(template.container.args), tmp_path)
    assert said == "base True 0.9.0 7"


def test_the_dynamic_task_finds_the_images_of_the_others(packaged: dict[str, Any]) -> None:
    """At run time it asks by id, in a process that has not serialized anything."""
    from flytekit.configuration import SerializationSettings

    env = {pair.key: pair.value for pair in packaged["shop.flow0.task3"].container.env}
    config = SerializationSettings.from_transport(env["_F_SS_C"]).image_config
    names = {image.full for image in config.images or ()}
    assert packaged["shop.other.task0"].container.image in names


def test_the_container_task_and_the_side_car_run(flyte: Commands, packaged: dict[str, Any]) -> None:
    raw = packaged["shop.raw"].container.image
    assert flyte.docker("run", "--rm", "--quiet", raw, "sh", "-c", "printf %s $ROLE") == "raw"
    main, side = sorted(images_of(packaged["shop.flow2.task3"]), key=lambda name: "/side:" in name)
    assert "/step2:" in main
    assert flyte.docker("run", "--rm", "--quiet", side, "sh", "-c", "printf %s $ROLE") == "side"


def test_a_second_packaging_builds_nothing_and_asks_once_for_each_image(
    flyte: Commands, packaged: dict[str, Any], root: Path, door: Door
) -> None:
    before = len(door.seen)
    again = flyte.package(cwd=root, DOCKER_HOST="unix:///nowhere/docker.sock")
    assert {name: list(images_of(one)) for name, one in again.items()} == {
        name: list(images_of(one)) for name, one in packaged.items()
    }
    asked = door.seen[before:]
    assert len(asked) == len(set(asked)) == IMAGES, json.dumps(asked, indent=1)
    assert all(request.startswith("HEAD ") for request in asked)


def test_the_images_are_known_before_and_registration_then_asks_nobody(
    flyte: Commands, packaged: dict[str, Any], root: Path, door: Door
) -> None:
    listed = flyte.imagespec("images", "--pkgs", "shop", cwd=root).splitlines()
    names = {image for template in packaged.values() for image in images_of(template)}
    assert {line.partition("=")[2] for line in listed} == names
    config = json.loads(flyte.imagespec("images", "--pkgs", "shop", "--format", "image-config", cwd=root))
    assert {f"{image['fqn']}:{image['tag']}" for image in config["images"]} == names

    before = len(door.seen)
    known = flyte.package(*(word for line in listed for word in ("-i", line)), cwd=root)
    assert {name: list(images_of(one)) for name, one in known.items()} == {
        name: list(images_of(one)) for name, one in packaged.items()
    }
    assert door.seen[before:] == []


def test_fast_registration_runs_code_that_is_beside_images_without_it(
    flyte: Commands, packaged: dict[str, Any], root: Path, tmp_path: Path
) -> None:
    output, code, files = tmp_path / "fast.tgz", tmp_path / "code.tar.gz", tmp_path / "files"
    flyte.pyflyte(
        *("--pkgs", "shop", "package", "-i", "example.org/default:1", "--copy", "all", "-o", str(output)), cwd=root
    )
    slow, quick = packaged["shop.flow5.task0"].container, dict(templates(output))["shop.flow5.task0"].container
    assert slow.image != quick.image
    listed = flyte.docker(
        "run", "--rm", "--quiet", quick.image, "sh", "-c", "ls /root; id -un; command -v pyflyte-execute"
    )
    assert listed.splitlines() == ["flytekit", "/opt/venv/bin/pyflyte-execute"]

    with tarfile.open(output) as archive:
        (member,) = (one for one in archive.getmembers() if one.name.startswith("fast"))
        stream = archive.extractfile(member)
        assert stream is not None
        code.write_bytes(stream.read())
    files.mkdir()
    said = executed(flyte, quick.image, list(quick.args), files, "-v", f"{code}:{CODE}:ro")
    assert said == "5 True 0.9.0 7"


def test_an_edited_task_changes_its_own_images_only(flyte: Commands, packaged: dict[str, Any], root: Path) -> None:
    file = root / "shop" / "flow7.py"
    file.write_text(file.read_text().replace("for whoever looks inside", "for whoever looks"))
    edited = flyte.package(cwd=root)
    changed = {name for name, one in edited.items() if list(images_of(one)) != list(images_of(packaged[name]))}
    assert changed == {f"shop.flow7.task{number}" for number in range(5)}


def test_ctrl_c_during_a_build_leaves_no_client_that_goes_on(flyte: Commands, tmp_path: Path) -> None:
    name = f"stopped-{uuid.uuid4().hex[:8]}"
    spec = f"ImageSpec(name={name!r}, registry={flyte.registry!r}, commands=['echo has begun; sleep 300; : {name}'])"
    (tmp_path / "shop.py").write_text(
        "from flytekit import ImageSpec, task, workflow\n"
        f"@task(container_image={spec})\ndef one() -> int:\n    return 1\n"
        "@workflow\ndef flow() -> int:\n    return one()\n"
    )
    command = [str(Path(flyte.python).with_name("pyflyte")), "--pkgs", "shop", "package", "-i", "example.org/x:1"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=flyte.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if "   has begun" in line:
                process.send_signal(signal.SIGINT)
                break
        rest, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode != 0
    assert "Traceback" not in said + rest
    deadline = time.monotonic() + 30
    while (left := running_for(name)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def running_for(name: str) -> list[str]:
    shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in shown.splitlines() if name in line]
