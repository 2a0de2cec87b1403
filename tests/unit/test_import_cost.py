"""Importing the package loads nothing heavy: what is heavy is imported where it acts."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from imagespec.cli import cli

HEAVY = (
    *("docker", "python_on_whales", "jinja2", "click", "rich", "yaml", "urllib3", "pathspec", "flytekit"),
    *("packaging", "requests", "asyncio", "http.client", "ssl", "uv"),
    *("dataclasses", "inspect", "tomllib", "socket", "subprocess", "tempfile", "imagespec.clients"),
)
WITH_A_BUILD = ("imagespec.compose", "imagespec.clients", "imagespec.builders.daemonless")
FOR_FEW_RUNS = (
    *("importlib.metadata", "ssl", "http.client", "urllib.request", "tarfile", "concurrent.futures", "logging"),
    *("imagespec.builders.buildkit", "imagespec.report.page", "jinja2", "docker", "python_on_whales"),
)


def loaded_by(statement: str, names: tuple[str, ...] = HEAVY) -> list[str]:
    """Return which of these modules a fresh interpreter has after ``statement``."""
    script = f"import json, sys\n{statement}\nprint(json.dumps([n for n in {names!r} if n in sys.modules]))"
    command = [sys.executable, "-c", script]
    # From a folder without settings files, which are read where they are.
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd="/")
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    "statement",
    [
        "import imagespec",
        "from imagespec import ImageSpec",
        "from imagespec import ImageSpec, CopyFileDetection, ImageSpecError",
        "from imagespec import ImageSpec\nImageSpec(apt_packages=['git'], env={'A': 'b'}, commands=['true']).tag",
    ],
)
def test_nothing_heavy_is_loaded(statement: str) -> None:
    assert loaded_by(statement) == []


def test_the_command_tag_loads_nothing_that_builds_or_looks_up() -> None:
    statement = "from imagespec.cli import cli\ncli.get_command(None, 'tag')"
    assert loaded_by(statement, WITH_A_BUILD) == []
    assert loaded_by(statement.replace("tag", "build"), WITH_A_BUILD) == list(WITH_A_BUILD)


@pytest.mark.parametrize("command", ["build", "exists", "plan", "warm"])
def test_a_command_that_may_find_all_there_loads_nothing_that_few_runs_need(command: str) -> None:
    assert loaded_by(f"from imagespec.cli import cli\ncli.get_command(None, {command!r})", FOR_FEW_RUNS) == []


def test_the_list_of_commands_loads_none_of_them() -> None:
    statement = "from imagespec.cli import cli\ncli.main(['--help'], standalone_mode=False)"
    statement = (
        f"import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()):\n {statement.replace(chr(10), '; ')}"
    )
    commands = ("imagespec.cli.building", "imagespec.cli.run", "imagespec.cli.looking", *WITH_A_BUILD)
    assert loaded_by(statement, commands) == []


def test_every_command_that_is_listed_is_there_and_the_list_is_not_cut() -> None:
    listed = CliRunner().invoke(cli, ["--help"]).output.partition("Commands:\n")[2].splitlines()
    context = click.Context(cli)
    assert [line.split()[0] for line in listed] == cli.list_commands(context)
    for line in listed:
        command = cli.get_command(context, line.split()[0])
        assert command is not None
        assert command.name == line.split()[0]
        assert line.endswith(".")
        assert not line.endswith("...")


def test_the_check_sees_what_is_loaded() -> None:
    assert loaded_by("import yaml") == ["yaml"]


def test_public_names_are_there_and_no_others() -> None:
    script = "import imagespec; print(dir(imagespec), imagespec.ImageSpec.__name__)\nimagespec.Missing"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "['CopyFileDetection', 'ImageSpec', 'ImageSpecError'] ImageSpec\n"
    assert "AttributeError: module 'imagespec' has no attribute 'Missing'" in done.stderr
