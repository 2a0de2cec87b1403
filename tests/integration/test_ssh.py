"""``ssh`` of builder_options: steps use the keys of an agent, or of a file, and no layer keeps them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Command

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("ssh-agent") is None, reason="no openssh-client on this machine"),
]


@dataclass(frozen=True)
class Agent:
    """A running agent with one key, and that key's fingerprint."""

    socket: str
    key: Path
    fingerprint: str


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    folder = tmp_path_factory.mktemp("ssh")
    key = folder / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test key", "-f", str(key)], check=True)
    told = subprocess.run(["ssh-agent", "-s"], check=True, capture_output=True, text=True).stdout
    values = dict(re.findall(r"(SSH_[A-Z_]+)=([^;]+);", told))
    try:
        env = {**os.environ, "SSH_AUTH_SOCK": values["SSH_AUTH_SOCK"]}
        subprocess.run(["ssh-add", "-q", str(key)], check=True, env=env, capture_output=True)
        shown = subprocess.run(["ssh-keygen", "-lf", str(key)], check=True, capture_output=True, text=True).stdout
        yield Agent(socket=values["SSH_AUTH_SOCK"], key=key, fingerprint=shown.split()[1])
    finally:
        os.kill(int(values["SSH_AGENT_PID"]), signal.SIGTERM)


def write(folder: Path, registry: str, ssh: list[str], **fields: Any) -> None:
    spec = {
        "name": "ssh",
        "registry": registry,
        "base_image": "python:3.11-slim-bookworm",
        "builder_options": {"ssh": ssh, "bytecode": False},
        **fields,
    }
    (folder / "image.yaml").write_text(json.dumps(spec))


def test_steps_see_the_keys_of_the_agent_and_the_image_does_not(
    shared_imagespec: Command, agent: Agent, tmp_path: Path
) -> None:
    """One image with the agent of the environment, then one with a key that is named, relative to the spec."""
    shutil.copy(agent.key, tmp_path / "my key")
    for ssh, env in ((["default"], {"SSH_AUTH_SOCK": agent.socket}), (["deploy=my key"], {"SSH_AUTH_SOCK": ""})):
        # Which agent answers is not in the key of a cached layer: the text is another each time.
        command = f"ssh-add -l > /keys # {agent.fingerprint} {ssh[0]}"
        fields = {"apt_packages": ["openssh-client"], "commands": [command]}
        write(tmp_path, shared_imagespec.registry, ssh, **fields)
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        built = shared_imagespec("build", "../image.yaml", cwd=tmp_path / "elsewhere", **env)
        reference = built.stdout.strip()
        seen = shared_imagespec.docker("run", "--rm", "--quiet", reference, "cat", "/keys")
        assert seen.split()[1] == agent.fingerprint
        leftovers = "env | grep SSH; find /run /tmp /root -name '*agent*' -o -name '*.sock'; true"
        assert shared_imagespec.docker("run", "--rm", "--quiet", reference, "sh", "-c", leftovers) == ""


def test_the_agent_is_not_in_the_tag(shared_imagespec: Command, agent: Agent, tmp_path: Path) -> None:
    write(tmp_path, shared_imagespec.registry, ["default"])
    tag = shared_imagespec("tag", "image.yaml", cwd=tmp_path, SSH_AUTH_SOCK=agent.socket).stdout
    write(tmp_path, shared_imagespec.registry, ["other=key"])
    assert shared_imagespec("tag", "image.yaml", cwd=tmp_path, SSH_AUTH_SOCK="").stdout == tag


@pytest.mark.parametrize(
    ("ssh", "sock", "message"),
    [
        ("default", "", "builder_options.ssh[0]: there is no ssh agent: SSH_AUTH_SOCK is not set"),
        ("default", "/nowhere", "builder_options.ssh[0]: no ssh agent answers at SSH_AUTH_SOCK=/nowhere"),
        ("id=no-such-key", "", "builder_options.ssh[0]: there is no key or socket 'no-such-key'"),
    ],
)
def test_an_agent_that_is_not_there_is_refused_by_name(
    shared_imagespec: Command, tmp_path: Path, ssh: str, sock: str, message: str
) -> None:
    write(tmp_path, shared_imagespec.registry, [ssh], commands=["true"])
    refused = shared_imagespec("build", "image.yaml", cwd=tmp_path, expect=2, SSH_AUTH_SOCK=sock)
    assert message in refused.stderr
    assert "hint: " in refused.stderr


def test_an_agent_that_does_not_answer_is_told(shared_imagespec: Command, tmp_path: Path) -> None:
    """Its socket is left, its process is gone."""
    path = str(tmp_path / "agent.sock")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path)
    write(tmp_path, shared_imagespec.registry, ["default"], commands=["true"])
    refused = shared_imagespec("build", "image.yaml", cwd=tmp_path, expect=2, SSH_AUTH_SOCK=path)
    assert f"builder_options.ssh[0]: no ssh agent answers at SSH_AUTH_SOCK={path}" in refused.stderr
    key = tmp_path / "no-key"
    key.write_text("not a key\n")
    write(tmp_path, shared_imagespec.registry, ["default=no-key"], commands=["true"])
    refused = shared_imagespec("build", "image.yaml", cwd=tmp_path, expect=4)
    assert "no-key" in refused.stderr
