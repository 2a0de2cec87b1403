"""The command line finds what flytekit's tasks run in."""

from __future__ import annotations

from pathlib import Path

from imagespec.targets.named import load

FLOW = """
from flytekit import ContainerTask, ImageSpec, PodTemplate, task
from kubernetes.client import V1Container, V1PodSpec

image = ImageSpec(name="shared", registry="r.test")
foreign = ImageSpec(name="foreign", registry="r.test", builder="envd")

def pod(name):
    return PodTemplate(pod_spec=V1PodSpec(containers=[V1Container(name="primary", image=ImageSpec(name=name))]))

@task(container_image=image)
def first() -> int:
    return 1

@task(container_image=ImageSpec(name="own", registry="r.test"), pod_template=pod("pod"))
def second() -> int:
    return 2

container = ContainerTask(name="c", image=ImageSpec(name="container", registry="r.test"), command=["true"])
"""


def test_specs_of_tasks_container_tasks_and_pod_templates_are_found(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(FLOW)
    found = load("flow.py", tmp_path)
    assert sorted(target.declaration.name for target in found) == ["container", "own", "pod", "shared"]
    assert {target.modules for target in found} == {(str(tmp_path / "flow.py"),)}
