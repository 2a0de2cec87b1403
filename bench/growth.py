"""How costs grow: the tag with the files, a build with the packages, look-ups and tags with the images.

Every point is the median of whole cold processes; the peers get fewer where they would take minutes. The slopes come
from a straight line through the points (``bench.fit``).
"""

from __future__ import annotations

import shutil
import statistics
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.environment import buildx_build, engine, install_dockerfile
from bench.fingerprint import project
from bench.fit import exponent, fit
from bench.rows import Run, Runner, attempts, cache_folder, in_turn, peer_python, row, say, test_bed
from bench.table import seconds_text

PART = "growth"
FLYTEKIT = "flytekit==1.16.31"
FILES = (100, 2_000, 20_000)
PACKAGES = (1, 6, 24)
IMAGES = (10, 100, 1_000)
_SDK_IMAGES = (10, 30, 100)
_WHEELS = (
    "six==1.17.0", "idna==3.7", "toolz==1.0.0", "attrs==25.3.0", "tomli==2.2.1", "packaging==25.0", "click==8.1.8",
    "certifi==2025.4.26", "urllib3==2.4.0", "pathspec==0.12.1", "tabulate==0.9.0", "humanize==4.12.3", "pytz==2025.2",
    "iniconfig==2.1.0", "markupsafe==3.0.2", "jinja2==3.1.6", "zipp==3.21.0", "filelock==3.18.0", "platformdirs==4.3.7",
    "pygments==2.19.1", "requests==2.32.3", "charset-normalizer==3.4.1", "pyyaml==6.0.2", "rich==14.0.0",
)  # fmt: skip

_FILES_OURS = """
import sys
from imagespec import ImageSpec
ImageSpec(name="bench", source_root=sys.argv[1], source_copy_mode="ALL").tag
"""
_FILES_PEER = """
import sys
from flytekit import ImageSpec
from flytekit.constants import CopyFileDetection
ImageSpec(name="bench", source_root=sys.argv[1], source_copy_mode=CopyFileDetection.ALL).tag
"""
_SPECS = """
from {package} import ImageSpec
images = [ImageSpec(name="bench", packages=["pandas"], env={{"N": str(number)}}) for number in range({count})]
"""
_SDK = """
import sys, docker
for text in sys.argv[1:]:
    docker.from_env().images.get_registry_data(text)
"""


def measure(*, quick: bool = False) -> Iterator[dict[str, Any]]:
    """Yield a row for each thing that grows; ``quick`` means one run of each size instead of two."""
    bench = _Bench(1 if quick else 2)
    yield from attempts(PART, [bench.files, bench.packages, bench.look_ups, bench.specs])


class _Bench:
    def __init__(self, times: int) -> None:
        self._bed = test_bed()
        self._times = times
        self._work = cache_folder() / "growth"
        self._work.mkdir(exist_ok=True)

    def files(self) -> list[dict[str, Any]]:
        """The tag of a tree."""
        flytekit = peer_python(FLYTEKIT)

        def sides(size: int) -> dict[str, Runner]:
            root, cache = str(project(size)), str(self._work / "stat")
            first = Runner(who="imagespec", command=[sys.executable, "-c", _FILES_OURS, root],
                           environment={"IMAGESPEC_CACHE": f"{cache}-first"},
                           before=lambda: shutil.rmtree(f"{cache}-first", ignore_errors=True))  # fmt: skip
            again = Runner(who="again", command=first.command, environment={"IMAGESPEC_CACHE": cache})
            peer = Runner(who="flytekit", command=[flytekit, "-c", _FILES_PEER, root])
            return {"imagespec, with its stat cache": again, "imagespec, first run": first, "flytekit": peer}

        return self._grown("the tag of a tree, by files", FILES, sides)

    def packages(self) -> list[dict[str, Any]]:
        """An environment that is not there, with all wheels at hand."""
        base = f"{self._bed['registry']}/{self._bed['bases']['python3.11']}"
        cache, registry = self._work / "cache", f"{self._bed['registry']}/bench-growth"
        empty = self._work / "empty"
        empty.mkdir(exist_ok=True)

        def sides(size: int) -> dict[str, Runner]:
            spec, file = self._work / f"packages-{size}.yaml", self._work / f"Dockerfile-{size}"

            def declare() -> None:
                for kind in ("layers", "records"):
                    shutil.rmtree(cache / "daemonless" / kind, ignore_errors=True)
                spec.write_text(
                    f"name: p{size}\nbase_image: {base}\nregistry: {registry}\nenv: {{SALT: {_salt()}}}\n"
                    f"packages: [{', '.join(_WHEELS[:size])}]\nbuilder_options: {{bytecode: false}}\n"
                )

            def write() -> None:
                file.write_text(install_dockerfile(base, _WHEELS[:size], environment=f"ENV SALT={_salt()}\n"))

            ours = [sys.executable, "-m", "imagespec", "build", str(spec), "--builder", "daemonless"]
            peer = buildx_build(self._bed, f"{registry}/peer-{size}:latest", str(file), empty)
            environment = {**engine(self._bed), "IMAGESPEC_CACHE": str(cache)}
            return {
                "imagespec": Runner(who="imagespec", command=ours, environment=environment, before=declare),
                "docker buildx": Runner(who="buildx", command=peer, environment=environment, before=write),
            }

        return self._grown("build and push an environment, by packages", PACKAGES, sides)

    def look_ups(self) -> list[dict[str, Any]]:
        """References that all exist."""
        names = _references(self._bed["registry"], max(IMAGES))
        fewer = dict(zip(IMAGES, _SDK_IMAGES, strict=True))

        def sides(size: int) -> dict[str, Runner]:
            sdk = [sys.executable, "-c", _SDK, *names[: fewer[size]]]
            return {
                "imagespec exists": Runner(
                    who="imagespec", command=[sys.executable, "-m", "imagespec", "exists", *names[:size]]
                ),
                "docker SDK": Runner(who="docker SDK", command=sdk, environment=engine(self._bed)),
            }

        return self._grown("look-ups, by images", IMAGES, sides, {"docker SDK": fewer})

    def specs(self) -> list[dict[str, Any]]:
        """The tags of many specs in one module."""
        flytekit = peer_python(FLYTEKIT)

        def sides(size: int) -> dict[str, Runner]:
            file = self._work / f"specs_{size}.py"
            file.write_text(_SPECS.format(package="imagespec", count=size))
            peer = _SPECS.format(package="flytekit", count=size) + "[image.tag for image in images]\n"
            ours = _SPECS.format(package="imagespec", count=size) + "[image.tag for image in images]\n"
            command = [sys.executable, "-m", "imagespec", "tag", str(file)]
            return {
                "imagespec, in a process": Runner(who="imagespec", command=[sys.executable, "-c", ours]),
                "imagespec tag": Runner(who="imagespec tag", command=command),
                "flytekit, in a process": Runner(who="flytekit", command=[flytekit, "-c", peer]),
            }

        return self._grown("the tags of specs without sources, by specs", IMAGES, sides)

    def _grown(
        self,
        name: str,
        sizes: Sequence[int],
        sides: Callable[[int], dict[str, Runner]],
        fewer: Mapping[str, Mapping[int, int]] | None = None,
    ) -> list[dict[str, Any]]:
        """Return one row, of the largest size, with the points and slopes of all; ours is first, the peer is last.

        ``fewer`` tells what size a side really had: its figure is stretched to the size of the others.
        """
        say(name)
        runs: dict[str, dict[int, list[Run]]] = {}
        for size in sizes:
            runners = sides(size)
            for who, found in zip(runners, in_turn(list(runners.values()), self._times), strict=True):
                runs.setdefault(who, {})[size] = found
        known = fewer or {}
        points = {
            who: [(known.get(who, {}).get(size, size), _median(one)) for size, one in found.items()]
            for who, found in runs.items()
        }
        ours, peer = next(iter(runs)), list(runs)[-1]
        last = sizes[-1]
        stretched = last / points[peer][-1][0]
        theirs = [_stretched(one, stretched) for one in runs[peer][last]]
        made = row(PART, f"{name}: {last:,}", runs[ours][last], theirs, peer)
        drawn = sorted({size for found in points.values() for size, _ in found})
        return [
            {
                **made,
                "points": [
                    {"size": size, **{who: dict(found)[size] for who, found in points.items() if size in dict(found)}}
                    for size in drawn
                ],
                "slopes": {who: _slope(found) for who, found in points.items()},
                "lines": {who: _line(found) for who, found in points.items()},
            }
        ]


def _line(points: Sequence[tuple[float, float]]) -> dict[str, float]:
    line = fit(points)
    return {
        "fixed_s": round(line.fixed_s, 6),
        "each_s": round(line.each_s, 9),
        "fitted": round(line.fitted, 3),
        "exponent": round(exponent(points), 2),
    }


def _slope(points: Sequence[tuple[float, float]]) -> str:
    line = fit(points)
    return f"{seconds_text(max(line.fixed_s, 0))} and {seconds_text(max(line.each_s, 0))} each"


def _stretched(run: Run, factor: float) -> Run:
    return replace(run, wall_s=run.wall_s * factor)


def _median(runs: Sequence[Run]) -> float:
    return statistics.median(run.wall_s for run in runs)


def _salt() -> str:
    return f"s{uuid.uuid4().hex}"


def _references(host: str, count: int) -> list[str]:
    """Return this many references that exist, all of one small image."""
    from imagespec.names import Reference
    from imagespec.registry.http import HttpRegistry
    from tests.fakes.images import write_image

    name = Reference.parse(f"{host}/bench/growth:tag0")
    with HttpRegistry() as registry:
        if registry.resolve(name.with_tag(f"tag{count - 1}")) is None:
            manifest = write_image(registry, name.repository)
            for number in range(count):
                registry.write_manifest(name.with_tag(f"tag{number}"), manifest)
    return [str(name.with_tag(f"tag{number}")) for number in range(count)]
