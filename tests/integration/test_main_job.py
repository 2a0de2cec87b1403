"""The main job, as the README tells it: spec, tag, exists, build, push, run, reused."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import yaml

from tests.integration.conftest import Command

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def manifest(reference: str) -> dict[str, Any]:
    name, _, digest = reference.partition("@")
    host, _, path = name.partition("/")
    request = Request(f"http://{host}/v2/{path.rpartition(':')[0]}/manifests/{digest}", headers={"Accept": MANIFEST})
    with urlopen(request, timeout=30) as answer:
        value: dict[str, Any] = json.load(answer)
    return value


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "testdata" / "demo", tmp_path / "project"))


def test_builds_pushes_runs_reuses_and_rebuilds_one_layer(imagespec: Command, project: Path) -> None:
    arguments = ("image.yaml", "--registry", imagespec.registry)
    name = imagespec("tag", *arguments, cwd=project).stdout.strip()
    absent = imagespec("exists", *arguments, cwd=project, expect=1)
    assert absent.stdout == f"absent\t{name}\n"

    built = imagespec("build", *arguments, cwd=project)
    reference = built.stdout.strip()
    assert reference.startswith(f"{name}@sha256:")
    assert "built: it did not exist" in built.stderr
    assert imagespec("exists", *arguments, cwd=project).stdout == f"present\t{name}\n"

    printed = imagespec.docker("run", "--rm", "--pull", "always", "--quiet", reference)
    assert "123.5 MB" in printed
    assert '3 data sets, counted by jq; it works, $HOME and "quotes" included' in printed

    again = imagespec("build", *arguments, cwd=project, DOCKER_HOST="unix:///nowhere/docker.sock")
    assert again.stdout.strip() == reference
    assert "reused: it exists" in again.stderr

    source = project / "app" / "main.py"
    source.write_text(source.read_text().replace("data sets, counted", "sets of data, counted"))
    edited = imagespec("build", *arguments, cwd=project).stdout.strip()
    assert edited.split("@")[0] != name
    assert "3 sets of data, counted by jq" in imagespec.docker("run", "--rm", "--quiet", edited)
    before, after = (manifest(one)["layers"] for one in (reference, edited))
    assert [layer["digest"] for layer in after[:-1]] == [layer["digest"] for layer in before[:-1]]
    assert after[-1]["digest"] != before[-1]["digest"]


def test_the_image_keeps_the_run_time_contract(imagespec: Command, project: Path) -> None:
    reference = imagespec("build", "image.yaml", "--registry", imagespec.registry, cwd=project).stdout.strip()
    script = "id -un; pwd; command -v python; command -v pip; stat -c %U /root /opt/venv; echo $PYTHONPATH; pip check"
    printed = imagespec.docker("run", "--rm", "--quiet", "--entrypoint", "sh", reference, "-c", script)
    contract = ["flytekit", "/root", "/opt/venv/bin/python", "/opt/venv/bin/pip", "flytekit", "flytekit", "/root"]
    assert printed.splitlines() == [*contract, "No broken requirements found."]
    config = json.loads(imagespec.docker("inspect", reference))[0]["Config"]
    assert config["Env"][-1].startswith("_F_IMG_ID=")
    assert config["Labels"]["io.imagespec.fingerprint"] in reference


@contextmanager
def counting(registry: str) -> Iterator[tuple[str, list[str]]]:
    """A door in front of the registry that writes down every request."""
    seen: list[str] = []

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._pass_on()

        def do_GET(self) -> None:
            self._pass_on()

        def _pass_on(self) -> None:
            seen.append(f"{self.command} {self.path}")
            headers = {"Accept": self.headers.get("Accept", "*/*")}
            request = Request(f"http://{registry}{self.path}", method=self.command, headers=headers)
            with urlopen(request, timeout=30) as answer:
                body = answer.read()
                self.send_response(answer.status)
                for name in ("Content-Type", "Docker-Content-Digest", "Content-Length"):
                    if answer.headers[name]:
                        self.send_header(name, answer.headers[name])
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}", seen
        finally:
            server.shutdown()
            thread.join()


def test_an_unchanged_spec_costs_one_request_and_no_engine(imagespec: Command, project: Path) -> None:
    imagespec("build", "image.yaml", "--registry", imagespec.registry, cwd=project)
    host, _, path = imagespec.registry.partition("/")
    with counting(host) as (door, seen):
        arguments = ("build", "image.yaml", "--registry", f"{door}/{path}")
        again = imagespec(*arguments, cwd=project, DOCKER_HOST="unix:///nowhere/docker.sock", PATH="/nowhere")
    tag = again.stdout.split("@")[0].rpartition(":")[2]
    assert seen == [f"HEAD /v2/{path}/imagespec-demo/manifests/{tag}"]
    assert re.search(r"reused: it exists; \d+\.\d\d s", again.stderr)


def test_the_example_of_the_readme_works(imagespec: Command, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    example = re.search(r"```yaml\n(.*?)```", readme, re.DOTALL)
    assert example is not None
    (tmp_path / "image.yaml").write_text(example[1])
    declared = yaml.safe_load(example[1])
    reference = imagespec("build", "image.yaml", "--registry", imagespec.registry, cwd=tmp_path).stdout.strip()
    script = 'cat /opt/jq-version; echo "$GREETING"; python -c "import humanize; print(humanize.__version__)"'
    printed = imagespec.docker("run", "--rm", "--quiet", reference, "sh", "-c", script).splitlines()
    assert printed[0].startswith("jq-1.")
    assert printed[1:] == [declared["env"]["GREETING"], "4.12.3"]

    code = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert code is not None
    (tmp_path / "image.py").write_text(code[1])
    program = [sys.executable, "image.py"]
    printed_name = subprocess.run(program, cwd=tmp_path, env=imagespec.env, capture_output=True, text=True, check=True)
    assert imagespec("tag", "image.py:image", cwd=tmp_path).stdout == printed_name.stdout


def test_a_spec_without_a_registry_goes_to_the_local_engine(imagespec: Command, project: Path) -> None:
    built = imagespec("build", "image.yaml", cwd=project)
    name = imagespec("tag", "image.yaml", cwd=project).stdout.strip()
    assert "built: it did not exist" in built.stderr
    try:
        assert "3 data sets" in imagespec.docker("run", "--rm", name)
        assert imagespec("exists", "image.yaml", cwd=project).stdout == f"present\t{name}\n"
        assert "reused" in imagespec("build", "image.yaml", cwd=project).stderr
    finally:
        imagespec.docker("rmi", "--force", name)


def test_a_spec_on_a_spec_builds_both_and_keeps_the_parents_versions(imagespec: Command, tmp_path: Path) -> None:
    (tmp_path / "specs.py").write_text(
        "from imagespec import ImageSpec\n"
        f"parent = ImageSpec(name='parent', registry='{imagespec.registry}', packages=['tabulate==0.8.10'])\n"
        f"child = ImageSpec(name='child', registry='{imagespec.registry}', base_image=parent,\n"
        "                  packages=['humanize==4.12.3'], env={'ROLE': 'child'})\n"
    )
    reference = imagespec("build", "specs.py:child", cwd=tmp_path).stdout.strip()
    script = "pip list --format freeze; echo $ROLE; id -un; pwd"
    printed = imagespec.docker("run", "--rm", "--quiet", reference, "sh", "-c", script).splitlines()
    assert {"tabulate==0.8.10", "humanize==4.12.3"} <= set(printed)
    assert printed[-3:] == ["child", "flytekit", "/root"]
    assert imagespec("exists", "specs.py:parent", cwd=tmp_path).stdout.startswith("present\t")


def test_a_registry_with_a_password_is_asked_with_the_users_credentials(
    imagespec: Command, testbed: dict[str, Any], tmp_path: Path
) -> None:
    door = testbed["auth_registry"]
    shutil.copytree(testbed["docker_config"], tmp_path / "docker", symlinks=True)
    spec = tmp_path / "image.yaml"
    spec.write_text("name: guarded\npackages: [tabulate==0.9.0]\n")
    arguments = ("image.yaml", "--registry", f"{door['host']}/{imagespec.registry.rpartition('/')[2]}")

    refused = imagespec("build", *arguments, cwd=tmp_path, expect=3)
    assert "hint:" in refused.stderr
    assert "docker login" in refused.stderr

    config = tmp_path / "docker" / "config.json"
    imagespec.docker(
        *("--config", str(config.parent), "login", door["host"]), *("-u", door["username"], "-p", door["password"])
    )
    built = imagespec("build", *arguments, cwd=tmp_path, DOCKER_CONFIG=str(config.parent))
    assert "built: it did not exist" in built.stderr
    assert door["password"] not in built.stderr + built.stdout
    there = imagespec("exists", *arguments, cwd=tmp_path, DOCKER_CONFIG=str(config.parent))
    assert there.stdout.startswith("present\t")


def test_files_of_the_same_size_and_time_are_told_apart_by_content(imagespec: Command, tmp_path: Path) -> None:
    """BuildKit's transfer of a folder would take the first file for the second."""
    (tmp_path / "app").mkdir()
    (tmp_path / "image.yaml").write_text("name: twice\ncopy: [app]\n")
    (tmp_path / "bad.yaml").write_text("name: twice\npackages: [tabulate==99.99]\n")
    (tmp_path / "good.yaml").write_text("name: twice\npackages: [tabulate==0.9.0]\n")
    for text in ("one", "two"):
        (tmp_path / "app" / "text").write_text(text)
        reference = imagespec("build", "image.yaml", "--registry", imagespec.registry, cwd=tmp_path).stdout.strip()
        assert imagespec.docker("run", "--rm", "--quiet", reference, "cat", "app/text") == text
    imagespec("build", "good.yaml", "--registry", imagespec.registry, cwd=tmp_path)
    failed = imagespec("build", "bad.yaml", "--registry", imagespec.registry, cwd=tmp_path, expect=4)
    assert "tabulate==99.99" in failed.stderr
    assert imagespec("exists", "bad.yaml", "--registry", imagespec.registry, cwd=tmp_path, expect=1).stdout
