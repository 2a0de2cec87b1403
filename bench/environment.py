"""Peers as people run them: a Dockerfile with uv, buildx on the test-bed's engine, Debian's own programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from bench.rows import ROOT, say

__all__ = [
    "Program",
    "buildx_build",
    "debian_program",
    "engine",
    "forget_image",
    "install_dockerfile",
    "tag_as",
    "uv_program",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Where a program is, and what it needs in its environment."""

    path: str
    environment: Mapping[str, str] = field(default_factory=dict)


def uv_program() -> Path:
    """Return the uv that our own environment has: the peers' Dockerfiles install with the same one."""
    import uv

    return Path(os.fsdecode(uv.find_uv_bin()))


def engine(bed: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment in which ``docker`` speaks to the test-bed's engine."""
    return {
        "PATH": os.pathsep.join([*bed["path"], os.environ["PATH"]]),
        "DOCKER_HOST": bed["docker_host"],
        "DOCKER_CONFIG": bed["docker_config"],
    }


def forget_image(name: str, environment: Mapping[str, str]) -> None:
    """Remove an image from the engine, if it is there."""
    command = ["docker", "image", "rm", "--force", name]
    subprocess.run(command, env={**os.environ, **environment}, capture_output=True, check=False)


def install_dockerfile(base: str, packages: Sequence[str], *, environment: str = "", first: bool = True) -> str:
    """Return a Dockerfile as somebody who knows BuildKit and uv writes it: a warm cache mount, nothing pulled.

    ``environment`` is a line of variables; with ``first`` the virtual environment is made, too.
    """
    venv = "/run/uv venv /opt/venv && " if first else ""
    return (
        f"FROM {base}\n"
        f"{environment}"
        "RUN --mount=type=cache,id=uv-bench,target=/cache --mount=type=bind,from=uv,source=uv,target=/run/uv "
        "--mount=type=secret,id=ca,target=/run/ca.crt "
        "export SSL_CERT_FILE=/run/ca.crt UV_CACHE_DIR=/cache UV_LINK_MODE=copy; "
        f"{venv}/run/uv pip install --python /opt/venv {' '.join(packages)}\n"
    )


def buildx_build(bed: Mapping[str, Any], target: str, dockerfile: str, context: Path) -> list[str]:
    """Return the command that builds and pushes; ``dockerfile`` is a path, or ``-`` for standard input."""
    return [
        *("docker", "buildx", "build", "--provenance=false", "--progress=plain", "--push", "--tag", target),
        *("--build-context", f"uv={uv_program().parent}", "--secret", f"id=ca,src={bed['ca']}"),
        *("--file", dockerfile, str(context)),
    ]


def debian_program(name: str, path: str, tool: str = "") -> Program | None:
    """Return the machine's own program, or Debian's as the test-bed unpacks it; None where it cannot be had.

    ``path`` is where it lies in the folder of ``tool``, which is its own name unless another one brings it.
    """
    if found := shutil.which(name):
        return Program(path=found)
    command = [sys.executable, str(ROOT / "testdata" / "testbed" / "bed.py"), "tool", tool or name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        say(f"without {name}: {done.stderr.strip()[-200:]}")
        return None
    folder = Path(done.stdout.strip())
    libraries = [str(one) for place in ("usr/lib/*-linux-gnu", "lib/*-linux-gnu") for one in folder.glob(place)]
    return Program(path=str(folder / path), environment={"LD_LIBRARY_PATH": ":".join(libraries)})


def tag_as(built: str, name: str) -> None:
    """Let ``name`` stand for an image of the same repository on a plain HTTP registry, so that a peer finds it."""
    host, _, path = built.partition("/")
    repository, _, tag = path.rpartition(":")
    place = f"http://{host}/v2/{repository}/manifests"
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    with urlopen(Request(f"{place}/{tag}", headers=accept), timeout=30) as answer:
        manifest, kind = answer.read(), answer.headers["Content-Type"]
    wanted = f"{place}/{name.rpartition(':')[2]}"
    with urlopen(Request(wanted, data=manifest, method="PUT", headers={"Content-Type": kind}), timeout=30) as answer:
        answer.read()
