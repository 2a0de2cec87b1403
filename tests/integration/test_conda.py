"""Conda packages, from a channel of the tests' own, by a tool image of the tests' own (testdata/micromamba)."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.integration.conftest import Command

pytestmark = pytest.mark.integration

TOOL = Path(__file__).resolve().parents[2] / "testdata" / "micromamba"
RATTLER = "py-rattler==0.28.0"
SCRIPT = """
hello
python -c "import sys; print(sys.prefix, sys.base_prefix)"
ls /opt/conda/conda-meta
pip list --format=freeze
"""


@pytest.fixture(scope="module")
def micromamba(testbed: dict[str, Any], shared_imagespec: Command, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tool image's name: made once for a test-bed, since it is large."""
    sources = sorted(TOOL.iterdir())
    key = hashlib.sha256(b"\0".join([RATTLER.encode(), *(one.read_bytes() for one in sources)])).hexdigest()[:16]
    name = f"{testbed['registry']}/tests/micromamba:{key}"
    if not _is_there(testbed["registry"], f"tests/micromamba/manifests/{key}"):
        folder = tmp_path_factory.mktemp("tool") / "micromamba"
        shutil.copytree(TOOL, folder)
        _install_rattler(folder / "rattler")
        output = f"type=image,name={name},push=true,compression=uncompressed"
        base = f"BASE={testbed['registry']}/{testbed['bases']['python3.11']}"
        shared_imagespec.docker(
            *("buildx", "build", "--quiet", "--provenance=false", "--output", output, "--build-arg", base, str(folder))
        )
    return name


def _is_there(registry: str, path: str) -> bool:
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    try:
        with urlopen(Request(f"http://{registry}/v2/{path}", method="HEAD", headers=accept), timeout=30):
            return True
    except HTTPError as error:
        error.close()
        return False


def _install_rattler(target: Path) -> None:
    from uv import find_uv_bin

    options = ("--python-version=3.11", "--python-platform=x86_64-manylinux_2_28", "--only-binary=:all:")
    command = [find_uv_bin(), "pip", "install", "--quiet", "--target", str(target), *options, RATTLER]
    subprocess.run(command, check=True, capture_output=True)


def _built(imagespec: Command, folder: Path, **fields: Any) -> list[str]:
    base = {"name": "conda", "registry": imagespec.registry, "base_image": "python:3.11-slim-bookworm"}
    (folder / "image.yaml").write_text(json.dumps({**base, **fields}))
    reference = imagespec("build", "image.yaml", cwd=folder).stdout.strip()
    return imagespec.docker("run", "--rm", "--quiet", reference, "sh", "-c", SCRIPT).splitlines()


def test_conda_packages_bring_their_python(shared_imagespec: Command, micromamba: str, tmp_path: Path) -> None:
    fields = {
        "python_version": "3.11",
        "conda_packages": ["hello<2"],
        "conda_channels": ["file:///channel"],
        "packages": ["six==1.17.0"],
        "builder_config": {"micromamba_image": micromamba},
    }
    said = _built(shared_imagespec, tmp_path, **fields)
    assert said[:2] == ["hello from conda", "/opt/venv /opt/conda"]
    assert {"hello-1.2-0.json", "python-3.11.2-0.json", "six==1.17.0"} <= set(said)


def test_environment_yml_for_conda_and_pip(shared_imagespec: Command, micromamba: str, tmp_path: Path) -> None:
    """The Python version that the file asks for is the one that comes; pip's part may include a file."""
    (tmp_path / "more.txt").write_text("-c limits.txt\nsix\n")
    (tmp_path / "limits.txt").write_text("six==1.16.0\n")
    (tmp_path / "environment.yml").write_text(
        "name: any\nchannels: [file:///channel]\ndependencies:\n"
        "  - python=3.11\n  - hello\n  - pip:\n    - humanize==4.12.3\n    - -r more.txt\n"
    )
    tool = {"builder_config": {"micromamba_image": micromamba}}
    said = _built(shared_imagespec, tmp_path, requirements="environment.yml", **tool)
    assert said[:2] == ["hello from conda", "/opt/venv /opt/conda"]
    assert {"hello-2.0-0.json", "humanize==4.12.3", "six==1.16.0"} <= set(said)


def test_what_conda_cannot_find_is_said_in_the_tools_words(
    shared_imagespec: Command, micromamba: str, tmp_path: Path
) -> None:
    spec = {
        "python_version": "3.11",
        "conda_packages": ["hello>=3"],
        "conda_channels": ["file:///channel"],
        "builder_config": {"micromamba_image": micromamba},
    }
    (tmp_path / "image.yaml").write_text(json.dumps({"registry": shared_imagespec.registry, **spec}))
    failed = shared_imagespec("build", "image.yaml", cwd=tmp_path, expect=4)
    assert "error: build: conda packages: hello>=3: exit code 1" in failed.stderr
    assert "No candidates were found for hello" in failed.stderr, failed.stderr
