"""Builder options whose effect no other file shows: when commands run, what they see, and whether they run again."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Command

pytestmark = pytest.mark.integration


def told(imagespec: Command, folder: Path, command: str, *arguments: str, **fields: Any) -> str:
    """Build a spec with one command, over a parent that all share, and return what the command wrote to /told."""
    parent = {"base_image": "python:3.11-slim-bookworm", "builder_options": {"bytecode": False}}
    commands = [f"exec > /told\n{command}"]
    spec = {"name": "options", "base_image": {"name": "parent", **parent}, "commands": commands, **fields}
    (folder / "image.yaml").write_text(json.dumps(spec))
    place = f"{imagespec.registry}/{uuid.uuid4().hex[:8]}"
    reference = imagespec("build", "image.yaml", "--registry", place, *arguments, cwd=folder).stdout.strip()
    return imagespec.docker("run", "--rm", "--quiet", "--entrypoint", "cat", reference, "/told")


def test_commands_come_after_the_sources_or_before_them(shared_imagespec: Command, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("print()\n")
    fields: dict[str, Any] = {"copy": ["app.py"]}
    assert told(shared_imagespec, tmp_path, "ls /root", **fields) == "app.py\n"
    fields["builder_options"] = {"commands_first": True}
    assert told(shared_imagespec, tmp_path, "ls /root", **fields) == ""


def test_without_the_cache_a_command_runs_again(shared_imagespec: Command, tmp_path: Path) -> None:
    command = f"date +%s%N # {uuid.uuid4()}"
    first = told(shared_imagespec, tmp_path, command)
    assert told(shared_imagespec, tmp_path, command) == first
    assert told(shared_imagespec, tmp_path, command, builder_options={"cache": False}) > first


def test_networks(shared_imagespec: Command, tmp_path: Path) -> None:
    """Of its own, with more than loopback; none; the host's, whose name the machine's is."""
    command = "cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' ' | sort"
    interfaces = {
        network: told(shared_imagespec, tmp_path, f"{command} # {network}", builder_options={"network": network})
        for network in ("default", "none", "host")
    }
    assert interfaces["none"] == "lo\n"
    assert len(interfaces["default"].split()) == 2
    mine = {line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]}
    assert set(interfaces["host"].split()) & (mine - {"lo"})
