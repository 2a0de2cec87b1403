"""What secrets leave behind: nothing. Twelve builds that used some, then a search of everything that they wrote."""

from __future__ import annotations

import base64
import gzip
import json
import mmap
import os
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from imagespec.plan import Tools
from tests.fakes.package_index import PackageIndex, make_wheel, serving
from tests.integration.conftest import Command

pytestmark = pytest.mark.integration

# Recognisable in any layer, and none of them part of another.
NETRC = "netrc-6f1c9d2b7a"
TOKEN = "token-0b6e57c1d4"
PROXY = "proxy-93ad41f0e8"
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)


@dataclass
class Used:
    """Where to search: what was said, the images, the folders; and the secrets, as they are and in base64."""

    secrets: list[str]
    said: list[str] = field(default_factory=list)
    references: list[str] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    command_lines: set[bytes] = field(default_factory=set)

    def forms(self) -> dict[str, bytes]:
        return {one: one.encode() for one in self.secrets} | {
            f"base64 of {one}": base64.b64encode(one.encode())[:-4] for one in self.secrets
        }


def specs(index: PackageIndex, registry: str) -> list[dict[str, Any]]:
    """Twelve specs: each way that a secret reaches a build, alone and together, by both builders; the last fails."""
    mounts = {"pip_secret_mounts": [["netrc", "/root/.netrc"]]}
    base = {"name": "secrets", "registry": registry, "base_image": "python:3.11-slim-bookworm", "builder": "buildkit"}
    private = {"pip_index": index.url, "packages": ["private-thing"], **mounts}
    host = {"network": "host"}
    options = {**host, "secrets": [["token", "/run/secrets/token"]]}
    reads = "cat /run/secrets/token /root/.netrc | wc -c"
    uses = ["test -s /run/secrets/token", "wc -c < /run/secrets/token > /size"]
    return [
        {**base, **private, "builder_options": host},
        {**base, **private, "builder_options": {**host, "bytecode": False}},
        {**base, **private, "builder_options": {**host, "user": "root"}, "env": {"A": "1"}},
        {**base, **private, "requirements": "requirements.txt", "builder_options": host},
        {**base, **private, "builder_options": options, "commands": uses},
        {**base, **private, "builder_options": {**options, "commands_first": True}, "commands": uses, "copy": ["app"]},
        {
            **base,
            **private,
            "builder_options": {**options, "build_args": {"A": "b"}},
            "commands": [reads],
        },
        {**base, **private, "builder_options": {**options, "compression": "uncompressed"}, "commands": uses},
        {**base, **private, "builder_options": {**host, "workdir": "/srv/app"}, "entrypoint": ["python"]},
        {**base, **private, "builder": "daemonless", "builder_options": {"bytecode": False}},
        {**base, **private, "builder": "daemonless", "requirements": "requirements.txt", "copy": ["app"]},
        {
            **base,
            **private,
            "builder_options": options,
            "commands": [f"{reads}; false"],
        },
    ]


@contextmanager
def watching(seen: set[bytes]) -> Iterator[None]:
    """Collect the command lines of all processes, as anybody on the machine can; ended with the block."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.05):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    seen.add(file.read_bytes())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.fixture(scope="module")
def used(testbed: dict[str, Any], shared_imagespec: Command, tmp_path_factory: pytest.TempPathFactory) -> Used:
    imagespec, folder = shared_imagespec, tmp_path_factory.mktemp("secrets")
    door = testbed["auth_registry"]
    wheels, project, scratch = folder / "wheels", folder / "project", folder / "tmp"
    for one in (wheels, project, scratch, project / "app"):
        one.mkdir()
    make_wheel(wheels, "private-thing")
    pip = ("-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheels), f"pip=={Tools().pip}")
    subprocess.run([sys.executable, *pip], check=True)
    shutil.copytree(testbed["docker_config"], folder / "docker", symlinks=True)
    config = folder / "docker" / "config.json"
    login = base64.b64encode(f"{door['username']}:{door['password']}".encode()).decode()
    config.write_text(json.dumps({"auths": {door["host"]: {"auth": login}}}))
    (project / "netrc").write_text(f"machine 127.0.0.1 login robot password {NETRC}\n")
    (project / "token").write_text(f"{TOKEN}\n")
    (project / "requirements.txt").write_text("private-thing==1.0\n")
    (project / "app" / "main.py").write_text("print('x')\n")
    env = {
        # Everything goes around the proxy, which is not there: what matters is that its password was known.
        "HTTP_PROXY": f"http://robot:{PROXY}@127.0.0.1:9",
        "NO_PROXY": "127.0.0.1,localhost",
        "DOCKER_CONFIG": str(config.parent),
        "TMPDIR": str(scratch),
    }
    used = Used(secrets=[NETRC, TOKEN, PROXY, door["password"]])
    with ExitStack() as stack:
        index = stack.enter_context(serving(wheels, login=("robot", NETRC)))
        stack.enter_context(watching(used.command_lines))
        *fine, failing = specs(index, f"{door['host']}/{imagespec.registry.rpartition('/')[2]}")
        for spec in [*fine, failing]:
            (project / "image.yaml").write_text(json.dumps(spec))
            done = imagespec("build", "image.yaml", cwd=project, expect=4 if spec is failing else 0, **env)
            used.said += [done.stdout, done.stderr]
            used.references += done.stdout.split()
        used.requests += index.requests
    used.folders += [Path(imagespec.env["IMAGESPEC_CACHE"]), scratch]
    engine = Path(imagespec.docker("info", "--format", "{{.DockerRootDir}}").strip(), "buildkit")
    # BuildKit keeps the history and the logs of builds; those of an engine on another machine are not ours to read.
    used.folders += [engine] if os.access(engine, os.R_OK | os.X_OK) else []
    return used


def test_the_secrets_were_used(used: Used) -> None:
    assert len(used.references) == 11
    assert "GET /files/private_thing-1.0-py3-none-any.whl 200" in used.requests


def test_no_log_holds_one(used: Used) -> None:
    for text in used.said:
        for name, form in used.forms().items():
            assert form not in text.encode(), name


def test_no_command_line_holds_one(used: Used) -> None:
    """``ps`` shows them to everybody: of the client, of buildx, of uv, and of what runs in the steps."""
    lines = used.command_lines
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("no /proc to watch processes in")
    for program in (b"buildx", b"imagespec", b"uv"):
        assert any(program in line for line in lines), program
    for name, form in used.forms().items():
        assert [line for line in lines if form in line] == [], name


def test_no_local_store_holds_one(used: Used) -> None:
    files = [Path(parent, name) for root in used.folders for parent, _, names in os.walk(root) for name in names]
    searched = 0
    for file in files:
        if file.is_symlink() or not file.is_file() or not file.stat().st_size:
            continue
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = [name for name, form in used.forms().items() if data.find(form) >= 0]
        assert not found, f"{file}: {found}"
        searched += 1
    assert searched


def test_no_manifest_config_or_layer_holds_one(used: Used, testbed: dict[str, Any]) -> None:
    """The configuration has the history; layers are searched decompressed, names of files included."""
    forms, seen, sees_contents = used.forms(), set(), False
    for reference in used.references:
        name, _, digest = reference.partition("@")
        host, _, path = name.rpartition(":")[0].partition("/")
        opener = _Opener(f"http://{host}/v2/{path}", testbed["auth_registry"])
        manifest = opener.read(f"manifests/{digest}")
        parts = json.loads(manifest)
        blobs = [parts["config"], *parts["layers"]]
        for blob in blobs:
            if blob["digest"] not in seen:
                seen.add(blob["digest"])
                data = _inflated(opener.read(f"blobs/{blob['digest']}"), blob["mediaType"])
                sees_contents |= b"WHO = 'private-thing 1.0'" in data
                found = [one for one, form in forms.items() if form in data]
                assert not found, f"{reference}: {blob['mediaType']}: {found}"
        assert not [one for one, form in forms.items() if form in manifest]
    assert len(seen) > 20
    assert sees_contents, "what was installed with a secret is found, so a secret would be too"


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("pip_secret_mounts[1]", {"pip_secret_mounts": [["here", "/a"], ["no such", "/b"]]}),
        ("builder_options.secrets[0]", {"builder_options": {"secrets": [["no such", "/b"]]}}),
    ],
)
def test_a_file_that_is_not_there_is_told_by_its_field(
    shared_imagespec: Command, tmp_path: Path, field: str, fields: dict[str, Any]
) -> None:
    (tmp_path / "here").write_text("secret\n")
    (tmp_path / "image.yaml").write_text(json.dumps({"registry": shared_imagespec.registry, **fields}))
    refused = shared_imagespec("build", "image.yaml", cwd=tmp_path, expect=2)
    assert f"{field}: there is no file 'no such'" in refused.stderr


class _Opener:
    def __init__(self, url: str, door: dict[str, str]) -> None:
        self._url = url
        login = base64.b64encode(f"{door['username']}:{door['password']}".encode()).decode()
        self._headers = {"Authorization": f"Basic {login}", "Accept": MANIFESTS}

    def read(self, path: str) -> bytes:
        with urllib.request.urlopen(urllib.request.Request(f"{self._url}/{path}", headers=self._headers)) as answer:
            data: bytes = answer.read()
        return data


def _inflated(data: bytes, media_type: str) -> bytes:
    assert "zstd" not in media_type
    return gzip.decompress(data) if media_type.endswith("gzip") else data
