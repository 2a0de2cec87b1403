"""Many images in one run, and many runs for one image, on a real registry."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.conftest import Command
from tests.integration.test_main_job import counting

pytestmark = pytest.mark.integration

FAMILY = """
from imagespec import ImageSpec
R = {registry!r}
base = ImageSpec(name="base", registry=R, env={{"A": "1"}})
children = {{n: ImageSpec(name=f"child-{{n}}", registry=R, base_image=base, env={{"N": n}}) for n in ("x", "y")}}
twin = ImageSpec(name="twin", registry=R, base_image=base, env={{"N": "x"}})
bad = ImageSpec(name="bad", registry=R, packages=["tabulate==99.99"])
orphan = ImageSpec(name="orphan", registry=R, base_image=bad, env={{"N": "z"}})
"""


def records(stdout: str) -> dict[str, dict[str, Any]]:
    """Return what --format json says, by the end of the origin."""
    listed = [json.loads(line) for line in stdout.splitlines()]
    return {record["origin"].partition(":")[2]: record for record in listed}


def test_builds_the_graph_and_a_failure_stops_only_what_depends_on_it(imagespec: Command, tmp_path: Path) -> None:
    (tmp_path / "family.py").write_text(FAMILY.format(registry=imagespec.registry))
    done = imagespec("build", "family.py", "--format", "json", cwd=tmp_path, expect=4)
    found = records(done.stdout)
    outcomes = {name: record["outcome"] for name, record in found.items()}
    assert sorted((outcomes.pop("twin"), outcomes.pop("children['x']"))) == ["built", "tagged"]
    assert outcomes == {"base": "built", "children['y']": "built", "bad": "failed", "orphan": "blocked"}
    assert found["twin"]["digest"] == found["children['x']"]["digest"]
    assert "6 images: 3 built, 1 tagged, 1 failed, 1 blocked" in done.stderr
    assert done.stderr.count("error: ") >= 1
    states = imagespec("exists", "family.py", cwd=tmp_path, expect=1).stdout
    assert [line.split("\t")[0] for line in states.splitlines()].count("absent") == 2

    twin = found["twin"]["image"]
    assert "N=x" in imagespec.docker("run", "--rm", "--quiet", twin, "env").splitlines()


def test_when_all_exist_each_reference_is_asked_once(imagespec: Command, tmp_path: Path) -> None:
    text = FAMILY.format(registry=imagespec.registry).partition("bad =")[0]
    (tmp_path / "family.py").write_text(text)
    imagespec("build", "family.py", cwd=tmp_path)
    host, _, prefix = imagespec.registry.partition("/")
    with counting(host) as (door, seen):
        again = imagespec("build", "family.py", "--registry", f"{door}/{prefix}", cwd=tmp_path)
    assert "4 images: 4 reused" in again.stderr
    assert len(seen) == 4
    assert len(set(seen)) == 4
    assert all(line.startswith("HEAD ") for line in seen)


def test_eight_processes_make_one_image_once(imagespec: Command, tmp_path: Path) -> None:
    (tmp_path / "image.yaml").write_text("name: once\npackages: [tabulate==0.9.0]\n")

    def build(_: int) -> subprocess.CompletedProcess[str]:
        return imagespec("build", "image.yaml", "--registry", imagespec.registry, cwd=tmp_path)

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(build, range(8)))
    assert len({one.stdout for one in done}) == 1
    assert "@sha256:" in done[0].stdout
    assert sum("built: " in one.stderr for one in done) == 1
    assert sum("reused: " in one.stderr for one in done) == 7


HOLDER = """
import sys, time
from pathlib import Path
from imagespec.builders import Cancellation
from imagespec.names import Reference
from imagespec.target_lock import TargetLocks
with TargetLocks(Path(sys.argv[1])).hold(Reference.parse(sys.argv[2]), Cancellation(), print):
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_build_of_a_killed_process_is_taken_over(imagespec: Command, tmp_path: Path) -> None:
    (tmp_path / "image.yaml").write_text("name: taken-over\n")
    arguments = ("image.yaml", "--registry", imagespec.registry)
    name = imagespec("tag", *arguments, cwd=tmp_path).stdout.strip()
    locks = Path(imagespec.env["IMAGESPEC_CACHE"], "locks")
    command = [sys.executable, "-c", HOLDER, str(locks), name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with subprocess.Popen(
            [sys.executable, "-m", "imagespec", "build", *arguments, "--events", "json-lines"],
            cwd=tmp_path,
            env=imagespec.env,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as builder:
            assert builder.stderr is not None
            while f"waiting for process {holder.pid}" not in builder.stderr.readline():
                assert builder.poll() is None
            holder.kill()
            killed = time.monotonic()
            taken = json.loads(builder.stderr.readline())
            assert time.monotonic() - killed < 5
            assert (taken["state"], taken["detail"]) == ("building", "")
            assert '"state": "built"' in builder.communicate(timeout=300)[1]


def test_ctrl_c_stops_all_and_leaves_no_tag(imagespec: Command, tmp_path: Path) -> None:
    specs = [{"name": f"stopped-{i}", "commands": [f"sleep 60 # {i}"], "builder": "buildkit"} for i in range(3)]
    (tmp_path / "images.yaml").write_text(yaml.safe_dump(specs))
    arguments = ("images.yaml", "--registry", imagespec.registry)
    command = [sys.executable, "-m", "imagespec", "build", *arguments, "--jobs", "2"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=imagespec.env, text=True, **pipes) as run:  # type: ignore[call-overload]
        for line in run.stderr:
            if "sleep 60" in line and "->" in line:
                break
        os.kill(run.pid, signal.SIGINT)
        stdout, stderr = run.communicate(timeout=60)
    assert run.returncode == 130
    assert stdout == ""
    assert "3 images: 3 stopped" in stderr
    assert "Traceback" not in stderr
    assert imagespec("exists", *arguments, cwd=tmp_path, expect=1).stdout.count("absent\t") == 3


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a package that does not exist": ({"packages": ["tabulate==99.99"]}, "BuildFailed"),
    "a base that does not exist": ({"base_image": "docker.io/library/nothing-here:1"}, ""),
    "a registry that does not answer": ({"registry": "127.0.0.1:9/x"}, "RegistryUnreachable"),
    "a command that fails": ({"commands": ["exit 7"]}, "BuildFailed"),
    "a builder that builds nothing": ({"builder": "noop"}, "EngineUnavailable"),
    "a file to copy that is missing": ({"copy": ["nothing"]}, "InputMissing"),
    "requirements that are missing": ({"requirements": "nothing.txt"}, "InputMissing"),
    "a builder that does not exist": ({"builder": "nobody"}, "SpecError"),
    "an option that does not exist": ({"builder_options": {"nothing": 1}}, "SpecError"),
    "a mount that is missing": ({"pip_secret_mounts": [["nothing", "/root/.netrc"]]}, "SpecError"),
    "cuda, which nobody installs": ({"cuda": "12"}, "SpecError"),
    "a layout that is missing": ({"base_image": "oci-layout:nothing"}, "InputMissing"),
    "an apt package that does not exist": ({"apt_packages": ["no-such-package-here"]}, "BuildFailed"),
}


def test_each_kind_of_failure_is_told_and_what_is_right_is_built(imagespec: Command, tmp_path: Path) -> None:
    names = {f"wrong-{index}": kind for index, kind in enumerate(WRONG)}
    specs: list[dict[str, Any]] = [{"name": name, **WRONG[kind][0]} for name, kind in names.items()]
    specs += [{"name": f"right-{index}", "env": {"I": str(index)}} for index in range(3)]
    for spec in specs:
        spec.setdefault("registry", imagespec.registry)
    (tmp_path / "images.yaml").write_text(yaml.safe_dump(specs))
    done = imagespec("warm", "images.yaml", "--report", "run.json", cwd=tmp_path, expect=4)
    images = json.loads((tmp_path / "run.json").read_text())["images"]
    assert len(done.stdout.splitlines()) == 3
    assert sum(image["outcome"] == "built" for image in images) == 3
    wrong = [image for image in images if image["outcome"] != "built"]
    assert len(wrong) == len(WRONG)
    for image in wrong:
        assert image["error"]["message"]
    kinds = sorted(image["error"]["type"] for image in wrong)
    expected = sorted(kind for _, kind in WRONG.values() if kind)
    assert [kind for kind in expected if kind not in kinds] == []
    lookups = [image["image"] for image in wrong if image["image"].startswith(imagespec.registry)]
    assert lookups
    told = imagespec("exists", *lookups, cwd=tmp_path, expect=1).stdout
    assert told.count("absent\t") == len(lookups)


def test_plan_shows_a_table_and_draws_the_graph(imagespec: Command, tmp_path: Path) -> None:
    (tmp_path / "family.py").write_text(FAMILY.format(registry=imagespec.registry).partition("bad =")[0])
    imagespec("build", "family.py:base", cwd=tmp_path)
    shown = imagespec("plan", "family.py", cwd=tmp_path)
    table = [re.split(r"\s\s+", line) for line in shown.stdout.splitlines()]
    assert table[0] == ["image", "tag", "state", "reason", "builder", "size to push"]
    rows = {row[0]: dict(zip(table[0], row, strict=True)) for row in table[1:]}
    states = {name: row["state"] for name, row in rows.items()}
    assert rows["base"]["size to push"] == rows["twin"]["size to push"] == "0 B"
    assert {row["builder"] for row in rows.values()} == {"daemonless"}
    assert "4 images: 1 present, 3 absent" in shown.stderr
    assert states == {"base": "present", "twin": "absent", "child-x": "absent", "child-y": "absent"}
    drawn = imagespec("plan", "family.py", "--graph", "mermaid", cwd=tmp_path).stdout
    assert drawn.startswith("flowchart LR\n")
    assert drawn.count(" --> ") == 3
    svg = imagespec("plan", "family.py", "--graph", "svg", "--offline", cwd=tmp_path).stdout
    assert svg.count("<path ") == 3


def test_plan_says_what_would_be_pushed_where_that_is_known(imagespec: Command, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("x = 1\n")
    specs = [
        {"name": "sources", "copy": ["src"]},
        {"name": "refused", "apt_packages": ["jq"], "builder": "daemonless"},
        {"name": "command", "commands": ["true"]},
    ]
    (tmp_path / "images.yaml").write_text(yaml.safe_dump(specs))

    def rows() -> dict[str, tuple[str, str, str, str]]:
        done = imagespec("plan", "images.yaml", "--registry", imagespec.registry, cwd=tmp_path)
        assert "refused: apt_packages: the daemonless builder runs nothing in the image" in done.stderr
        lines = (re.split(r"\s\s+", line) for line in done.stdout.splitlines()[1:])
        return {name: (state, reason, builder, size) for name, _, state, reason, builder, size in lines}

    before = rows()
    assert before["sources"][2:] == ("daemonless", "? + 6 B of files")
    assert before["command"][2:] == ("buildkit", "?")
    imagespec("build", "images.yaml", "--registry", imagespec.registry, cwd=tmp_path, expect=2)
    (tmp_path / "src" / "a.py").write_text("x = 100\n")
    after = rows()
    assert after["sources"] == ("absent", "files: src/a.py changed", "daemonless", "8 B")
    assert after["command"] == ("present", "it exists", "buildkit", "0 B")


def test_the_summary_tells_what_was_pushed_and_what_was_there(imagespec: Command, tmp_path: Path) -> None:
    """Exactly where we push; for BuildKit at most what neither the base nor the last image of the name has."""
    megabytes = "head -c 2000000 /dev/urandom > /opt/noise"
    for number, sizes in enumerate(((2.0, 12.0), (0.0, 1.0))):
        spec = {"name": "engines", "commands": [megabytes, f"echo {number} > /opt/number"]}
        (tmp_path / "image.yaml").write_text(yaml.safe_dump(spec))
        done = imagespec("warm", "image.yaml", "--registry", imagespec.registry, "--report", "run.json", cwd=tmp_path)
        told = re.search(r"built: \d+ layers of [\d.]+ MB; at most ([\d.]+) MB of them pushed, at least", done.stderr)
        assert told
        assert sizes[0] <= float(told[1]) <= sizes[1]
        assert not json.loads((tmp_path / "run.json").read_text())["sizes"]["is_exact"]
    (tmp_path / "image.yaml").write_text("name: ours\nenv: {A: '1'}\n")
    own = imagespec("build", "image.yaml", "--registry", imagespec.registry, cwd=tmp_path)
    assert re.search(r"built: \d+ layers of [\d.]+ MB; [\d.]+ MB of them pushed, [\d.]+ MB reused", own.stderr)


def test_the_last_run_becomes_a_page_with_its_layers(imagespec: Command, tmp_path: Path) -> None:
    (tmp_path / "family.py").write_text(FAMILY.format(registry=imagespec.registry).partition("bad =")[0])
    imagespec("build", "family.py", cwd=tmp_path)
    assert imagespec("report", "--output", "page.html", cwd=tmp_path).stdout == "page.html\n"
    text = (tmp_path / "page.html").read_text()
    assert "4 images: " in text
    assert re.search(r"\d+ layers, [\d.]+ MB in the registry", text)
    missing = imagespec("report", "nothing.json", cwd=tmp_path, expect=2)
    assert "there is no such run" in missing.stderr
