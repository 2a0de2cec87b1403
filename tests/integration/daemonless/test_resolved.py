"""What packages resolved to is recorded in the image, and ``plan --resolved`` shows it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from imagespec.wheels.pins import is_lock_label
from tests.fakes.package_index import make_wheel, serving
from tests.integration.conftest import Command
from tests.integration.daemonless.places import Bed, Offline

pytestmark = pytest.mark.integration

SPEC = """\
name: resolved
base_image: {base}
pip_index: {index}
packages: [{packages}]
"""


def project(folder: Path, base: object, index: str, packages: str = "lib", more: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "image.yaml").write_text(SPEC.format(base=base, index=index, packages=packages) + more)
    return folder


def pins(command: Command, folder: Path, target: str = "image.yaml") -> dict[str, Any]:
    """Return what ``plan --resolved`` says as JSON: where from, and versions by name on the one platform."""
    said = json.loads(command("plan", "--resolved", "--format", "json", target, cwd=folder).stdout)["resolved"]
    (platform,) = said["platforms"]
    return {"from": said["from"], **{one["name"]: one["version"] for one in said["platforms"][platform]}}


def test_before_and_after_the_build(imagespec: Command, looked: Offline, tmp_path: Path, testbed: Bed) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name, version in (("pip", "26.3"), ("lib", "1.0")):
        make_wheel(wheels, name, version)
    base = f"{testbed['registry']}/{testbed['bases']['python3.11']}"
    with serving(wheels) as index:
        folder = project(tmp_path / "project", base, index.url, more=f"registry: {imagespec.registry}\n")
        assert pins(imagespec, folder) == {"from": "index", "lib": "1.0", "pip": "26.3"}
        made = imagespec("build", "image.yaml", cwd=folder)
        assert "packages" in made.stderr
        make_wheel(wheels, "lib", "2.0")
        assert pins(imagespec, folder) == {"from": "image", "lib": "1.0", "pip": "26.3"}
        wheel = hashlib.sha256((wheels / "lib-1.0-py3-none-any.whl").read_bytes()).hexdigest()
        shown = imagespec("plan", "--resolved", "image.yaml", cwd=folder).stdout.splitlines()
        assert shown[1:3] == ["# as recorded in the image", f"lib==1.0 --hash=sha256:{wheel}"]
        fresh = {"IMAGESPEC_CACHE": str(tmp_path / "fresh")}
        # Another machine that asks no registry: what is newest now.
        offline = imagespec("plan", "--resolved", "--offline", "image.yaml", cwd=folder, **fresh)
        assert "# as they resolve now\nlib==2.0" in offline.stdout

        # What is shown is a lock: an image of it has the same packages, long after the index has newer ones.
        (folder / "lock.txt").write_text("\n".join(shown))
        (folder / "again.yaml").write_text(SPEC.format(base=base, index=index.url, packages="") +
                                           f"requirements: lock.txt\nregistry: {imagespec.registry}\n")  # fmt: skip
        imagespec("build", "again.yaml", cwd=folder)
        assert pins(imagespec, folder, "again.yaml") == {"from": "image", "lib": "1.0", "pip": "26.3"}


def test_a_child_has_what_its_parent_has_and_its_own(
    imagespec: Command, looked: Offline, index: str, tmp_path: Path, testbed: Bed
) -> None:
    parent = f"{testbed['registry']}/{testbed['bases']['python3.11']}"
    lines = "".join(f"  {line}\n" for line in SPEC.format(base=parent, index=index, packages="lib").splitlines())
    more = f"registry: {imagespec.registry}\n"
    folder = project(tmp_path / "child", f"\n{lines}", index, packages="other", more=more)
    wrong = imagespec("plan", "--resolved", "image.yaml", cwd=folder, expect=2)
    assert "which this image is based on, is not there" in wrong.stderr
    imagespec("build", "image.yaml", cwd=folder)
    assert pins(imagespec, folder) == {"from": "image", "dep": "2.0", "lib": "1.0", "other": "1.0", "pip": "26.3"}
    shown = imagespec("plan", "--resolved", "image.yaml", cwd=folder).stdout
    assert shown.count("--hash=sha256:") == 4


def test_an_image_of_buildkit_s_has_no_record(imagespec: Command, tmp_path: Path, testbed: Bed) -> None:
    base = f"{testbed['registry']}/{testbed['bases']['python3.11']}"
    more = f"registry: {imagespec.registry}\nbuilder: buildkit\n"
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "image.yaml").write_text(f'name: kit\nbase_image: "{base}"\npackages: [humanize==4.12.3]\n{more}')
    imagespec("build", "image.yaml", cwd=folder)
    assert pins(imagespec, folder)["from"] == "index"
    (folder / "apt.yaml").write_text((folder / "image.yaml").read_text() + "apt_packages: [jq]\n")
    wrong = imagespec("plan", "--resolved", "apt.yaml", cwd=folder, expect=2)
    assert "plan --resolved: apt_packages" in wrong.stderr
    assert "pip list" in wrong.stderr


def test_an_image_without_a_registry_says_it_too(imagespec: Command, looked: Offline, tmp_path: Path) -> None:
    folder = project(tmp_path / "project", f"oci-layout:{looked.layout}", looked.index)
    nowhere = {"DOCKER_HOST": "unix:///nowhere.sock", "IMAGESPEC_STORE": str(tmp_path / "store")}
    imagespec("build", "image.yaml", cwd=folder, **nowhere)
    shown = imagespec("plan", "--resolved", "image.yaml", cwd=folder, **nowhere).stdout
    assert "# as recorded in the image\ndep==2.0 --hash=sha256:" in shown
    index = json.loads((tmp_path / "store" / "index.json").read_text())["manifests"]
    for one in index:
        manifest = json.loads((tmp_path / "store" / "blobs" / "sha256" / one["digest"][7:]).read_text())
        config = json.loads((tmp_path / "store" / "blobs" / "sha256" / manifest["config"]["digest"][7:]).read_text())
        assert any(map(is_lock_label, config["config"]["Labels"]))
