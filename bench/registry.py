"""Look-ups, pushes and copies, beside what people would use: the docker SDK (flytekit's way), skopeo, oras, curl.

Half of the references exist. The peers look them up as their users do: flytekit's ``exist`` makes a docker client for
each, flyte-sdk 2 starts a ``docker buildx imagetools`` for each, all at once, the others go one by one. Since that
takes the same time for each, they get fewer of them than we do, and every figure is seconds for one reference. The
longer line is a proxy of ours that adds 40 ms to each round trip, that of making a connection included. The SDK's
look-ups go through the engine, whose image store has none of them.

The limit of look-ups is what the registry answers when HEAD requests are pipelined on four connections; that of a push
is reading the file, hashing it and sending it to a server on loopback that keeps nothing.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.environment import debian_program, engine
from bench.rows import (
    Runner,
    attempts,
    cache_folder,
    in_turn,
    limit,
    peer_python,
    row,
    say,
    test_bed,
)
from bench.servers import count_requests, server

PART = "registry"
COUNT = 200
ORAS = "oras==0.2.43"
FLYTE = "flyte==2.12.1"
LARGE_BYTES = 500_000_000
HUGE_BYTES = 5_000_000_000
MAX_PEAK_BYTES = 100_000_000

_OURS = """
import sys, time
from imagespec.names import Reference
from imagespec.registry.http import HttpRegistry
from imagespec.registry.many import resolve_many
references = [Reference.parse(text) for text in sys.argv[1:]]
start = time.perf_counter()
with HttpRegistry() as registry:
    found = list(resolve_many(registry, references))
print(f"bench_each={(time.perf_counter() - start) / len(references)}")
assert [one.error for one in found if one.error] == [], found
assert sum(one.descriptor is not None for one in found) * 2 == len(references)
"""
_SDK = """
import sys, time, docker
start, present = time.perf_counter(), 0
for text in sys.argv[1:]:
    try:
        docker.from_env().images.get_registry_data(text)
        present += 1
    except docker.errors.NotFound:
        pass
print(f"bench_each={(time.perf_counter() - start) / len(sys.argv[1:])}")
assert present * 2 == len(sys.argv[1:]), present
"""
_SKOPEO = """
import subprocess, sys, time
start, present = time.perf_counter(), 0
for text in sys.argv[2:]:
    done = subprocess.run([sys.argv[1], "--insecure-policy", "inspect", "--no-tags", "--tls-verify=false",
                           f"docker://{text}"], capture_output=True)
    present += done.returncode == 0
print(f"bench_each={(time.perf_counter() - start) / len(sys.argv[2:])}")
assert present * 2 == len(sys.argv[2:]), present
"""
_ORAS = """
import sys, time, oras.client
start, present, client = time.perf_counter(), 0, oras.client.OrasClient(insecure=True)
for text in sys.argv[1:]:
    try:
        client.get_manifest(text)
        present += 1
    except ValueError:
        pass
print(f"bench_each={(time.perf_counter() - start) / len(sys.argv[1:])}")
assert present * 2 == len(sys.argv[1:]), present
"""
_FLYTE = """
import asyncio, sys, time
from flyte._internal.imagebuild.image_builder import LocalDockerCommandImageChecker as checker
async def ask():
    return await asyncio.gather(*(checker.image_exists(*text.rsplit(":", 1)) for text in sys.argv[1:]))
start = time.perf_counter()
found = asyncio.run(ask())
print(f"bench_each={(time.perf_counter() - start) / len(sys.argv[1:])}")
assert sum(map(bool, found)) * 2 == len(found), found
"""
_PIPELINED = """
import socket, sys, threading, time
host, _, port = sys.argv[1].partition("/")[0].partition(":")
def ask(references):
    names = [text.partition("/")[2].rpartition(":") for text in references]
    accept = "application/vnd.oci.image.manifest.v1+json"
    head = "HEAD /v2/{}/manifests/{} HTTP/1.1\\r\\nHost: x\\r\\nAccept: " + accept + "\\r\\n\\r\\n"
    lines = [head.format(path, tag) for path, _, tag in names]
    with socket.create_connection((host, int(port))) as link:
        link.sendall("".join(lines).encode())
        seen = 0
        while seen < len(names):
            seen += link.recv(1 << 16).count(b"HTTP/1.1 ")
start = time.perf_counter()
threads = [threading.Thread(target=ask, args=(sys.argv[1 + first::4],)) for first in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(f"bench_each={(time.perf_counter() - start) / len(sys.argv[1:])}")
"""
_COPY = """
import sys
from imagespec.names import Reference
from imagespec.registry.copies import copy_image
from imagespec.registry.http import HttpRegistry
origin, name = map(Reference.parse, sys.argv[1:])
with HttpRegistry() as registry:
    copy_image(registry, origin, registry, name)
"""
_SEND = """
import hashlib, socket, sys, time
host, _, port = sys.argv[1].partition(":")
start, digest = time.perf_counter(), hashlib.sha256()
with open(sys.argv[2], "rb") as file, socket.create_connection((host, int(port))) as link:
    size = file.seek(0, 2)
    file.seek(0)
    link.sendall(f"PUT /v2/x/y/blobs/uploads/1 HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: {size}\\r\\n\\r\\n".encode())
    while block := file.read(1 << 20):
        digest.update(block)
        link.sendall(block)
    link.recv(1 << 16)
print(f"bench_push={time.perf_counter() - start}")
"""
_ORAS_PUSH = """
import os, sys, time, oras.client
from pathlib import Path
host, file, digest = sys.argv[1:]
start = time.perf_counter()
client = oras.client.OrasClient(insecure=True)
layer = {"mediaType": "x", "digest": digest, "size": Path(file).stat().st_size}
answer = client.upload_blob(file, client.get_container(f"{host}/bench/{os.urandom(6).hex()}:x"), layer)
print(f"bench_push={time.perf_counter() - start}")
assert answer.status_code == 201, answer.text
"""
_PUSH = """
import os, sys, time
from pathlib import Path
from imagespec.names import Digest, Repository
from imagespec.oci import Descriptor
from imagespec.registry.http import HttpRegistry
host, file, digest = sys.argv[1:]
blob = Descriptor(media_type="x", digest=Digest.parse(digest), size_bytes=Path(file).stat().st_size)
start = time.perf_counter()
with HttpRegistry() as registry:
    sent = registry.write_blob(Repository.parse(f"{host}/bench/{os.urandom(6).hex()}"), blob, Path(file).open)
print(f"bench_push={time.perf_counter() - start}")
assert sent
""".replace("Path(file).open)", 'lambda: Path(file).open("rb"))')
_CURL = """
import os, subprocess, sys, time, urllib.request
host, file, digest = sys.argv[1:]
start = time.perf_counter()
asked = urllib.request.Request(f"http://{host}/v2/bench/{os.urandom(6).hex()}/blobs/uploads/", method="POST")
with urllib.request.urlopen(asked) as answer:
    location = answer.headers["Location"]
location = location if location.startswith("http") else f"http://{host}{location}"
place = f"{location}{'&' if '?' in location else '?'}digest={digest}"
begun = time.perf_counter()
subprocess.run(["curl", "-fsS", "-T", file, "-H", "Content-Type: application/octet-stream", place], check=True)
print(f"bench_push={time.perf_counter() - start}")
"""


def measure(*, quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the rows; ``quick`` means fewer references for the peers, fewer runs, and smaller blobs."""
    bed = test_bed()
    present = _references(bed["registry"])
    times = 3 if quick else 5

    def loopback() -> list[dict[str, Any]]:
        return _look_ups("loopback", present, bed, goal=15, peers=20 if quick else 50, times=times)

    def far_away() -> list[dict[str, Any]]:
        with server("delay", bed["registry"], "0.04") as host:
            far = [text.replace(bed["registry"], host, 1) for text in present]
            return _look_ups("40 ms", far, bed, goal=150, peers=4 if quick else 20, times=2 if quick else 3)

    def cold() -> list[dict[str, Any]]:
        return _cold(present, bed, times=1 if quick else 3)

    def copy() -> list[dict[str, Any]]:
        return _copy(bed, times=times)

    def push() -> list[dict[str, Any]]:
        return _push(bed["registry"], LARGE_BYTES // 5 if quick else LARGE_BYTES, times=2 if quick else 5)

    def huge() -> list[dict[str, Any]]:
        return _huge(HUGE_BYTES // 10 if quick else HUGE_BYTES)

    yield from attempts(PART, [loopback, far_away, cold, copy, push, huge])


def _references(host: str) -> list[str]:
    """Return references of which every second one exists."""
    from imagespec.names import Reference
    from imagespec.registry.http import HttpRegistry
    from tests.fakes.images import write_image

    name = Reference.parse(f"{host}/bench/look-ups:present0")
    with HttpRegistry() as registry:
        manifest = write_image(registry, name.repository)
        for number in range(0, COUNT, 2):
            registry.write_manifest(name.with_tag(f"present{number}"), manifest)
    return [str(name.with_tag(f"{'absent' if number % 2 else 'present'}{number}")) for number in range(COUNT)]


def _look_ups(
    line: str, references: Sequence[str], bed: dict[str, Any], *, goal: float, peers: int, times: int
) -> list[dict[str, Any]]:
    say(f"looking up {COUNT} references, {line}")
    few = references[:peers]
    runners = [
        Runner(who="imagespec", command=[sys.executable, "-c", _OURS, *references]),
        Runner(who="pipelined", command=[sys.executable, "-c", _PIPELINED, *references]),
        Runner(who="docker SDK", command=[sys.executable, "-c", _SDK, *few], environment=engine(bed)),
        Runner(who="flyte sdk 2", command=[peer_python(FLYTE), "-c", _FLYTE, *few], environment=engine(bed)),
        Runner(who="oras-py", command=[peer_python(ORAS), "-c", _ORAS, *few]),
    ]
    if skopeo := debian_program("skopeo", "usr/bin/skopeo"):
        command = [sys.executable, "-c", _SKOPEO, skopeo.path, *few]
        runners.append(Runner(who="skopeo inspect", command=command, environment=skopeo.environment))
    ours, floor, *others = in_turn(runners, times)
    more = {
        "references": COUNT,
        "peer_references": peers,
        "limit": limit("HEAD requests pipelined on 4 connections", floor, "each"),
        "requests": _requests(runners[0], bed) / COUNT,
    }
    name = f"one of {COUNT} references, {line}"
    return [
        row(
            PART,
            name,
            ours,
            runs,
            runner.who,
            what="each",
            goal=goal if runner.who == "docker SDK" else None,
            **more,
            peer_requests=_requests(runner, bed) / peers,
        )
        for runner, runs in zip(runners[2:], others, strict=True)
    ]


def _requests(runner: Runner, bed: dict[str, Any]) -> float:
    """Return how many requests one more run sends."""
    hosts = {word.partition("/")[0] for word in runner.command if "/bench/look-ups:" in word}
    with count_requests(bed["registry"]) as counter:
        command = [
            word.replace(host, counter.host, 1) if "/bench/look-ups:" in word else word
            for word in runner.command
            for host in hosts
        ]
        replace(runner, command=command).run()
        return counter.read().requests


def _cold(references: Sequence[str], bed: dict[str, Any], times: int) -> list[dict[str, Any]]:
    """A whole cold process each: our command, and the SDK's script."""
    say(f"cold processes that look up {COUNT} references")
    command = [sys.executable, "-m", "imagespec", "exists", *references]
    ours = Runner(who="imagespec", command=command, statuses=(1,))  # since every second one is absent
    sdk = Runner(who="docker SDK", command=[sys.executable, "-c", _SDK, *references], environment=engine(bed))
    bare = Runner(who="pipelined", command=[sys.executable, "-c", _PIPELINED, *references])
    mine, theirs, floor = in_turn([ours, sdk, bare], times)
    name = f"cold `imagespec exists` of {COUNT} references"
    beside = limit("a cold Python that pipelines HEAD requests", floor)
    return [row(PART, name, mine, theirs, "docker SDK, cold process", limit=beside)]


def _copy(bed: dict[str, Any], times: int) -> list[dict[str, Any]]:
    """An image to another repository of the same registry: whole cold processes."""
    skopeo = debian_program("skopeo", "usr/bin/skopeo")
    if skopeo is None:
        return []
    say("copying an image")
    origin = f"{bed['registry']}/{bed['bases']['python3.11']}"
    ours = [sys.executable, "-c", _COPY, origin]
    theirs = [skopeo.path, "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"]
    theirs.append(f"docker://{origin}")

    def runner(who: str, command: list[str], prefix: str = "", **more: Any) -> Runner:
        full = [*command, ""]

        def before() -> None:
            full[-1] = f"{prefix}{bed['registry']}/bench/copy-{os.urandom(6).hex()}:x"

        return Runner(who=who, command=full, before=before, **more)

    mine, peer = in_turn(
        [runner("imagespec", ours), runner("skopeo", theirs, "docker://", environment=skopeo.environment)], times
    )
    return [row(PART, "copy an image to another repository", mine, peer, "skopeo copy")]


def _push(host: str, size_bytes: int, times: int) -> list[dict[str, Any]]:
    say(f"pushing {size_bytes // 1_000_000} MB")
    file, digest = _large_file(size_bytes)
    arguments = [host, str(file), digest]
    with server("sink") as sink:
        ours, curl, oras, floor = in_turn(
            [
                Runner(who="imagespec", command=[sys.executable, "-c", _PUSH, *arguments]),
                Runner(who="curl", command=[sys.executable, "-c", _CURL, *arguments]),
                Runner(who="oras-py", command=[peer_python(ORAS), "-c", _ORAS_PUSH, *arguments]),
                Runner(who="limit", command=[sys.executable, "-c", _SEND, sink, str(file)]),
            ],
            times,
        )
    name = f"push one blob of {size_bytes // 1_000_000} MB"
    more = {"bytes_pushed": size_bytes, "limit": limit("read, hashed and sent to nobody", floor, "push")}
    return [
        row(PART, name, ours, curl, "curl -T", what="push", goal=0.8, **more),
        row(PART, name, ours, oras, "oras-py", what="push", **more),
    ]


def _huge(size_bytes: int) -> list[dict[str, Any]]:
    """A push to a server that keeps nothing, many times larger than the memory it may take: ``met`` is about that."""
    say(f"pushing {size_bytes / 1e9:g} GB for its memory")
    file = cache_folder() / "huge"
    with file.open("wb") as out:
        out.truncate(size_bytes)
    try:
        digest = f"sha256:{_sha256(file)}"
        with server("sink") as host:
            ours = Runner(who="imagespec", command=[sys.executable, "-c", _PUSH, host, str(file), digest]).run()
            curl = Runner(who="curl", command=[sys.executable, "-c", _CURL, host, str(file), digest]).run()
    finally:
        file.unlink()
    name = f"push one blob of {size_bytes / 1e9:g} GB in at most 100 MB of memory"
    found = row(PART, name, [ours], [curl], "curl -T", what="push", bytes_pushed=size_bytes)
    return [{**found, "met": ours.peak_bytes <= MAX_PEAK_BYTES, "peak_limit_bytes": MAX_PEAK_BYTES}]


def _large_file(size_bytes: int) -> tuple[Path, str]:
    file = cache_folder() / f"large-{size_bytes}"
    if not file.exists() or file.stat().st_size != size_bytes:
        with file.open("wb") as out:
            for _ in range(size_bytes // 1_000_000):
                out.write(os.urandom(1_000_000))
    return file, f"sha256:{_sha256(file)}"


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
