"""Look-ups and pushes, beside what people would use: the docker SDK (flytekit's way), skopeo, curl.

Half of the references exist. The peers look them up one by one, as their users do (flytekit's ``exist`` makes a docker
client for each); since that takes the same time for each, they get fewer of them than we do, and every figure is
seconds for one reference. The longer line is a proxy of ours that adds 40 ms to each round trip, that of making a
connection included. The SDK's look-ups go through the engine, whose image store has none of them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.rows import ROOT, Runner, cache_folder, in_turn, row, say, test_bed
from bench.servers import server

PART = "registry"
COUNT = 200
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


def measure(*, quick: bool = False) -> list[dict[str, Any]]:
    """Return the rows; ``quick`` means fewer references for the peers, fewer runs, and a smaller huge blob."""
    bed = test_bed()
    present = _references(bed["registry"])
    rows = _look_ups("loopback", present, bed, goal=15, peers=20 if quick else 100, times=3 if quick else 5)
    with server("delay", bed["registry"], "0.04") as host:
        far = [text.replace(bed["registry"], host, 1) for text in present]
        rows += _look_ups("40 ms", far, bed, goal=150, peers=10 if quick else 40, times=2 if quick else 3)
    rows += _cold(present, bed, times=3 if quick else 5)
    rows += _push(bed["registry"], times=3 if quick else 7)
    rows += _huge(HUGE_BYTES // 10 if quick else HUGE_BYTES)
    return rows


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
    ours = Runner(who="imagespec", command=[sys.executable, "-c", _OURS, *references])
    sdk = Runner(who="docker SDK", command=[sys.executable, "-c", _SDK, *few], environment=_engine(bed))
    runners = [ours, sdk]
    if skopeo := _skopeo():
        program, environment = skopeo
        command = [sys.executable, "-c", _SKOPEO, program, *few]
        runners.append(Runner(who="skopeo inspect", command=command, environment=environment))
    runs = in_turn(runners, times)
    counts = {"references": COUNT, "peer_references": peers}
    rows = [
        row(
            PART, f"one of {COUNT} references, {line}", runs[0], runs[1], "docker SDK", what="each", goal=goal, **counts
        )
    ]
    if len(runs) > 2:
        name = f"one of {COUNT} references, {line}"
        rows.append(row(PART, name, runs[0], runs[2], "skopeo inspect", what="each", **counts))
    return rows


def _cold(references: Sequence[str], bed: dict[str, Any], times: int) -> list[dict[str, Any]]:
    """A whole cold process each: our command, and the SDK's script."""
    say(f"cold processes that look up {COUNT} references")
    command = [sys.executable, "-m", "imagespec", "exists", *references]
    ours = Runner(who="imagespec", command=command, statuses=(1,))  # since every second one is absent
    sdk = Runner(who="docker SDK", command=[sys.executable, "-c", _SDK, *references], environment=_engine(bed))
    runs = in_turn([ours, sdk], times)
    return [row(PART, f"cold `imagespec exists` of {COUNT} references", runs[0], runs[1], "docker SDK, cold process")]


def _push(host: str, times: int) -> list[dict[str, Any]]:
    say(f"pushing {LARGE_BYTES // 1_000_000} MB")
    file, digest = _large_file()
    ours = Runner(who="imagespec", command=[sys.executable, "-c", _PUSH, host, str(file), digest])
    curl = Runner(who="curl", command=[sys.executable, "-c", _CURL, host, str(file), digest])
    runs = in_turn([ours, curl], times)
    name = f"push one blob of {LARGE_BYTES // 1_000_000} MB"
    return [row(PART, name, runs[0], runs[1], "curl -T", what="push", goal=0.8, bytes_pushed=LARGE_BYTES)]


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


def _large_file() -> tuple[Path, str]:
    file = cache_folder() / "large"
    if not file.exists() or file.stat().st_size != LARGE_BYTES:
        with file.open("wb") as out:
            for _ in range(LARGE_BYTES // 1_000_000):
                out.write(os.urandom(1_000_000))
    return file, f"sha256:{_sha256(file)}"


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _engine(bed: dict[str, Any]) -> dict[str, str]:
    return {"DOCKER_HOST": bed["docker_host"], "DOCKER_CONFIG": bed["docker_config"]}


def _skopeo() -> tuple[str, dict[str, str]] | None:
    """Return skopeo's path and what it needs: the machine's, or Debian's package unpacked by the test-bed."""
    if found := shutil.which("skopeo"):
        return found, {}
    sys.path.append(str(ROOT / "testdata"))
    from testbed import packages
    from testbed.common import TestbedError, paths_from_environment

    try:
        folder = packages.ensure(
            paths_from_environment(), "skopeo", ("skopeo", "libgpgme11", "libassuan0", "libgpg-error0")
        )
    except TestbedError as error:
        say(f"without skopeo: {error}")
        return None
    return str(folder / "usr/bin/skopeo"), {"LD_LIBRARY_PATH": str(next(folder.glob("usr/lib/*-linux-gnu")))}
