"""Several platforms as one index, built by BuildKit under emulation and run on both.

It runs where the test-bed was brought up with ``--arm64``; making an emulated base takes minutes, so CI does without.
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
def emulated(testbed: dict[str, Any]) -> None:
    base, _, tag = str(testbed["bases"]["python3.13"]).partition(":")
    if not set(PLATFORMS) <= platforms(index_of(testbed["registry"], base, tag)):
        pytest.skip("the base is for one platform: bring the test-bed up with --arm64")


@pytest.mark.usefixtures("emulated")
def test_two_platforms_are_one_index_and_both_run(imagespec: Command, tmp_path: Path) -> None:
    (tmp_path / "image.yaml").write_text(
        "name: both\nplatform: linux/amd64,linux/arm64\nbuilder: buildkit\npackages: [tabulate==0.9.0]\n"
        "copy: [app.py]\ncommands: ['uname -m > /opt/machine']\n"
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
