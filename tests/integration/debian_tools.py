"""Programs that tests hold ours against: the machine's own, or Debian's, unpacked by the test-bed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["Tool", "buildah", "chromium", "containerd", "podman", "skopeo"]

BED = Path(__file__).resolve().parents[2] / "testdata" / "testbed" / "bed.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A program, and the environment to run it in."""

    program: str
    env: dict[str, str]

    def __call__(self, *words: str | Path, **env: str) -> str:
        """Return what the program prints; it must succeed."""
        done = subprocess.run(
            [self.program, *map(str, words)],
            env={**self.env, **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, f"{self.program} {words}: {done.stdout}\n{done.stderr}"
        return done.stdout


def skopeo() -> Tool:
    """Return skopeo; where it cannot be had the test is skipped, and fails in CI."""
    return _tool("skopeo", ("skopeo",), "usr/bin/skopeo")


def buildah() -> Tool:
    """Return Buildah; where it cannot be had the test is skipped, and fails in CI."""
    return _tool("buildah", ("buildah",), "usr/bin/buildah")


def podman(program: str = "podman") -> Tool:
    """Return Podman, or a program that it needs; where it cannot be had the test is skipped, and fails in CI."""
    places = {"podman": "usr/bin/podman", "runc": "usr/sbin/runc", "conmon": "usr/bin/conmon"}
    return _tool("podman", (program,), places[program])


def containerd(program: str = "containerd") -> Tool:
    """Return containerd, or its client ``ctr``; where it cannot be had the test is skipped, and fails in CI."""
    return _tool("containerd", (program,), f"usr/bin/{program}")


def chromium() -> Tool:
    """Return a Chromium that needs no screen; where it cannot be had the test is skipped, and fails in CI."""
    return _tool("chromium", ("chromium", "google-chrome"), "usr/lib/chromium/chromium-headless-shell")


def _tool(name: str, commands: tuple[str, ...], path: str) -> Tool:
    found = next(filter(None, map(shutil.which, commands)), None)
    if found is not None:
        return Tool(program=found, env=dict(os.environ))
    done = subprocess.run([sys.executable, str(BED), "tool", name], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = f"{name} is not to be had: {done.stderr[-300:]}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    folder = Path(done.stdout.strip())
    places = ("usr/lib/*-linux-gnu", "lib/*-linux-gnu", "usr/lib/*-linux-gnu/pulseaudio")
    libraries = ":".join(str(one) for place in places for one in folder.glob(place))
    env = {"LD_LIBRARY_PATH": libraries, "FONTCONFIG_SYSROOT": str(folder)}
    return Tool(program=str(folder / path), env=os.environ | env)
