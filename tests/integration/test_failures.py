"""Kinds of failure among sixty images: each is told, what is right is built, and nothing is half-tagged."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from imagespec import errors
from tests.fakes.gate import CUT, Gate, Refusal
from tests.integration.conftest import Command

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
IMAGES = 60
NOWHERE = "unix:///nowhere/docker.sock"

# Kind of failure: fields of the spec, the error's type, its exit code. GATE, REGISTRY and SECURED are registries.
SPECS: dict[str, tuple[dict[str, Any], str, int]] = {
    "a package that does not exist": ({"packages": ["tabulate==99.99"]}, "BuildFailed", 4),
    "packages that contradict one another": ({"packages": ["tabulate==0.9.0", "tabulate==0.8.9"]}, "BuildFailed", 4),
    "a base that does not exist": ({"base_image": "HOST/library/nothing-here:1"}, "BuildFailed", 4),
    "a base without the platform": ({"platform": "linux/s390x"}, "WrongPlatform", 3),
    "a base layout that is missing": ({"base_image": "oci-layout:nothing"}, "InputMissing", 2),
    "a registry that does not answer": ({"registry": "127.0.0.1:9/x"}, "RegistryUnreachable", 3),
    "a registry that dies in the middle": ({"registry": "GATE/dying"}, "RegistryUnreachable", 3),
    "a registry that always asks to wait": ({"registry": "GATE/busy"}, "TooManyRequests", 3),
    "a push that is denied": ({"registry": "GATE/readonly"}, "Denied", 3),
    "wrong credentials": ({"registry": "SECURED/x", "registry_config": "wrong.json"}, "Unauthorized", 3),
    "no credentials": ({"registry": "SECURED/y", "registry_config": "none.json"}, "Unauthorized", 3),
    "a command that fails": ({"commands": ["echo said before; exit 7"]}, "BuildFailed", 4),
    "a command that is killed, as for want of memory": ({"commands": ["sh -c 'kill -9 $$'"]}, "BuildFailed", 4),
    "an apt package that does not exist": ({"apt_packages": ["no-such-package-here"]}, "BuildFailed", 4),
    "a builder that builds nothing": ({"builder": "noop"}, "EngineUnavailable", 4),
    "a builder that does not exist": ({"builder": "nobody"}, "SpecError", 2),
    "a field that the builder does not carry out": (
        {"builder": "daemonless", "apt_packages": ["jq"]},
        "Unsupported",
        2,
    ),
    "a file to copy that is missing": ({"copy": ["nothing"]}, "InputMissing", 2),
    "a file to copy from elsewhere": ({"copy": ["../../etc"]}, "InputOutsideRoot", 2),
    "a file that changes while it is built": ({"registry": "GATE/changing", "copy": ["data"]}, "InputChanged", 2),
    "requirements that are missing": ({"requirements": "nothing.txt"}, "InputMissing", 2),
    "an option that does not exist": ({"builder_options": {"nothing": 1}}, "SpecError", 2),
    "a secret that is missing": ({"pip_secret_mounts": [["nothing", "/root/.netrc"]]}, "SpecError", 2),
    "a tag format without the fingerprint": ({"tag_format": "latest"}, "SpecError", 2),
    "a field that does not exist": ({"packagess": ["six"], "python_version": "3.13"}, "SpecError", 2),
    "credentials in a field": ({"pip_index": "https://me:secret@index.test/"}, "SpecError", 2),
}
MODULES: dict[str, tuple[str, str, int]] = {
    "code that cannot be imported": ("from imagespec import ImageSpec\nimport not_there\n", "ImportFailed", 2),
    "code that is not Python": ("from imagespec import ImageSpec\nimage = (\n", "ImportFailed", 2),
    "code that hangs": ("import time\nfrom imagespec import ImageSpec\ntime.sleep(600)\n", "ImportFailed", 2),
    "code that exits": ("from imagespec import ImageSpec\nraise SystemExit(0)\n", "ImportFailed", 2),
    "a tag that must not be overwritten": (
        "from imagespec import ImageSpec\n"
        "image = ImageSpec(name='immutable', registry='GATE/immutable', env={'A': '1'}).force_push()\n",
        "Denied",
        3,
    ),
    "a parent that fails": (
        "from imagespec import ImageSpec\n"
        "parent = ImageSpec(name='parent', registry='REGISTRY', packages=['humanize==99.99'])\n"
        "child = ImageSpec(name='child', registry='REGISTRY', base_image=parent)\n",
        "BuildFailed",
        4,
    ),
}


@pytest.fixture
def gate(imagespec: Command, tmp_path: Path) -> Iterator[Gate]:
    """A registry with a ruined part for each way to fail: dying, busy, readonly, immutable, changing."""
    host, _, own = imagespec.registry.partition("/")
    changed = tmp_path / "project" / "images" / "data" / "file.txt"
    dead = threading.Event()

    def rule(method: str, path: str) -> Refusal | None:
        what = path.removeprefix(f"/v2/{own}/").partition("/")[0]
        writes = method not in ("GET", "HEAD")
        if what == "dying" and (writes or dead.is_set()):
            dead.set()
            return CUT
        if what == "busy":
            return Refusal(status=429, code="TOOMANYREQUESTS")
        if what == "readonly" and writes:
            return Refusal(status=403, code="DENIED")
        if what == "immutable" and method == "PUT" and "/manifests/" in path and "sha256:" not in path:
            return Refusal(status=400, code="TAG_INVALID", message="The tag already exists and is immutable")
        if what == "changing" and method == "HEAD" and "/manifests/x1-" in path:
            changed.write_text("another text")
        return None

    with Gate(host, rule) as gate:
        yield gate


@pytest.fixture
def project(imagespec: Command, testbed: dict[str, Any], gate: Gate, tmp_path: Path) -> Path:
    """A folder ``images`` with a file for each kind of failure, and as many right ones as make sixty images."""
    own = imagespec.registry.partition("/")[2]
    secured = testbed["auth_registry"]
    names = {"GATE": f"{gate.host}/{own}", "REGISTRY": imagespec.registry, "SECURED": f"{secured['host']}/{own}"}
    names["HOST"] = imagespec.registry.partition("/")[0]

    def placed(text: str) -> str:
        return re.sub("GATE|REGISTRY|SECURED|HOST", lambda match: names[match[0]], text)

    images = tmp_path / "project" / "images"
    (images / "data").mkdir(parents=True)
    (images / "data" / "file.txt").write_text("one text")
    wrong = {"auths": {secured["host"]: {"auth": "bWU6d3Jvbmc="}}}
    (images / "wrong.json").write_text(json.dumps(wrong))
    (images / "none.json").write_text("{}")
    for index, (fields, _, _) in enumerate(SPECS.values()):
        spec = {"name": f"wrong-{index}", "registry": imagespec.registry, "env": {"KIND": str(index)}, **fields}
        (images / f"wrong_{index}.yaml").write_text(placed(yaml.safe_dump(spec)))
    for index, (text, _, _) in enumerate(MODULES.values()):
        (images / f"module_{index}.py").write_text(placed(text))
    made = len(SPECS) + len(MODULES) + 1
    right = [
        {"name": "right", "registry": imagespec.registry, "env": {"I": str(index)}} for index in range(IMAGES - made)
    ]
    (images / "right.yaml").write_text(yaml.safe_dump(right))
    return images.parent


def test_each_kind_is_told_and_what_is_right_is_there(imagespec: Command, project: Path, gate: Gate) -> None:
    own = imagespec.registry.partition("/")[2]
    # The tag that must not be overwritten is there, through the door that nobody guards.
    immutable = {"name": "immutable", "registry": f"{imagespec.registry}/immutable", "env": {"A": "1"}}
    (project / "there.yaml").write_text(yaml.safe_dump(immutable))
    there = imagespec("build", "there.yaml", cwd=project).stdout.strip()

    arguments = ("warm", "images", "--report", "run.json", "--junit", "run.xml")
    done = imagespec(*arguments, cwd=project, expect=4, IMAGESPEC_IMPORT_LIMIT="15")
    images = json.loads((project / "run.json").read_text())["images"]
    assert len(images) == IMAGES
    outcomes = [image["outcome"] for image in images]
    right = [image["image"] for image in images if image["outcome"] == "built"]
    assert [image for image in images if "right.yaml" in image["origin"] and image["outcome"] != "built"] == []
    assert len(right) == len(done.stdout.splitlines()) == IMAGES - len(SPECS) - len(MODULES) - 1
    assert outcomes.count("blocked") == 1

    # Every problem says which file it is about, even where its origin is a field.
    by_file: dict[str, dict[str, Any]] = {}
    for image in images:
        if image["outcome"] != "built":
            by_file.setdefault(file_of(image["origin"] + image["reason"]), image)
    kinds = {f"wrong_{index}.yaml": kind for index, kind in enumerate(SPECS)}
    kinds |= {f"module_{index}.py": kind for index, kind in enumerate(MODULES)}
    types = {kinds[file]: image["error"]["type"] for file, image in by_file.items()}
    expected = {kind: row[1] for kind, row in (SPECS | MODULES).items()}
    assert types == expected
    assert all(image["error"]["message"] in done.stderr for image in by_file.values())
    assert (project / "run.xml").read_text().count("<failure ") == IMAGES - len(right)

    # Nothing is half-tagged: of what failed no tag is there, and what is right can be pulled whole.
    failed = [image["image"] for image in images if image["outcome"] in ("failed", "blocked")]
    behind = [name.replace(f"{gate.host}/", f"{gate.inner}/") for name in failed if "127.0.0.1:9/" not in name]
    asked = [name for name in behind if name.startswith(imagespec.registry) and "/immutable/" not in name]
    assert len(asked) > 10
    told = imagespec("exists", *asked, cwd=project, expect=1).stdout
    assert told.count("absent\t") == len(asked)
    assert imagespec("build", "there.yaml", cwd=project).stdout.strip() == there
    assert imagespec("exists", *right, cwd=project).stdout.count("present\t") == len(right)
    assert own


def test_the_page_of_failures_tells_each_kind_as_it_is() -> None:
    page = (ROOT / "docs" / "failures.md").read_text(encoding="utf-8")
    rows = {kind: (error, int(code)) for kind, error, code in re.findall(r"\| (.*?) \| `(\w+)` \| (\d+) \|", page)}
    kinds = {kind: (name, code) for kind, (_, name, code) in (SPECS | MODULES).items()}
    del kinds["a parent that fails"]
    assert rows == kinds
    classes = vars(errors)
    assert {kind: classes[name].exit_code for kind, (name, _) in rows.items()} == {k: v[1] for k, v in rows.items()}
    assert "| a parent that fails | the parent's |" in page


def file_of(text: str) -> str:
    found = re.search(r"(wrong_\d+\.yaml|module_\d+\.py)", text)
    return found[1] if found else ""


def waiting(imagespec: Command, folder: Path) -> subprocess.Popen[str]:
    """Return a run of which one image is built, and others wait in a command."""
    specs: list[dict[str, Any]] = [{"name": "quick", "env": {"A": "1"}}]
    specs += [{"name": f"slow-{index}", "commands": [f"echo begun {index}; sleep 600"]} for index in range(3)]
    (folder / "images.yaml").write_text(yaml.safe_dump(specs))
    command = [sys.executable, "-m", "imagespec", "warm", "images.yaml", "--registry", imagespec.registry]
    command += ["--jobs", "2", "--report", "run.json"]
    run = subprocess.Popen(
        command, cwd=folder, env=imagespec.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert run.stderr is not None
    awaited = {"   begun", "built: "}
    for line in run.stderr:
        awaited -= {one for one in awaited if one in line}
        if not awaited:
            break
    return run


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_and_what_was_finished_stays(
    imagespec: Command, tmp_path: Path, number: signal.Signals
) -> None:
    run = waiting(imagespec, tmp_path)
    sent = time.monotonic()
    os.kill(run.pid, number)
    try:
        stdout, stderr = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == 130
    assert time.monotonic() - sent < 30
    assert "4 images: 1 built, 3 stopped" in stderr
    assert "Traceback" not in stderr
    outcomes = [image["outcome"] for image in json.loads((tmp_path / "run.json").read_text())["images"]]
    assert outcomes == ["built", "stopped", "stopped", "stopped"]
    told = imagespec("exists", "images.yaml", "--registry", imagespec.registry, cwd=tmp_path, expect=1).stdout
    assert [line.split("\t")[0] for line in told.splitlines()] == ["present", "absent", "absent", "absent"]
    assert stdout.count("@sha256:") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting wants root")
def test_a_full_disk_is_told_and_leaves_no_tag(imagespec: Command, tmp_path: Path) -> None:
    cache = tmp_path / "small"
    cache.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=900k", "tmpfs", str(cache)], check=True)
    try:
        specs = [
            {"name": f"full-{index}", "packages": ["numpy==2.2.6"], "env": {"I": str(index)}} for index in range(3)
        ]
        (tmp_path / "images.yaml").write_text(yaml.safe_dump(specs))
        arguments = ("images.yaml", "--registry", imagespec.registry)
        done = imagespec("warm", *arguments, cwd=tmp_path, expect=4, IMAGESPEC_CACHE=str(cache))
    finally:
        subprocess.run(["umount", "--lazy", str(cache)], check=True)
    assert "no space left on device" in done.stderr.lower()
    assert "hint: free space in the cache folder, or set IMAGESPEC_CACHE to another one" in done.stderr
    assert "3 images: 3 failed" in done.stderr
    assert done.stdout == ""
    assert imagespec("exists", *arguments, cwd=tmp_path, expect=1).stdout.count("absent\t") == 3


def test_a_cache_that_cannot_be_written_is_told_once(imagespec: Command, tmp_path: Path) -> None:
    (tmp_path / "images.yaml").write_text("- {name: a, env: {A: '1'}}\n- {name: b, env: {A: '2'}}\n")
    (tmp_path / "file").write_text("")
    arguments = ("images.yaml", "--registry", imagespec.registry)
    done = imagespec("build", *arguments, cwd=tmp_path, expect=2, IMAGESPEC_CACHE=str(tmp_path / "file" / "cache"))
    assert "2 images: 2 failed" in done.stderr
    assert "hint: set IMAGESPEC_CACHE to a folder that can be written to" in done.stderr


def test_a_report_that_cannot_be_written_is_told_before_anything_is_built(imagespec: Command, tmp_path: Path) -> None:
    (tmp_path / "image.yaml").write_text("name: reported\n")
    arguments = ("image.yaml", "--registry", imagespec.registry)
    done = imagespec("warm", *arguments, "--report", "/dev/null/run.json", cwd=tmp_path, expect=2)
    assert "error: write /dev/null/run.json: its folder is a file" in done.stderr
    assert done.stdout == ""
    imagespec("exists", *arguments, cwd=tmp_path, expect=1)


def test_without_an_engine_what_needs_none_is_built(imagespec: Command, tmp_path: Path) -> None:
    (tmp_path / "images.yaml").write_text("- {name: free, env: {A: '1'}}\n- {name: bound, commands: ['true']}\n")
    arguments = ("build", "images.yaml", "--registry", imagespec.registry)
    done = imagespec(*arguments, cwd=tmp_path, expect=4, DOCKER_HOST=NOWHERE)
    assert "2 images: 1 built, 1 failed" in done.stderr
    assert "and without an engine: commands: the daemonless builder runs nothing in the image" in done.stderr
    assert done.stdout.count("/free:") == 1
