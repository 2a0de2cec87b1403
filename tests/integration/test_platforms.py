"""Several platforms as one index, built by BuildKit under emulation and run on both.

The test-bed has a base for both where programs of both run: on Debian as root, or where qemu is registered already.
"""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Command

pytestmark = pytest.mark.integration

INDEX = "application/vnd.oci.image.index.v1+json"
PLATFORMS = ("linux/amd64", "linux/arm64")


def index_of(host: str, repository: str, tag: str) -> dict[str, Any]:
    """Return the index under a tag, or a manifest's JSON when there is no index."""
    accept = f"{INDEX}, application/vnd.oci.image.manifest.v1+json"
    request = urllib.request.Request(f"http://{host}/v2/{repository}/manifests/{tag}", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=30) as answer:
        value: dict[str, Any] = json.load(answer)
    return value


def platforms(index: dict[str, Any]) -> set[str]:
    listed = [one["platform"] for one in index.get("manifests", ())]
    return {f"{one['os']}/{one['architecture']}" for one in listed}


@pytest.fixture
def two_platforms(testbed: dict[str, Any]) -> str:
    """Return the reference of a base for both platforms."""
    base: str | None = testbed["two_platforms"]
    if base is None:
        pytest.skip("arm64 programs do not run here: `bed.py up` says why")
    name, _, tag = base.partition(":")
    assert set(PLATFORMS) == platforms(index_of(testbed["registry"], name, tag))
    return f"docker.io/{base}"


def test_two_platforms_are_one_index_and_both_run(imagespec: Command, two_platforms: str, tmp_path: Path) -> None:
    (tmp_path / "image.yaml").write_text(
        f"name: both\nbase_image: {two_platforms}\nplatform: linux/amd64,linux/arm64\nbuilder: buildkit\n"
        "packages: [tabulate==0.9.0]\ncopy: [app.py]\ncommands: ['uname -m > /opt/machine']\n"
        "builder_options: {bytecode: false}\n"  # compiling it emulated takes half a minute
    )
    (tmp_path / "app.py").write_text("import platform, tabulate\nprint(platform.machine(), tabulate.__version__)\n")
    reference = imagespec("build", "image.yaml", "--registry", imagespec.registry, cwd=tmp_path).stdout.strip()
    name, _, digest = reference.partition("@")
    host, _, path = name.partition("/")
    assert platforms(index_of(host, path.rpartition(":")[0], digest)) == set(PLATFORMS)
    for platform, machine in zip(PLATFORMS, ("x86_64", "aarch64"), strict=True):
        arguments = ("run", "--rm", "--quiet", "--pull", "always", "--platform", platform, reference)
        printed = imagespec.docker(*arguments, "sh", "-c", "python app.py; cat /opt/machine")
        assert printed.splitlines() == [f"{machine} 0.9.0", machine]
