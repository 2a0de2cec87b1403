"""Quoting, delimiters, titles, and what a plan's Dockerfile says. The golden files hold the whole of it."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from imagespec.dockerfile import (
    Rendering,
    heredoc_delimiter,
    quoted_json,
    quoted_value,
    quoted_word,
    render,
    replaced_patterns,
    title_of,
)
from imagespec.errors import Unsupported
from imagespec.plan import (
    AptInstall,
    CondaInstall,
    CopyFiles,
    PythonEnvironment,
    PythonPackages,
    RunCommand,
    Step,
)
from imagespec.planner import make_plan
from imagespec.snapshot import LockFiles, Snapshot
from imagespec.spec import Declaration

TEMPLATE = (Path(__file__).resolve().parents[2] / "templates" / "Dockerfile.j2").read_text()


def rendered(*secrets: str, **fields: Any) -> Rendering:
    return render(make_plan(Declaration(**fields), Snapshot()), TEMPLATE, secrets)


@pytest.mark.parametrize("text", ["a", "/a/b-c_d.e:f@g+h~", "${TARGETARCH}"[2:-1]])
def test_words_that_stay_as_they_are(text: str) -> None:
    assert quoted_word(text) == text


@pytest.mark.parametrize("text", ["", " ", "a b", "a\n", "$a", '"a"', "a\\", "<<a", "#a", "é"])
def test_words_that_no_dockerfile_holds(text: str) -> None:
    with pytest.raises(Unsupported):
        quoted_word(text)


def test_values_and_json() -> None:
    assert quoted_value("a \"b\" $c \\ `d` 'e' #f") == '"a \\"b\\" \\$c \\\\ `d` \'e\' #f"'
    assert json.loads(quoted_json(["a\n", '"', "é\u2028", "\x7f"])) == ["a\n", '"', "é\u2028", "\x7f"]
    assert "\n" not in quoted_json(["a\nb"])


@pytest.mark.parametrize("text", ["x", "IMAGESPEC", " IMAGESPEC\r\n", "IMAGESPEC\nIMAGESPEC_1", "a\rIMAGESPEC\rb"])
def test_a_delimiter_is_no_line_of_the_text(text: str) -> None:
    delimiter = heredoc_delimiter(text)
    assert delimiter not in {line.strip() for line in text.splitlines()}
    assert delimiter == heredoc_delimiter(text)
    assert delimiter.isidentifier()


@pytest.mark.parametrize(
    ("step", "title"),
    [
        (AptInstall(packages=("a", "b")), "apt packages: a, b"),
        (AptInstall(packages=tuple("abcdef")), "apt packages: a, b, c, d and 2 more"),
        (PythonPackages(prefix="/v", lines=("a==1 --hash=sha256:0", "b @ https://x")), "python packages: a==1, b"),
        (PythonPackages(prefix="/v", lock=LockFiles(kind="uv.lock", files=())), "python packages: uv.lock"),
        (CopyFiles(destination="/root", entries=()), "copy 0 files to /root"),
        (RunCommand(command="\n  first\nsecond"), "command: first…"),
        (RunCommand(command="x" * 61), f"command: {'x' * 60}…"),
        (RunCommand(command="x" * 60), f"command: {'x' * 60}"),
        (CondaInstall(prefix="/c", packages=("a",), channels=(), python_version=""), "conda packages: a"),
    ],
)
def test_titles_say_in_a_few_words_what_a_step_does(step: Step, title: str) -> None:
    assert title_of(step) == title


def test_an_environment_says_which_python() -> None:
    (step,) = (one for one in make_plan(Declaration(), Snapshot()).steps if isinstance(one, PythonEnvironment))
    assert title_of(step) == "python 3.13 in /opt/venv"


def test_plain_values_stand_in_the_dockerfile_and_others_go_as_arguments() -> None:
    plain = rendered(env={"A": "b c"})
    assert 'ENV A="b c"\n' in plain.dockerfile
    assert plain.arguments == ()
    carried = rendered(env={"A": "b\nc", "IMAGESPEC_VALUE_0": "mine"})
    assert 'ARG IMAGESPEC_VALUE_0_\nENV A="${IMAGESPEC_VALUE_0_}"\n' in carried.dockerfile
    assert carried.arguments == (("IMAGESPEC_VALUE_0_", "b\nc"),)


def test_secrets_are_mounted_and_never_copied() -> None:
    text = rendered("/root/.netrc", packages=["a"], commands=["x"]).dockerfile
    mounts = text.count("--mount=type=secret,id=imagespec-secret-0,target=/root/.netrc")
    assert mounts == text.count("id=imagespec-env"), "every step that may fetch sees it"
    assert mounts == text.count("/root/.netrc")


def test_nothing_is_pulled_to_read_it() -> None:
    text = rendered().dockerfile
    assert text.startswith("FROM scratch AS uv\n")
    assert "syntax" not in text


@pytest.mark.parametrize(
    "fields",
    [
        {"packages": ["a"], "apt_packages": ["xx"], "commands": ["if true; then\n  echo 'a'\nfi"]},
        {"conda_packages": ["x"]},
        {"pip_index": "https://x/?a=b&c='d'", "pip_extra_args": "--x 'a b'", "packages": ["a"]},
        {"base_image": "debian", "python_exec": "/usr/bin/python3"},
    ],
)
def test_every_script_is_one_that_a_shell_reads(fields: dict[str, Any]) -> None:
    scripts = rendered("/run/secret", **fields).dockerfile.split("<<'IMAGESPEC'\n")[1:]
    assert len(scripts) >= 2
    for script in scripts:
        text = script.split("\nIMAGESPEC\n")[0]
        done = subprocess.run(["sh", "-n"], input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{done.stderr}\n{text}"


def test_what_is_asked_for_anew_is_not_held() -> None:
    patterns = replaced_patterns(PythonPackages(prefix="/v", lines=("a.b[x]>=1", "c", "git+https://x/y")))
    frozen = ["a.b==1", "ab==1", "c==2", "cc==2", "c @ file:///x", "-e /x", "d==1"]
    done = subprocess.run(
        ["grep", "-v", "-E", *(word for one in patterns for word in ("-e", one))],
        input="\n".join(frozen) + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[:-1] == ["ab==1", "cc==2", "d==1"]


def test_arguments_reach_a_shell_as_they_were_written() -> None:
    text = rendered(packages=["a"], pip_extra_args="--config 'a $HOME \"b\"'").dockerfile
    (line,) = (line for line in text.splitlines() if "--config" in line)
    assert shlex.split(line)[-2:] == ["--config", 'a $HOME "b"']
