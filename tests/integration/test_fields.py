"""Every field that can be set together, in one image, and what each does as seen from inside the container."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from imagespec.plan import Tools
from imagespec.spec import FIELD_NAMES
from tests.fakes.package_index import make_wheel, serving
from tests.integration.conftest import Command

pytestmark = pytest.mark.integration

NASTY = "two  spaces 'single' \"double\" $HOME ${HOME} `id` \\n #no | & ; * ünïcödé"
LINES = "first\nUSER root\n\ttabbed \\\nlast"
PASSWORD = "index-password-3141592653"

# What the container's entrypoint runs: one JSON object of everything that can be seen from inside.
PROBE = """
import getpass, glob, importlib.metadata, json, os, pathlib, subprocess, sys
installed = {one.name: one.version for one in importlib.metadata.distributions()}
read = lambda path: pathlib.Path(path).read_text() if os.path.exists(path) else None
print(json.dumps({
    "python": ".".join(map(str, sys.version_info[:2])), "prefix": sys.prefix, "base_prefix": sys.base_prefix,
    "installed": installed, "env": dict(os.environ), "user": getpass.getuser(), "cwd": os.getcwd(),
    "jq": subprocess.run(["jq", "--version"], capture_output=True, text=True).stdout.strip(),
    "debian": read("/etc/debian_version").strip(), "machine": os.uname().machine,
    "files": {path: read(path) for path in glob.glob("**", recursive=True) if os.path.isfile(path)},
    "written": read("/written-by-commands"), "secret": read("/run/secrets/build"), "netrc": read("/root/.netrc"),
    "pycs": glob.glob("/opt/venv/**/*.pyc", recursive=True),
    "arguments": sys.argv[1:],
}))
"""


@dataclass(frozen=True)
class Everything:
    """The spec as its file has it, what the probe saw, what the engine says of the image, and what was asked."""

    spec: dict[str, Any]
    seen: dict[str, Any]
    config: dict[str, Any]
    reference: str
    requests: list[str]
    said: str


def _write_tree(folder: Path, texts: dict[str, str]) -> None:
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def _uv_image(imagespec: Command, folder: Path) -> str:
    """Return an image of the tests' own that holds uv at /uv, as ``builder_config.uv_image`` wants it."""
    import uv

    folder.mkdir()
    (folder / "uv").write_bytes(Path(uv.find_uv_bin()).read_bytes())
    (folder / "uv").chmod(0o755)
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY uv /uv\n")
    name = f"{imagespec.registry}/tool-uv:1"
    imagespec.docker("buildx", "build", "--quiet", "--provenance=false", "--push", "--tag", name, str(folder))
    return name


def _docker_config(testbed: dict[str, Any], file: Path) -> str:
    door = testbed["auth_registry"]
    login = base64.b64encode(f"{door['username']}:{door['password']}".encode()).decode()
    file.write_text(json.dumps({"auths": {door["host"]: {"auth": login}}}))
    return file.name


@pytest.fixture(scope="module")
def everything(
    testbed: dict[str, Any], shared_imagespec: Command, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Everything]:
    imagespec, folder = shared_imagespec, tmp_path_factory.mktemp("everything")
    door = testbed["auth_registry"]
    public, private = folder / "public", folder / "private"
    for one in (public, private):
        one.mkdir()
    make_wheel(public, "alpha", requires=("never-to-be-found",))
    make_wheel(private, "beta")
    make_wheel(private, "gamma")
    pip = ("-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(public), f"pip=={Tools().pip}")
    subprocess.run([sys.executable, *pip], check=True)
    _write_tree(
        folder,
        {
            "project/pack age/it's.txt": "copied\n",
            "project/src/main.py": "print('source')\n",
            "project/requirements.txt": "-r nested/more.txt\n",
            "project/nested/more.txt": "beta\n-c limits.txt\n",
            "project/nested/limits.txt": "beta<2\n",
            "project/build secret": "secret-of-the-commands\n",
        },
    )
    project = folder / "project"
    with ExitStack() as stack:
        first = stack.enter_context(serving(public))
        second = stack.enter_context(serving(private, login=("robot", PASSWORD)))
        (project / "netrc").write_text(f"machine 127.0.0.1 login robot password {PASSWORD}\n")
        spec: dict[str, Any] = {
            "name": "everything",
            "python_version": "3.11",
            "builder": "buildkit",
            "source_root": "src",
            "env": {"NASTY": NASTY, "LINES": LINES, "EMPTY": ""},
            "registry": f"{door['host']}/{imagespec.registry.rpartition('/')[2]}",
            "packages": ["alpha==1.0"],
            "requirements": "requirements.txt",
            "apt_packages": ["jq"],
            "base_image": "python:3.11-slim-bookworm",
            "platform": "linux/amd64",
            "pip_index": first.url,
            "pip_extra_index_url": [second.url],
            "pip_secret_mounts": [["netrc", "/root/.netrc"]],
            "pip_extra_args": "--no-deps",
            "registry_config": _docker_config(testbed, project / "registry.json"),
            "entrypoint": ["python", "-c", PROBE, "$HOME", "two words"],
            "commands": [
                'printf "%s|" "$NASTY" "$LINES" "$TICKET" > /written-by-commands',
                "false || true # a comment ends here\ncat /run/secrets/build | wc -c >> /written-by-commands",
                "cat <<IMAGESPEC >> /written-by-commands\nhere 'document' $((1 + 1))\nIMAGESPEC\n",
            ],
            "tag_format": "v1-{spec_hash}-all",
            "source_copy_mode": "ALL",
            "copy": ["pack age/it's.txt"],
            "python_exec": "/usr/bin/python3",
            "runtime_packages": ["gamma"],
            "builder_options": {
                "user": "worker",
                "workdir": "/srv/app",
                "bytecode": False,
                "network": "host",
                "labels": {"org.example.text": NASTY + LINES},
                "build_args": {"TICKET": NASTY},
                "compression": "zstd",
                "secrets": [["build secret", "/run/secrets/build"]],
            },
            "builder_config": {"uv_image": _uv_image(imagespec, folder / "tool")},
        }
        (project / "image.yaml").write_text(json.dumps(spec))
        built = imagespec("build", "image.yaml", cwd=project)
        reference = built.stdout.strip()
        imagespec.docker("--config", str(_logged_in(testbed, folder)), "pull", "--quiet", reference)
        install = f"python -m pip install --quiet --no-deps --index-url {second.url} gamma && python -c 'import gamma'"
        netrc = f"{project / 'netrc'}:/home/worker/.netrc:ro"
        (project / "netrc").chmod(0o644)
        imagespec.docker("run", "--rm", "--network=host", "-v", netrc, "--entrypoint=sh", reference, "-c", install)
        yield Everything(
            spec=spec,
            seen=json.loads(imagespec.docker("run", "--rm", reference)),
            config=json.loads(imagespec.docker("inspect", reference))[0],
            reference=reference,
            requests=[*first.requests, *second.requests],
            said=built.stderr,
        )


def _logged_in(testbed: dict[str, Any], folder: Path) -> Path:
    config = folder / "docker-config"
    config.mkdir()
    _docker_config(testbed, config / "config.json")
    return config


def test_every_field_that_goes_with_the_others_is_in_the_spec(everything: Everything) -> None:
    elsewhere = {"conda_packages", "conda_channels", "cuda", "cudnn"}
    assert set(everything.spec) == set(FIELD_NAMES) - elsewhere


def test_names_and_tags(everything: Everything) -> None:
    name, _, digest = everything.reference.partition("@")
    assert name.startswith(f"{everything.spec['registry']}/everything:v1-x1-")
    assert name.endswith("-all")
    assert digest.startswith("sha256:")
    assert everything.config["Architecture"] == "amd64"
    assert everything.config["Config"]["Labels"]["org.example.text"] == NASTY + LINES


def test_python_comes_from_where_the_spec_says(everything: Everything) -> None:
    seen = everything.seen
    assert (seen["python"], seen["prefix"], seen["base_prefix"]) == ("3.11", "/opt/venv", "/usr")
    assert seen["debian"].startswith("12.")
    assert seen["machine"] == "x86_64"


def test_packages_come_from_the_indexes_of_the_spec(everything: Everything) -> None:
    seen = everything.seen["installed"]
    assert {name: seen.get(name) for name in ("alpha", "beta", "gamma", "pip")} == {
        "alpha": "1.0",
        "beta": "1.0",
        "gamma": None,
        "pip": Tools().pip,
    }
    assert everything.seen["pycs"] == [], "bytecode: false"
    assert "GET /simple/alpha/ 200" in everything.requests
    assert "GET /files/beta-1.0-py3-none-any.whl 200" in everything.requests
    assert everything.seen["jq"].startswith("jq-1.")


def test_values_arrive_in_the_container_as_they_are_written(everything: Everything) -> None:
    env, written = everything.seen["env"], everything.seen["written"]
    assert (env["NASTY"], env["LINES"], env["EMPTY"]) == (NASTY, LINES, "")
    secret_bytes = len("secret-of-the-commands\n")
    assert written == f"{NASTY}|{LINES}|{NASTY}|{secret_bytes}\nhere 'document' 2\n"
    assert everything.seen["arguments"] == ["$HOME", "two words"]
    assert "TICKET" not in env, "build arguments end with the build"


def test_user_workdir_and_sources(everything: Everything) -> None:
    seen = everything.seen
    assert (seen["user"], seen["cwd"], seen["env"]["PYTHONPATH"]) == ("worker", "/srv/app", "/srv/app")
    assert seen["files"] == {"main.py": "print('source')\n", "pack age/it's.txt": "copied\n"}
    assert (seen["secret"], seen["netrc"]) == (None, None)
    assert everything.config["Config"]["Env"][-1].startswith("_F_IMG_ID=")
