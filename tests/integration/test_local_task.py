"""Container tasks on a real engine: inputs in, typed outputs back, nothing left behind."""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import docker
import pytest

from imagespec.errors import EngineError, SpecError, TaskFailed
from imagespec.task import ContainerTask, Directory, File, ImageConfig, TaskMetadata, run_locally

pytestmark = pytest.mark.integration


@pytest.fixture
def image(testbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DOCKER_HOST", testbed["docker_host"])
    monkeypatch.setenv("DOCKER_CONFIG", testbed["docker_config"])
    return f"{testbed['registry']}/{testbed['bases']['debian']}"


def shell(image: str, script: str, **fields: Any) -> ContainerTask:
    folders = {"input_data_dir": "/var/inputs", "output_data_dir": "/var/outputs"}
    return ContainerTask("shell", image, ["sh", "-ec", script], **{**folders, **fields})


def containers(mark: str) -> list[str]:
    with contextlib.closing(docker.from_env()) as client:
        return [one.id for one in client.containers.list(all=True) if f"MARK={mark}" in one.attrs["Config"]["Env"]]


def test_values_go_in_and_come_back_typed(image: str) -> None:
    task = shell(
        image,
        'cd /var/outputs; printf %s "$1" > i; echo "$2" > f; echo "$3" > b; printf %s "$4" > s; echo "$5" > d;'
        ' echo "$6" > t',
        arguments=["-", *(f"{{{{.inputs.{name}}}}}" for name in ("i", "f", "b", "s", "d", "t"))],
        inputs={"i": int, "f": float, "b": bool, "s": str, "d": datetime.datetime, "t": datetime.timedelta},
        outputs={"i": int, "f": float, "b": bool, "s": str, "d": datetime.datetime, "t": datetime.timedelta},
    )
    values = {
        "i": -7,
        "f": 2.5,
        "b": False,
        "s": "two words, 'quotes' and $HOME\nand a line",
        "d": datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.timezone.utc),
        "t": datetime.timedelta(days=2, hours=3, microseconds=1500),
    }
    assert run_locally(task, **values) == values


def test_files_and_folders_are_mounted_and_stay(image: str, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("one")
    (tmp_path / "many" / "deep").mkdir(parents=True)
    (tmp_path / "many" / "deep" / "b").write_text("two")
    task = shell(
        image,
        "cat /var/inputs/one /var/inputs/many/deep/b /var/inputs/word > /var/outputs/file;"
        " mkdir /var/outputs/folder; cp -r /var/inputs/many/deep /var/outputs/folder/",
        inputs={"one": File, "many": Directory, "word": str},
        outputs={"file": File, "folder": Directory},
    )
    outputs = run_locally(task, one=tmp_path / "in.txt", many=tmp_path / "many", word="!")
    assert Path(outputs["file"]).read_text() == "onetwo!"
    assert Path(outputs["folder"], "deep", "b").read_text() == "two"
    assert isinstance(outputs["file"], File)


def test_a_running_container_can_be_found_by_its_mark(image: str) -> None:
    mark = uuid.uuid4().hex
    seen: list[list[str]] = []
    run_locally(
        shell(image, "echo; sleep 1", environment={"MARK": mark}), on_log=lambda _: seen.append(containers(mark))
    )
    assert [len(found) for found in seen] == [1]
    assert containers(mark) == []


def test_lines_are_heard_as_they_come(image: str) -> None:
    heard: list[tuple[str, float]] = []
    task = shell(image, "echo first; echo to stderr >&2; sleep 1; printf last", environment={"A": "b"})
    assert run_locally(task, on_log=lambda line: heard.append((line, time.monotonic()))) == {}
    # Two pipes have no order among themselves: only what a second lies between is sure to come later.
    assert sorted(line for line, _ in heard[:2]) == ["first", "to stderr"]
    assert [line for line, _ in heard[2:]] == ["last"]
    assert heard[-1][1] - heard[0][1] > 0.5


def test_a_failure_says_status_and_last_lines_and_leaves_no_container(image: str) -> None:
    mark = uuid.uuid4().hex
    with pytest.raises(TaskFailed, match=r"^run shell: exited with 3: it broke$") as raised:
        run_locally(shell(image, "seq 100 >&2; echo it broke >&2; exit 3", environment={"MARK": mark}))
    assert raised.value.exit_status == 3
    assert raised.value.log_tail[-2:] == ("100", "it broke")
    assert len(raised.value.log_tail) == 20
    assert containers(mark) == []


def test_a_time_out_stops_it_and_leaves_no_container(image: str) -> None:
    mark = uuid.uuid4().hex
    started = time.monotonic()
    with pytest.raises(TaskFailed, match=r"^run shell: stopped after 2 s: begun$") as raised:
        run_locally(shell(image, "echo begun; sleep 60", metadata=TaskMetadata(timeout=2), environment={"MARK": mark}))
    assert raised.value.exit_status is None
    assert time.monotonic() - started < 20
    assert containers(mark) == []


_INTERRUPTED = """
import sys
from imagespec.task import ContainerTask, run_locally
task = ContainerTask("shell", sys.argv[1], ["sh", "-c", "echo begun; sleep 60"], environment={"MARK": sys.argv[2]})
run_locally(task, on_log=lambda line: print(line, flush=True))
"""


def test_ctrl_c_stops_it_and_leaves_no_container(image: str) -> None:
    mark = uuid.uuid4().hex
    words = [sys.executable, "-c", _INTERRUPTED, image, mark]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        assert len(containers(mark)) == 1
        child.send_signal(signal.SIGINT)
        _, error = child.communicate(timeout=60)
    assert child.returncode != 0
    assert error.rstrip().endswith("KeyboardInterrupt")
    assert containers(mark) == []


def test_what_does_not_fit_is_refused_by_name(image: str, tmp_path: Path) -> None:
    for task, inputs, message in (
        (shell(image, "true", outputs={"o": int}), {}, "outputs: the container did not write o"),
        (shell(image, "echo x > /var/outputs/o", outputs={"o": int}), {}, "outputs: o is 'x\\\\n', which is no int"),
        (shell(image, "true", inputs={"a": int}), {}, "inputs: 'a' has no value and no default"),
        (shell(image, "true"), {"z": 1}, "inputs: there is no input 'z'"),
        (shell(image, "true", inputs={"f": File}), {"f": tmp_path / "no"}, "inputs: f: there is no file"),
        (shell(image, "echo {{.inputs.f}}", inputs={"f": File}), {"f": os.devnull}, "is a file or a folder"),
        (shell(image, "true", outputs={"o": int}, output_data_dir=None), {}, "output_data_dir: is not set"),
    ):
        with pytest.raises(SpecError, match=message):
            run_locally(task, **inputs)


def test_a_placeholder_names_the_image_and_an_unknown_image_is_an_error(image: str) -> None:
    task = shell("{{.image.default}}", "echo 1 > /var/outputs/o", outputs={"o": int})
    assert run_locally(task, image_config=ImageConfig.from_images(image)) == {"o": 1}
    with pytest.raises(EngineError, match="run shell: the engine says: "):
        run_locally(shell(f"{image}-not-there", "true"))
