"""``imagespec warm`` as a CI job runs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.conftest import Command

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]

WORKFLOW = """
from imagespec import ImageSpec
print("noise on stdout")
class Task:
    def __init__(self, image):
        self.container_image = image
train = Task(ImageSpec(name="train", registry={registry!r}, env={{"A": "1"}}))
"""
NOWHERE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}


@pytest.fixture
def project(imagespec: Command, tmp_path: Path) -> Path:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "train.py").write_text(WORKFLOW.format(registry=imagespec.registry))
    (tmp_path / "flows" / "image.yaml").write_text(f"name: etl\nregistry: {imagespec.registry}\nenv: {{B: '2'}}\n")
    (tmp_path / "flows" / "deployment.yaml").write_text("kind: Deployment\nname: not-a-spec\n")
    return tmp_path


def test_checks_warms_and_checks_again(imagespec: Command, project: Path) -> None:
    missing = imagespec("warm", "flows", "--check", cwd=project, expect=1, **NOWHERE)
    assert [line.split("\t")[0] for line in missing.stdout.splitlines()] == ["missing", "missing"]

    summary = project / "summary.md"
    summary.write_text("before\n")
    arguments = ("--junit", "out/junit.xml", "--report", "out/run.json", "--format", "json")
    done = imagespec("warm", "flows", *arguments, cwd=project, GITHUB_STEP_SUMMARY=str(summary))
    outcomes = {record["origin"]: record["outcome"] for record in map(json.loads, done.stdout.splitlines())}
    assert outcomes == {"flows/image.yaml": "built", "flows/train.py:train.container_image": "built"}
    assert "noise" not in done.stdout

    suite = ET.parse(project / "out" / "junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("2", "0")
    run = json.loads((project / "out" / "run.json").read_text())
    assert [image["states"][-1]["state"] for image in run["timeline"]] == ["built", "built"]
    assert all(image["steps"] for image in run["timeline"])
    assert re.match(
        r"before\n### imagespec: 2 images: 2 built; .* MB of them pushed, .* MB reused\n", summary.read_text()
    )

    there = imagespec("warm", "flows", "--check", cwd=project, **NOWHERE)
    assert there.stdout.count("present\t") == 2


def test_a_module_that_cannot_be_imported_is_reported_and_the_others_go_on(imagespec: Command, project: Path) -> None:
    (project / "flows" / "broken.py").write_text("from imagespec import ImageSpec\nimport not_there_at_all\n")
    command = [sys.executable, "-m", "imagespec", "warm", "flows", "--junit", "junit.xml"]
    done = subprocess.run(
        command, cwd=project, env=imagespec.env, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 2
    assert '  |   File "' in done.stderr
    assert "broken.py" in done.stderr
    assert "error: import flows/broken.py: ModuleNotFoundError: No module named 'not_there_at_all'" in done.stderr
    assert (project / "junit.xml").read_text().count("<failure ") == 1


def test_a_registry_that_does_not_answer_is_told_once(imagespec: Command, project: Path) -> None:
    done = imagespec("warm", "flows", "--check", "--registry", "127.0.0.1:9/x", cwd=project, expect=3)
    assert done.stdout.count("unknown\t") == 2
    assert done.stderr.count("error: ") == 1


def test_events_are_json_lines_for_tools(imagespec: Command, project: Path) -> None:
    done = imagespec("warm", "flows/image.yaml", "--events", "json-lines", cwd=project)
    events = [json.loads(line) for line in done.stderr.splitlines()]
    states = [event["state"] for event in events if event["type"] == "image_changed"]
    assert (states[0], states[-1]) == ("waiting", "built")
    assert {"step_started", "step_finished", "image", "summary"} <= {event["type"] for event in events}
    times = [event["at_s"] for event in events]
    assert times == sorted(times)


def test_the_layer_cache_goes_through_the_registry(imagespec: Command, tmp_path: Path) -> None:
    (tmp_path / "image.yaml").write_text("name: cached\nbuilder: buildkit\ncommands: ['date +%N > /opt/made']\n")
    places = (f"{imagespec.registry}/cache",)
    first = imagespec("warm", "image.yaml", "--registry", imagespec.registry, "--cache-to", places[0], cwd=tmp_path)
    assert "layer cache: its export took" in first.stderr
    listed = imagespec("exists", f"{places[0]}:{imagespec.registry.partition('/')[2]}-cached", cwd=tmp_path)
    assert listed.stdout.startswith("present\t")


def jobs_of_the_docs() -> list[dict[str, Any]]:
    text = (ROOT / "docs" / "ci.md").read_text()
    return [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]


def run_steps(steps: list[str], cwd: Path, env: dict[str, str]) -> None:
    """Run the steps that are ours as a CI server's shell does; the package and the project's own are installed here."""
    script = "\n".join(step for step in steps if not step.startswith("pip install"))
    path = f"{Path(sys.executable).parent}:{env['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=cwd,
        env={**env, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


def test_the_gitlab_job_of_the_docs_works_step_by_step(
    imagespec: Command, testbed: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "image.yaml").write_text("name: gitlab\nenv: {A: '1'}\n")
    job = jobs_of_the_docs()[1]["images"]
    door = testbed["auth_registry"]
    env = {key: value for key, value in imagespec.env.items() if key not in ("DOCKER_CONFIG", "IMAGESPEC_CACHE")}
    env |= {"HOME": str(tmp_path), "CI_PROJECT_DIR": str(tmp_path), "CI_REGISTRY": door["host"]}
    env |= {"CI_REGISTRY_USER": door["username"], "CI_REGISTRY_PASSWORD": door["password"]}
    env |= {"CI_REGISTRY_IMAGE": f"{door['host']}/{imagespec.registry.rpartition('/')[2]}"}
    run_steps([*job["before_script"], *job["script"]], tmp_path, env)
    assert "<failure" not in (tmp_path / "images.xml").read_text()
    assert "1 image: 1 built" in (tmp_path / "images.html").read_text()


def test_the_github_job_of_the_docs_works_step_by_step(imagespec: Command, tmp_path: Path) -> None:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "image.yaml").write_text(f"name: github\nregistry: {imagespec.registry}\n")
    steps = jobs_of_the_docs()[0]["jobs"]["warm"]["steps"]
    ours = [step["run"] for step in steps if step.get("run", "").startswith("imagespec")]
    assert len(ours) == 2
    run_steps(ours, tmp_path, {**imagespec.env, "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")})
    assert "1 image: 1 built" in (tmp_path / "summary.md").read_text()
    assert (tmp_path / "images.html").exists()
