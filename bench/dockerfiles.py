"""What ``docker buildx`` builds beside imagespec: a Dockerfile tuned by hand, and flytekit's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.rows import peer_python

__all__ = ["FLYTEKIT", "flytekit_context", "tools_context", "tuned", "uv_binary"]

FLYTEKIT = "flytekit==1.16.31"

_FLYTEKIT_CONTEXT = """
import json, sys
from pathlib import Path
from flytekit import ImageSpec
from flytekit.constants import CopyFileDetection
from flytekit.image_spec.default_builder import create_docker_context
given = json.loads(sys.argv[1])
folder = given.pop("folder")
create_docker_context(ImageSpec(name="bench", source_copy_mode=CopyFileDetection.ALL, **given), Path(folder))
"""


def tuned(packages: Sequence[str], *, bytecode: bool = False) -> str:
    """Return a Dockerfile that installs packages as somebody who knows BuildKit and uv would, with places to fill in.

    ``{base}`` is the base image, ``{step}`` makes the installation run again, ``{cache}`` names uv's cache mount.
    """
    install = ""
    if packages:
        words = " ".join(f"'{one}'" for one in packages)
        compiled = " --compile-bytecode" if bytecode else ""
        install = f"&& /run/uv pip install --python /opt/venv{compiled} {words} "
    return (
        "FROM {base}\n"
        "RUN --mount=type=cache,id={cache},target=/cache --mount=type=bind,from=uv,source=uv,target=/run/uv "
        "--mount=type=secret,id=ca,target=/run/ca.crt SSL_CERT_FILE=/run/ca.crt UV_CACHE_DIR=/cache UV_LINK_MODE=copy "
        f"sh -c ': {{step}}; /run/uv venv /opt/venv {install}'\n".replace("'", '"', 1).replace("'\n", '"\n')
        + 'ENV PATH="/opt/venv/bin:$PATH" PYTHONPATH=/root\nWORKDIR /root\n'
    )


def uv_binary() -> Path:
    """Return the uv of this environment."""
    import uv

    return Path(os.fsdecode(uv.find_uv_bin()))


def tools_context(folder: Path, base: str, ca: str) -> Path:
    """Return a build context for the image that stands for flytekit's tool images, which lie on other registries.

    It holds uv, and the certificates that flytekit takes from micromamba's image; the Python is the base's own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(uv_binary(), folder / "uv")
    shutil.copy(ca, folder / "ca.crt")
    text = f"FROM {base}\nCOPY uv /uv\nCOPY ca.crt /etc/ssl/certs/ca-certificates.crt\n"
    (folder / "Dockerfile").write_text(text)
    return folder


def flytekit_context(folder: Path, source: Path, base: str, tools: str, python: str) -> Path:
    """Return the build context that flytekit's default builder makes for a folder of sources.

    Left out is the line that pulls a frontend from another registry at every build: the engine's own does the same.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    given: Mapping[str, object] = {
        "folder": str(folder),
        "source_root": str(source),
        "base_image": base,
        "python_exec": python,
        "builder_config": {"uv_image": tools, "micromamba_image": tools},
        "env": {"SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"},
    }
    command = [peer_python(FLYTEKIT), "-c", _FLYTEKIT_CONTEXT, json.dumps(given)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    file = folder / "Dockerfile"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if not line.startswith("#syntax=")))
    return folder
