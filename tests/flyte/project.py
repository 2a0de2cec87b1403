"""A project of 12 workflows, 60 tasks and 15 distinct images, as people write them."""

from __future__ import annotations

from pathlib import Path

MODULES = 12
TASKS = 60
IMAGES = 15

_IMAGES = """
from flytekit import ImageSpec

from shop.registry import REGISTRY

base = ImageSpec(name="base", registry=REGISTRY, packages=["tabulate==0.9.0", "kubernetes==34.1.0"])
layered = [
    ImageSpec(name=f"step{number}", registry=REGISTRY, base_image=base, env={"STEP": str(number)})
    for number in range(12)
]
side = ImageSpec(name="side", registry=REGISTRY, base_image=base, env={"ROLE": "side"})
raw = ImageSpec(name="raw", registry=REGISTRY, base_image=base, env={"ROLE": "raw"}, entrypoint=[])
"""

_TASK = '''
@task(container_image=IMAGE)
def task{number}(x: int) -> str:
    """Return what the image is, for whoever looks inside."""
    return f"{{os.environ['STEP']}} {{IMAGE.is_container()}} {{tabulate.__version__}} {{x}}"
'''

_MODULE = """
import os

import flytekit
from flytekit import task, workflow

from shop.images import layered

try:
    import tabulate
except ImportError:
    tabulate = None

IMAGE = layered[{module}]
{tasks}

@workflow
def flow{module}(x: int) -> str:
{calls}
    return task4(x=x)
"""

_SPECIAL = {
    0: """
from flytekit import dynamic
from shop import other


@dynamic(container_image=IMAGE)
def task3(x: int) -> str:
    return other.task0(x=x)
""",
    1: """
from flytekit import ContainerTask, kwtypes
from shop.images import raw

task3 = ContainerTask(
    name="shop.raw",
    image=raw,
    command=["sh", "-c", "printf %s \\"$ROLE\\" > /var/outputs/role"],
    inputs=kwtypes(x=int),
    outputs=kwtypes(role=str),
    input_data_dir="/var/inputs",
    output_data_dir="/var/outputs",
)
""",
    2: """
from flytekit import PodTemplate
from kubernetes.client import V1Container, V1PodSpec
from shop.images import side


@task(
    container_image=IMAGE,
    pod_template=PodTemplate(
        pod_spec=V1PodSpec(containers=[V1Container(name="side", image=side)]), primary_container_name="main"
    ),
)
def task3(x: int) -> str:
    return str(x)
""",
    3: """
from shop.images import base


@task(container_image=base)
def task3(x: int) -> str:
    return f"base {base.is_container()} {tabulate.__version__} {x}"
""",
}


def write_project(folder: Path, registry: str) -> Path:
    """Write the project below ``folder`` and return its root."""
    package = folder / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "registry.py").write_text(f'REGISTRY = "{registry}"\n')
    (package / "images.py").write_text(_IMAGES)
    for module in range(MODULES):
        name = "other" if module == MODULES - 1 else f"flow{module}"
        numbers = [number for number in range(5) if number != 3 or module not in _SPECIAL]
        tasks = "".join(_TASK.format(number=number) for number in numbers) + _SPECIAL.get(module, "")
        calls = "\n".join(f"    task{number}(x=x)" for number in range(4))
        (package / f"{name}.py").write_text(_MODULE.format(module=module, tasks=tasks, calls=calls))
    return folder
