"""A build that ends in the middle leaves no tag, no folder and no process, and says what to do."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes.door import Door
from tests.integration.conftest import Bed, Command, imagespec

__all__ = ["imagespec"]

pytestmark = pytest.mark.integration

PATIENCE_S = 90.0
# Of its own for each run: an engine that has been through the step once answers from its cache.
SLEEPER = f"commands: ['echo the step has begun; sleep 300; : {secrets.token_hex(4)}']\n"


def spec(folder: Path, text: str) -> Path:
    (folder / "image.yaml").write_text(f"name: faulty\n{text}")
    return folder


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.01)


def clients(registry: str) -> list[str]:
    """Return the command lines of processes that still build for this test's own registry prefix."""
    shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in shown.splitlines() if registry in line and "buildx" in line]


def left_in(cache: str) -> list[str]:
    work = Path(cache, "work")
    return [path.name for path in work.iterdir()] if work.is_dir() else []


def assert_nothing_is_left(imagespec: Command, folder: Path) -> None:
    wait_for(lambda: not clients(imagespec.registry), "the client ends")
    assert left_in(imagespec.env["IMAGESPEC_CACHE"]) == []
    imagespec("exists", "image.yaml", "--registry", imagespec.registry, cwd=folder, expect=1)


def in_the_step(folder: Path) -> bool:
    return "   the step has begun" in (folder / "log").read_text()


@contextmanager
def running(
    imagespec: Command, folder: Path, registry: str, until: Callable[[Path], bool] = in_the_step, **env: str
) -> Iterator[subprocess.Popen[str]]:
    """Yield a build that is in the middle of a step that never ends, or that has got to another point."""
    command = [
        sys.executable,
        "-m",
        "imagespec",
        "build",
        "image.yaml",
        "--builder",
        "buildkit",
        "--registry",
        registry,
    ]
    log = (folder / "log").open("w+")
    process = subprocess.Popen(
        command, cwd=folder, env={**imagespec.env, **env}, stdout=log, stderr=log, text=True, start_new_session=True
    )
    try:
        wait_for(lambda: until(folder), "the build gets there")
        yield process
    finally:
        log.close()
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("packages: [no-such-package-of-ours==1.0]\n", "error: build: python packages: no-such-package-of-ours==1.0: "),
        (
            "apt_packages: [no-such-package-of-ours]\n",
            "error: build: apt packages: no-such-package-of-ours: exit code 100",
        ),
        (
            "commands: ['echo what it said >&2; exit 7']\n",
            "error: build: command: echo what it said >&2; exit 7: exit code 7",
        ),
        ("commands: ['echo \"unclosed']\n", 'error: build: command: echo "unclosed: exit code 2'),
    ],
)
def test_a_step_that_fails_is_named_with_what_it_said(imagespec: Command, tmp_path: Path, text: str, said: str) -> None:
    spec(tmp_path, text)
    arguments = ("build", "image.yaml", "--builder", "buildkit", "--registry", imagespec.registry)
    lines = imagespec(*arguments, cwd=tmp_path, expect=4).stderr.splitlines()
    assert lines[-2].startswith(said)
    assert lines[-1] == "hint: nothing was pushed; mend what the output above says and build again"
    assert lines[-3].startswith("  | ")
    if "what it said" in text:
        assert lines[-3] == "  | what it said"
    assert_nothing_is_left(imagespec, tmp_path)


def test_megabytes_of_output_neither_stop_a_build_nor_hide_its_end(imagespec: Command, tmp_path: Path) -> None:
    """Many lines to both, one line without an end, bytes that are no UTF-8: what is said last is what is shown last."""
    lines = "import sys; [print('a line of output', i, file=(sys.stdout, sys.stderr)[i % 2]) for i in range(60_000)]"
    commands = [
        f'/opt/venv/bin/python -c "{lines}"',
        "head -c 1500000 /dev/zero | tr '\\0' x",
        "head -c 300000 /dev/urandom",
        "echo the very end; echo and after it >&2; exit 3",
    ]
    spec(tmp_path, f"commands: {json.dumps(commands)}\n")
    arguments = ("build", "image.yaml", "--builder", "buildkit", "--registry", imagespec.registry)
    command = [sys.executable, "-m", "imagespec", *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=imagespec.env, capture_output=True, timeout=300, check=False)
    said = done.stderr.decode(errors="replace")
    assert done.returncode == 4, said[-2000:]
    last = said.splitlines()[-8:]
    assert last[-2].startswith("error: build: command: echo the very end; echo and after it >&2; exit 3: exit code 3")
    assert {"  | the very end", "  | and after it"} <= set(last)


def test_without_an_engine_the_way_out_is_named(imagespec: Command, tmp_path: Path) -> None:
    spec(tmp_path, SLEEPER)
    arguments = ("build", "image.yaml", "--builder", "buildkit", "--registry", imagespec.registry)
    nowhere = imagespec(*arguments, cwd=tmp_path, expect=4, DOCKER_HOST=f"unix://{tmp_path}/docker.sock")
    assert "error: engine: " in nowhere.stderr
    assert "hint: start Docker, or set DOCKER_HOST to an engine that answers" in nowhere.stderr
    no_client = imagespec(*arguments, cwd=tmp_path, expect=4, PATH="/nowhere")
    assert "error: engine: there is no docker client on the PATH" in no_client.stderr
    assert_nothing_is_left(imagespec, tmp_path)


def test_a_registry_that_is_not_there_ends_the_build_before_it_begins(imagespec: Command, tmp_path: Path) -> None:
    spec(tmp_path, SLEEPER)
    with Door(("127.0.0.1", 1)) as door:
        dead = door.address[1]
    started = time.monotonic()
    done = imagespec("build", "image.yaml", "--registry", f"127.0.0.1:{dead}/x", cwd=tmp_path, expect=3)
    assert f"error: look up 127.0.0.1:{dead}/x/faulty:" in done.stderr
    assert "hint: " in done.stderr
    assert time.monotonic() - started < 30
    assert left_in(imagespec.env["IMAGESPEC_CACHE"]) == []


def test_an_engine_that_stops_in_the_middle(imagespec: Command, testbed: Bed, tmp_path: Path) -> None:
    spec(tmp_path, SLEEPER)
    inner = testbed["docker_host"].removeprefix("unix://")
    with Door(inner, tmp_path / "door.sock") as door:
        engine = f"unix://{door.address}"
        with running(imagespec, tmp_path, imagespec.registry, DOCKER_HOST=engine) as process:
            door.shut()
            assert process.wait(PATIENCE_S) == 4
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said
    assert "\nerror: " in said
    assert "\nhint: " in said
    assert_nothing_is_left(imagespec, tmp_path)


def test_a_registry_that_goes_away_before_the_push(imagespec: Command, testbed: Bed, tmp_path: Path) -> None:
    host, _, port = testbed["registry"].partition(":")
    prefix = imagespec.registry.partition("/")[2]
    # A command of its own, or the engine would remember the step and print nothing.
    spec(tmp_path, f"commands: ['echo the step has begun; sleep 5; echo {prefix}']\n")
    door = Door((host, int(port)))
    with door, running(imagespec, tmp_path, f"127.0.0.1:{door.address[1]}/{prefix}") as process:
        door.shut()
        assert process.wait(PATIENCE_S) in (3, 4)
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said
    assert "\nerror: " in said
    assert "\nhint: " in said
    assert_nothing_is_left(imagespec, tmp_path)


@pytest.mark.parametrize(
    ("number", "to_group"), [(signal.SIGINT, False), (signal.SIGINT, True), (signal.SIGTERM, False)], ids=str
)
def test_a_build_that_is_interrupted(
    imagespec: Command, tmp_path: Path, number: signal.Signals, to_group: bool
) -> None:
    spec(tmp_path, SLEEPER)
    with running(imagespec, tmp_path, imagespec.registry) as process:
        (os.killpg if to_group else os.kill)(process.pid, number)
        assert process.wait(PATIENCE_S) == 130
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said
    assert "\nerror: stopped" in said or "\nerror: build: stopped" in said
    assert "\nhint: " in said
    assert_nothing_is_left(imagespec, tmp_path)


@pytest.mark.parametrize("after_s", [0.0, 0.03, 0.05])
def test_a_build_that_is_interrupted_while_its_client_starts(
    imagespec: Command, tmp_path: Path, after_s: float
) -> None:
    """Before its plugin has called back, the client loses an interrupt, or dies of it and leaves the plugin behind."""

    def client_starts(folder: Path) -> bool:
        return any(Path(imagespec.env["IMAGESPEC_CACHE"], "work").glob("*/client.pid"))

    spec(tmp_path, SLEEPER)
    with running(imagespec, tmp_path, imagespec.registry, client_starts) as process:
        time.sleep(after_s)
        os.kill(process.pid, signal.SIGINT)
        began = time.monotonic()
        assert process.wait(PATIENCE_S) == 130
        assert time.monotonic() - began < 30
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert_nothing_is_left(imagespec, tmp_path)


def test_a_build_that_is_killed_is_cleaned_up_by_the_next_one(imagespec: Command, tmp_path: Path) -> None:
    spec(tmp_path, SLEEPER)
    with running(imagespec, tmp_path, imagespec.registry) as process:
        process.kill()
        process.wait()
    assert len(left_in(imagespec.env["IMAGESPEC_CACHE"])) == 1
    assert imagespec("exists", "image.yaml", "--registry", imagespec.registry, cwd=tmp_path, expect=1)
    spec(tmp_path, "commands: ['true']\n")
    imagespec("build", "image.yaml", "--builder", "buildkit", "--registry", imagespec.registry, cwd=tmp_path)
    assert left_in(imagespec.env["IMAGESPEC_CACHE"]) == []
    wait_for(lambda: not clients(imagespec.registry), "the client of the killed build ends")


_PRETENDER = """\
#!{python}
import json, sys
words = sys.argv[1:]
if words[-1:] == ["--help"]:
    print("buildx")
if {{"version", "info"}} & set(words):
    print(json.dumps({{"Client": {{}}, "Server": {{}}}}))
if "--metadata-file" in words:
    file = words[words.index("--metadata-file") + 1]
    open(file, "w").write(json.dumps({{"containerimage.digest": "sha256:" + "1" * 64}}))
"""


@pytest.mark.parametrize("push", [True, False])
def test_a_result_that_is_nowhere_is_an_error(imagespec: Command, tmp_path: Path, push: bool) -> None:
    """A builder of another driver that keeps its result to itself, as it seems from here: all went well."""
    spec(tmp_path, "commands: ['true']\n")
    client = tmp_path / "bin" / "docker"
    client.parent.mkdir()
    client.write_text(_PRETENDER.format(python=sys.executable))
    client.chmod(0o755)
    where = ("--registry", imagespec.registry) if push else ()
    path = f"{client.parent}:{imagespec.env['PATH']}"
    done = imagespec("build", "image.yaml", "--builder", "buildkit", *where, cwd=tmp_path, expect=5, PATH=path)
    assert "was built, but is not there" in done.stderr
    assert "hint: " in done.stderr
    assert done.stdout == ""
    assert left_in(imagespec.env["IMAGESPEC_CACHE"]) == []
