"""``runtime_packages`` are installed when the container starts, into the image's own environment."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.flyte.conftest import Commands
from tests.flyte.running import executed

pytestmark = pytest.mark.integration

_FLOW = """
from flytekit import ImageSpec, task

image = ImageSpec(name="late", registry="{registry}", runtime_packages=["latecomer==1.5", "other-one"])

@task(container_image=image)
def ask(x: int) -> str:
    import latecomer, other_one
    return f"{{latecomer.WORD}} {{other_one.WORD}} {{image.is_container()}} {{x}}"
"""


def wheel(folder: Path, name: str, version: str) -> None:
    """Write a wheel with one module."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", f"WORD = '{name} {version}'\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


def test_they_are_there_when_the_task_runs_and_not_in_the_image(flyte: Commands, tmp_path: Path) -> None:
    package, wheels, files = tmp_path / "root" / "shop", tmp_path / "wheels", tmp_path / "files"
    for folder in (package, wheels, files):
        folder.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "flow.py").write_text(_FLOW.format(registry=flyte.registry))
    wheel(wheels, "latecomer", "1.4")
    wheel(wheels, "latecomer", "1.5")
    wheel(wheels, "other_one", "0.1")
    container = flyte.package(cwd=package.parent)["shop.flow.ask"].container

    options = ["-v", f"{wheels}:/wheels:ro", "-e", "PIP_NO_INDEX=1", "-e", "PIP_FIND_LINKS=/wheels"]
    options += [word for pair in container.env for word in ("-e", f"{pair.key}={pair.value}")]
    said = executed(flyte, container.image, list(container.args), files, *options)
    assert said == "latecomer 1.5 other_one 0.1 True 7"

    installed = flyte.docker("run", "--rm", "--quiet", container.image, "pip", "list", "--format", "freeze")
    assert "latecomer" not in installed
    without = _FLOW.replace(', runtime_packages=["latecomer==1.5", "other-one"]', "").format(registry=flyte.registry)
    (tmp_path / "plain.py").write_text(without)
    late = flyte.imagespec("tag", "shop/flow.py:image", "--short", cwd=package.parent)
    assert late == flyte.imagespec("tag", "plain.py:image", "--short", cwd=tmp_path)
