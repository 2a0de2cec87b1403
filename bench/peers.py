"""Builds beside more than one peer, as their users run them: a second image with the same wheels, and nothing changed.

Ours is ``imagespec build`` on a YAML file. The peers have a Dockerfile that installs with uv before anything that
differs, so that their layer cache holds all of it: ``docker buildx build --push``, and Buildah (Debian's, as root,
overlay storage, ``--layers``) that builds and pushes. flytekit is its own tag and ``exist()``, by the docker SDK, in a
cold process. The bytes and requests come from one more run of each through a counting server.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from bench.environment import buildx_build, debian_program, engine, install_dockerfile, tag_as, uv_program
from bench.rows import Runner, attempts, cache_folder, in_turn, limit, peer_python, row, say, test_bed
from bench.servers import Traffic, count_requests, traffic_of

PART = "build"
FLYTEKIT = "flytekit==1.16.31"
PACKAGES = ("numpy==2.2.6", "pandas==2.3.3")
BUILDX, BUILDAH = "docker buildx build --push", "buildah build --layers, push"

_FLYTEKIT = """
import sys
from flytekit import ImageSpec
spec = ImageSpec(name="same", registry=sys.argv[1], packages={packages!r}, python_version="3.11")
if len(sys.argv) > 2:
    print(spec.image_name())
else:
    assert spec.exist() is True
"""

# What naming nothing and hashing nothing would leave of "nothing changed".
_HEAD = """
import http.client, sys
host, _, path = sys.argv[1].partition("/")
link = http.client.HTTPConnection(host)
link.request("HEAD", f"/v2/{path}/manifests/latest", headers={"Accept": "application/vnd.oci.image.manifest.v1+json"})
assert link.getresponse().status == 200
"""


def measure(*, quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the rows; ``quick`` means fewer runs, and none of our own BuildKit path."""
    bench = _Bench(2 if quick else 7)
    steps = [bench.second_image, bench.nothing_changed]
    yield from attempts(PART, steps if quick else [*steps, bench.by_buildkit])


class _Bench:
    def __init__(self, times: int) -> None:
        self._bed = test_bed()
        self._times = times
        self._work = cache_folder() / "peers"
        (self._work / "empty").mkdir(parents=True, exist_ok=True)
        self._environment = {**engine(self._bed), "IMAGESPEC_CACHE": str(self._work / "cache")}

    def second_image(self) -> list[dict[str, Any]]:
        """Another name, another variable, the same packages."""
        say("a second image with the same wheels")
        name = f"second image with the same {len(PACKAGES)} packages"
        return self._beside(name, lambda: (f"second-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex))

    def nothing_changed(self) -> list[dict[str, Any]]:
        """The same once more, under the same name."""
        say("nothing changed")
        rows = self._beside("nothing changed", lambda: ("same", "same"))
        script = _FLYTEKIT.format(packages=list(PACKAGES))
        prefix = f"{self._bed['registry']}/bench"
        command = [peer_python(FLYTEKIT), "-c", script, prefix]
        asked = subprocess.run(
            [*command, "name"], env={**os.environ, **self._environment}, capture_output=True, text=True, check=True
        )
        same = self._ours(self._bed["registry"], lambda: ("same", "same"))
        same.run()
        built = subprocess.run(
            [sys.executable, "-m", "imagespec", "tag", same.command[-1]], capture_output=True, text=True, check=True
        )
        tag_as(built.stdout.strip(), asked.stdout.strip())
        head = [sys.executable, "-c", _HEAD, f"{prefix}/buildx-same"]
        mine, theirs, floor = in_turn(
            [
                same,
                Runner(who="flytekit", command=command, environment=self._environment),
                Runner(who="limit", command=head),
            ],
            self._times,
        )
        beside = limit("a cold Python that sends one HEAD request", floor)
        return [*rows, row(PART, "nothing changed", mine, theirs, "flytekit, tag and exist()", limit=beside)]

    def by_buildkit(self) -> list[dict[str, Any]]:
        """An environment that only BuildKit can make, all steps anew: what our way to push through the engine saves."""
        say("our BuildKit path")
        sides = {"imagespec": self._by_buildkit, BUILDX: self._buildx_anew}
        mine, theirs = in_turn([make(self._bed["registry"]) for make in sides.values()], self._times)
        sent = {who: self._traffic(make) for who, make in sides.items()}
        name = f"{len(PACKAGES)} packages and a command, by BuildKit on both sides"
        return [row(PART, name, mine, theirs, BUILDX, **traffic_of(sent["imagespec"], sent[BUILDX]))]

    def _by_buildkit(self, host: str) -> Runner:
        spec = self._work / "by-buildkit.yaml"

        def declare() -> None:
            spec.write_text(
                f"name: by-buildkit\nregistry: {host}/bench\nbase_image: {host}/{self._base()}\n"
                f"env: {{SALT: s{uuid.uuid4().hex}}}\n"
                f"packages: [{', '.join(PACKAGES)}]\ncommands: ['true']\nbuilder_options: {{bytecode: false}}\n"
            )

        command = [sys.executable, "-m", "imagespec", "build", str(spec), "--builder", "buildkit"]
        return Runner(who="imagespec", command=command, environment=self._environment, before=declare)

    def _buildx_anew(self, host: str) -> Runner:
        file = self._work / "Dockerfile-by-buildkit"

        def write() -> None:
            salt = f"ENV SALT=s{uuid.uuid4().hex}\n"
            dockerfile = install_dockerfile(f"{host}/{self._base()}", PACKAGES, environment=salt)
            file.write_text(dockerfile + "RUN true\n")

        command = buildx_build(self._bed, f"{host}/bench/peer-by-buildkit:latest", str(file), self._work / "empty")
        return Runner(who=BUILDX, command=command, environment=self._environment, before=write)

    def _beside(self, name: str, named: Callable[[], tuple[str, str]]) -> list[dict[str, Any]]:
        """Return a row for each peer; ``named`` gives the repository and the variable of each run."""
        makers = {"imagespec": self._ours, BUILDX: self._buildx}
        if debian_program("buildah", "usr/bin/buildah"):
            makers[BUILDAH] = self._buildah
        runs = in_turn([make(self._bed["registry"], named) for make in makers.values()], self._times)
        sent = {who: self._traffic(partial(make, named=named)) for who, make in makers.items()}
        return [
            row(PART, name, runs[0], found, who, **traffic_of(sent["imagespec"], sent[who]))
            for who, found in list(zip(makers, runs, strict=True))[1:]
        ]

    def _traffic(self, make: Callable[[str], Runner]) -> Traffic:
        """Return what the second of two runs sends, the first having filled registry and caches under that host."""
        with count_requests(self._bed["registry"]) as counter:
            return counter.second(make(counter.host).run)

    def _base(self) -> str:
        return str(self._bed["bases"]["python3.11"])

    def _ours(self, host: str, named: Callable[[], tuple[str, str]]) -> Runner:
        spec = self._work / f"image-{uuid.uuid4().hex[:6]}.yaml"

        def declare() -> None:
            repository, salt = named()
            spec.write_text(
                f"name: {repository}\nregistry: {host}/bench\nbase_image: {host}/{self._base()}\n"
                f"env: {{SALT: s{salt}}}\npackages: [{', '.join(PACKAGES)}]\nbuilder_options: {{bytecode: false}}\n"
            )

        command = [sys.executable, "-m", "imagespec", "build", str(spec)]
        return Runner(who="imagespec", command=command, environment=self._environment, before=declare)

    def _buildx(self, host: str, named: Callable[[], tuple[str, str]]) -> Runner:
        file = self._work / f"Dockerfile-{uuid.uuid4().hex[:6]}"
        command: list[str] = []

        def write() -> None:
            repository, salt = named()
            file.write_text(install_dockerfile(f"{host}/{self._base()}", PACKAGES) + f"ENV SALT=s{salt}\n")
            target = f"{host}/bench/buildx-{repository}:latest"
            command[:] = buildx_build(self._bed, target, str(file), self._work / "empty")

        return Runner(who=BUILDX, command=command, environment=self._environment, before=write)

    def _buildah(self, host: str, named: Callable[[], tuple[str, str]]) -> Runner:
        program = debian_program("buildah", "usr/bin/buildah")
        runtime = debian_program("runc", "usr/sbin/runc", tool="podman")
        assert program is not None
        assert runtime is not None
        storage = self._work / "buildah"
        storage.mkdir(exist_ok=True)
        (storage / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        for name in ("registries.conf", "containers.conf"):
            (storage / name).touch()
        file = storage / f"Dockerfile-{uuid.uuid4().hex[:6]}"
        script = storage / f"build-{uuid.uuid4().hex[:6]}.sh"
        common = f"--root {storage}/root --runroot {storage}/run --storage-driver overlay"
        registry = f"--tls-verify=false --signature-policy {storage}/policy.json"
        build = (
            f"build --layers --isolation oci --runtime {runtime.path} {registry} "
            f"--volume {uv_program()}:/run/uv:ro --volume {self._bed['ca']}:/run/ca.crt:ro "
            f"--volume {storage}/uv:/cache:rw --network host --quiet --file {file}"
        )
        (storage / "uv").mkdir(exist_ok=True)

        def write() -> None:
            repository, salt = named()
            target = f"{host}/bench/buildah-{repository}:latest"
            file.write_text(_plain_dockerfile(f"{host}/{self._base()}", PACKAGES, salt))
            script.write_text(
                f"set -e\n{program.path} {common} {build} --tag {target} {self._work}/empty\n"
                f"{program.path} {common} push --quiet {registry} {target}\n"
            )

        environment = {
            **program.environment,
            "CONTAINERS_REGISTRIES_CONF": str(storage / "registries.conf"),
            "CONTAINERS_CONF": str(storage / "containers.conf"),
            "TMPDIR": str(storage),
            "HOME": str(storage),
        }
        return Runner(who=BUILDAH, command=["sh", str(script)], environment=environment, before=write)


def _plain_dockerfile(base: str, packages: Sequence[str], salt: str) -> str:
    """Return the same as ``install_dockerfile`` with what the command line mounts."""
    return (
        f"FROM {base}\n"
        "RUN export SSL_CERT_FILE=/run/ca.crt UV_CACHE_DIR=/cache UV_LINK_MODE=copy; "
        f"/run/uv venv /opt/venv && /run/uv pip install --python /opt/venv {' '.join(packages)}\n"
        f"ENV SALT=s{salt}\n"
    )
