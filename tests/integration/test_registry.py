"""The registry client whole: many references, large blobs, Ctrl-C, other tools, on real registries."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from imagespec.names import Reference, Repository
from imagespec.oci import Manifest
from imagespec.registry.auth import Credential
from imagespec.registry.http import HttpRegistry
from imagespec.registry.layout import LayoutRegistry
from tests.fakes.images import body, described, write_image
from tests.fakes.scripted import Scripted, stall
from tests.fakes.token_registry import registry_program, serve_token_registry
from tests.integration.debian_tools import skopeo

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]


def _run(*arguments: str, timeout_s: float = 60, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "imagespec", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
        env={**os.environ, **environ},
    )


def _fresh(host: str) -> Repository:
    return Repository.parse(f"{host}/integration/{os.urandom(5).hex()}")


def _tagged(host: str, count: int) -> Repository:
    """Write one image under tags t0, t3, t6 … below ``count``."""
    repository = _fresh(host)
    with HttpRegistry() as registry:
        manifest = write_image(registry, repository)
        for number in range(0, count, 3):
            registry.write_manifest(Reference(repository, f"t{number}"), manifest)
    return repository


def test_exists_of_a_thousand_references_with_a_dead_host(registry_bed: dict[str, Any], tmp_path: Path) -> None:
    repository = _tagged(registry_bed["registry"], 60)
    live = [f"{repository}:t{number % 60 if number % 3 == 0 else f'{number}-absent'}" for number in range(1000)]
    names = [f"127.0.0.1:1/dead/x:t{number}" if number % 3 == 2 else name for number, name in enumerate(live)]
    began = time.monotonic()
    done = _run("exists", *names)
    seconds = time.monotonic() - began
    lines = done.stdout.splitlines()
    assert [line.split("\t")[1] for line in lines] == names
    states = [line.split("\t")[0] for line in lines]
    expected = {0: "present", 1: "absent", 2: "unknown"}
    assert states == [expected[number % 3] for number in range(1000)]
    assert done.returncode == 3
    assert done.stdout.count("no answer from") == 1
    assert done.stderr == ""
    assert seconds < 30


UPLOAD = """
import io, hashlib, resource, sys
from imagespec.names import Digest, Repository
from imagespec.oci import Descriptor
from imagespec.registry.http import HttpRegistry

class Pattern(io.RawIOBase):
    def __init__(self, size):
        self.left, self.block = size, bytes(range(256)) * 4096
    def readable(self):
        return True
    def readinto(self, buffer):
        count = min(len(buffer), self.left, len(self.block))
        buffer[:count] = self.block[:count]
        self.left -= count
        return count

size = int(sys.argv[2])
digest = hashlib.sha256()
with Pattern(size) as source:
    while block := source.read(1 << 20):
        digest.update(block)
described = Descriptor(media_type="x", digest=Digest.sha256(digest.hexdigest()), size_bytes=size)
with HttpRegistry() as registry:
    repository = Repository.parse(sys.argv[1])
    assert registry.write_blob(repository, described, lambda: Pattern(size))
    total = 0
    with registry.read_blob(repository, described.digest) as stream:
        while block := stream.read(1 << 20):
            total += len(block)
assert total == size
if sys.platform == "linux":  # the kernel counts what the parent had at the fork into ru_maxrss
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(peak // 1024)
"""


def test_a_large_blob_needs_little_memory(registry_bed: dict[str, Any]) -> None:
    repository = str(_fresh(registry_bed["registry"]))
    command = [sys.executable, "-c", UPLOAD, repository, str(300_000_007)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert int(done.stdout) < 100


PUSH = """
import io, os, sys
from tests.fakes.images import body, described, write_image
from imagespec.names import Reference
from imagespec.registry.http import HttpRegistry

reference = Reference.parse(sys.argv[1])
with HttpRegistry() as registry:
    print("begun", flush=True)
    manifest = write_image(registry, reference.repository)
    registry.write_manifest(reference, manifest)
"""


def test_ctrl_c_stops_an_upload_at_once_and_tags_nothing() -> None:
    with Scripted(then=stall(60)) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", PUSH, f"{server.host}/x/y:1"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            while not server.asked:
                time.sleep(0.01)
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=5)
            assert time.monotonic() - began < 2
        assert process.returncode != 0
        assert all("/manifests/" not in asked.target for asked in server.asked)


def test_ctrl_c_stops_many_look_ups_at_once() -> None:
    with Scripted(then=stall(60)) as server:
        names = [f"{server.host}/x/y:{number}" for number in range(100)]
        process = subprocess.Popen(
            [sys.executable, "-m", "imagespec", "exists", *names], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        with process:
            while len(server.asked) < 10:
                time.sleep(0.01)
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=5)
            assert time.monotonic() - began < 2
        assert process.returncode not in (0, 1)


def test_credentials_of_docker_login_are_enough(registry_bed: dict[str, Any], tmp_path: Path) -> None:
    user = registry_bed["auth_registry"]
    (tmp_path / "config.json").write_text(
        json.dumps({"auths": {user["host"]: {"username": user["username"], "password": user["password"]}}})
    )
    name = f"{user['host']}/none/none:1"
    assert _run("exists", name, DOCKER_CONFIG=str(tmp_path)).stdout == f"absent\t{name}\n"
    refused = _run("exists", name, DOCKER_CONFIG=str(tmp_path / "none"))
    assert refused.returncode == 3
    assert "docker login" in refused.stdout
    assert user["password"] not in refused.stdout + refused.stderr


def test_a_helper_gives_credentials(registry_bed: dict[str, Any], tmp_path: Path) -> None:
    user = registry_bed["auth_registry"]
    helper = tmp_path / "docker-credential-tests"
    secret = json.dumps({"ServerURL": user["host"], "Username": user["username"], "Secret": user["password"]})
    helper.write_text(f"#!/bin/sh\ncat > {tmp_path}/asked\necho '{secret}'\n")
    helper.chmod(0o755)
    (tmp_path / "config.json").write_text('{"credsStore": "tests"}')
    name = f"{user['host']}/none/none:1"
    done = _run("exists", name, DOCKER_CONFIG=str(tmp_path), PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.stdout == f"absent\t{name}\n"
    assert (tmp_path / "asked").read_text() == user["host"]


def test_tokens_of_a_real_token_server(registry_bed: dict[str, Any], tmp_path: Path) -> None:
    program = registry_program()
    if program is None:
        pytest.fail("docker-registry is not on this machine") if os.environ.get("CI") else pytest.skip("no registry")

    class Held:
        def __init__(self, credential: Credential) -> None:
            self._credential = credential

        def credential(self, repository: Repository) -> Credential:
            return self._credential

    with serve_token_registry(tmp_path, program) as tokens:
        user = Held(Credential(username=tokens.username, password=tokens.password))
        repository = _fresh(tokens.host)
        with HttpRegistry(credentials=user) as registry:
            manifest = write_image(registry, repository)
            registry.write_manifest(Reference(repository, "v1"), manifest)
        with HttpRegistry(credentials=Held(Credential(identity_token=tokens.identity_token))) as registry:
            assert registry.write_manifest(Reference(repository, "v2"), manifest) == manifest.descriptor
        tokens.requests.clear()
        with HttpRegistry() as registry:  # a pull-only token is enough to look
            for tag in ("v1", "v2", "v3"):
                registry.resolve(Reference(repository, tag))
        assert tokens.requests == [("GET", (f"repository:{repository.path}:pull",), False)]


def _layout(root: Path, reference: Reference) -> Manifest:
    registry = LayoutRegistry(root)
    manifest = write_image(registry, reference.repository)
    registry.write_manifest(reference, manifest)
    return manifest


def test_skopeo_reads_the_layout(tmp_path: Path) -> None:
    tool = skopeo()
    manifest = _layout(tmp_path, Reference.parse("localhost/x/y:v1"))
    done = subprocess.run(
        [tool.program, "inspect", "--raw", f"oci:{tmp_path}:v1"],
        capture_output=True,
        check=True,
        env=tool.env,
    )
    assert done.stdout == manifest.data


def test_the_engine_loads_the_layout(testbed: dict[str, Any], tmp_path: Path) -> None:
    import hashlib
    import io

    registry = LayoutRegistry(tmp_path / "layout")
    reference = Reference.parse("localhost/loaded/image:v1")
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("hello"))
    data = layer.getvalue()
    config = json.dumps(
        {
            "os": "linux",
            "architecture": "amd64",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(data).hexdigest()}"]},
        }
    ).encode()
    parts = (described(config, "application/vnd.oci.image.config.v1+json"), described(data))
    for part, content in zip(parts, (config, data), strict=True):
        registry.write_blob(reference.repository, part, body(content))
    registry.write_manifest(reference, Manifest.image(config=parts[0], layers=parts[1:]))
    archive = tmp_path / "image.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(tmp_path / "layout", arcname=".")
    docker = shutil.which("docker", path=os.pathsep.join([*testbed["path"], os.environ["PATH"]]))
    assert docker is not None
    environ = {**os.environ, "DOCKER_HOST": testbed["docker_host"], "DOCKER_CONFIG": testbed["docker_config"]}
    done = subprocess.run([docker, "load", "-i", str(archive)], capture_output=True, text=True, check=True, env=environ)
    assert str(reference) in done.stdout
    subprocess.run([docker, "rmi", str(reference)], capture_output=True, check=True, env=environ)
