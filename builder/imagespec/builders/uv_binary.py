"""The ``uv`` program for Linux, from its wheel on the package index, kept once per version and architecture."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Final

from imagespec.builders.host_uv import host_uv
from imagespec.errors import EngineUnavailable, Unsupported
from imagespec.oci import Platform

__all__ = ["uv_folder"]

# The musl wheel is linked statically: the same binary runs on Debian, Alpine and every other base.
_TARGETS: Final = {"amd64": "x86_64-unknown-linux-musl", "arm64": "aarch64-unknown-linux-musl"}
_TIME_LIMIT_S: Final = 300.0


def uv_folder(store: Path, version: str, platforms: tuple[Platform, ...]) -> Path:
    """Return the folder that holds ``ARCHITECTURE/uv`` for every platform, fetching what is missing.

    Raise Unsupported for an architecture without a uv, EngineUnavailable when the index does not give it.
    """
    folder = store / "tools" / f"uv-{version}"
    for platform in platforms:
        if platform.architecture not in _TARGETS:
            raise Unsupported(
                f"platform: there is no uv for {platform}",
                builder="buildkit",
                field="platform",
                hint="builder_config={'uv_image': …} can name an image that has /uv",
            )
        binary = folder / platform.architecture / "uv"
        if not binary.exists():
            _fetch(binary, version, _TARGETS[platform.architecture])
    return folder


def _fetch(binary: Path, version: str, target: str) -> None:
    binary.parent.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".uv-", dir=binary.parent.parent) as folder:
        command = [host_uv(), "pip", "install", "--no-deps", "--target", folder]
        command += ["--python-platform", target, "--only-binary", ":all:", f"uv=={version}"]
        try:
            # In a folder of its own: the user's index settings count, those of a project around us do not.
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIME_LIMIT_S, cwd=folder)
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
            raise EngineUnavailable(
                f"uv: the package index did not give uv {version} for {target}: {said[-1] if said else error}",
                hint="check the index (UV_DEFAULT_INDEX), the proxy and the CA (SSL_CERT_FILE), or name an image: "
                "builder_config={'uv_image': …}",
            ) from error
        fetched = Path(folder, "bin", "uv")
        fetched.chmod(0o755)
        binary.parent.mkdir(exist_ok=True)
        fetched.replace(binary)
