"""The oldest releases that the plugin works with: 1.12.3, the first with ``should_build``, and 1.13.0.

1.13.0 is the first that can be installed beside us; 1.12.3 asks for a docker SDK (before 7) that no longer works with
today's ``requests``, so it gets ours.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.flyte.conftest import Commands
from tests.flyte.door import Door

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
OLDEST = ("1.12.3", "1.13.0")


@pytest.fixture(scope="module", params=OLDEST)
def oldest(flyte: Commands, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Commands:
    """The commands of an environment with that release, which is kept between runs."""
    release: str = request.param
    override = tmp_path_factory.mktemp("override") / "override.txt"
    override.write_text("docker>=7.1\n")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "imagespec-tests"
    folder = cache / f"flytekit-{release}-{sys.version_info.major}.{sys.version_info.minor}"
    uv = [sys.executable, "-m", "uv"]
    if not (folder / "bin" / "python").exists():
        subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True, timeout=300)
    # At every run: the environment may be another checkout's, and may lack what this one needs.
    install = [*uv, "pip", "install", "--quiet", "--python", str(folder), "--override", str(override)]
    packages = [f"flytekit=={release}", "setuptools", "--editable", str(ROOT)]
    subprocess.run([*install, *packages], check=True, timeout=300)
    return replace(flyte, python=str(folder / "bin" / "python"))


def answers(printed: str) -> list[str]:
    return [line.removeprefix("ANSWER ") for line in printed.splitlines() if line.startswith("ANSWER ")]


def test_it_looks_up_builds_and_names(oldest: Commands, door: Door, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("NUMBER = 1\n")
    script = f"""
import os
import flytekit
from flytekit import ImageSpec, task
from flytekit.configuration import ImageConfig, SerializationSettings
from flytekit.image_spec.image_spec import ImageBuildEngine
print("ANSWER", flytekit.__version__, "imagespec" in ImageBuildEngine._REGISTRY)
slim = dict(registry="{oldest.registry}", packages=["flytekit"], python_version="3.13")
base = ImageSpec(name="old-base", **slim)
image = ImageSpec(name="old", base_image=base, **slim)
@task(container_image=image)
def one() -> None: ...
declared = image._image_name()
settings = SerializationSettings(image_config=ImageConfig(), source_root=os.getcwd())
print("ANSWER", one.get_image(settings))
print("ANSWER", declared)
"""
    (tmp_path / "flow.py").write_text(script)
    program = "import runpy; runpy.run_path('flow.py')"
    version, name, declared = answers(oldest.script(program, cwd=tmp_path))
    assert version.partition(" ")[::2] in [(release, "True") for release in OLDEST]
    assert name.startswith(f"{oldest.registry}/old:x1-")
    assert "present" in oldest.imagespec("exists", name, cwd=tmp_path)
    env = oldest.docker("run", "--rm", "--quiet", name, "sh", "-c", "ls /root/helper.py; echo $_F_IMG_ID").splitlines()
    assert env == ["/root/helper.py", declared], "is_container() of that release compares names"

    before = len(door.seen)
    assert answers(oldest.script(program, cwd=tmp_path))[1] == name
    assert all(request.startswith("HEAD ") for request in door.seen[before:])
