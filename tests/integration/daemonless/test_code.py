"""Sources over an environment: one layer an edit, whoever built the environment."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from imagespec.builders import BuildOptions
from imagespec.builders.daemonless import DaemonlessBuilder
from imagespec.errors import Unsupported
from imagespec.events import discard
from imagespec.fingerprint import environment_reference
from imagespec.validator import check_image
from tests.integration.daemonless.places import OWNED, SOURCES, Place, layers_of
from tests.integration.sources import Sources, plan_of

pytestmark = pytest.mark.integration


def test_an_edit_pushes_one_layer_over_the_environment(built: Place, cache: Path) -> None:
    edited = Sources({"app/__init__.py": b"", "app/main.py": b"print('edited')\n"})
    packages = ["numpy==2.2.6", "requests", "flask"]
    plan = plan_of(edited, base_image=built.base, packages=packages, env={"GREETING": "a b $HOME 'x'"})
    builder = DaemonlessBuilder(cache_dir=cache, registry=built.registry)
    kept = environment_reference(plan, built.reference("edit"))
    assert kept is not None
    titles: list[str] = []
    builder.build(plan, edited, built.reference("edit"), options=BuildOptions(),
                  emit=lambda event: titles.append(getattr(event, "title", "")))  # fmt: skip
    assert not [title for title in titles if "packages" in title or "base" in title]
    assert built.run("edit", "python", "-m", "app.main") == "edited\n"
    assert layers_of(built, "edit")[:-1] == layers_of(built, kept.tag or "")
    check_image(built.registry, built.reference("edit"), base_layers=1, changed=OWNED)


def test_built_at_once_or_over_the_environment_it_is_the_same_image(place: Place, cache: Path) -> None:
    plan = plan_of(SOURCES, base_image=place.base, packages=["idna==3.10"])
    builder = DaemonlessBuilder(cache_dir=cache, registry=place.registry)
    digests = {
        builder.build(
            plan, SOURCES, place.reference("same"), options=BuildOptions(use_cache=use_cache), emit=discard
        ).digest
        for use_cache in (False, True)
    }
    assert len(digests) == 1


def test_a_workdir_in_the_home_leaves_the_home_to_its_user(place: Place, cache: Path) -> None:
    workdir = {"workdir": "/home/flytekit/app"}
    plan = plan_of(SOURCES, base_image=place.base, packages=["idna==3.10"], builder_options=workdir)
    builder = DaemonlessBuilder(cache_dir=cache, registry=place.registry)
    digests = set()
    for use_cache in (False, True):
        options = BuildOptions(use_cache=use_cache)
        digests.add(builder.build(plan, SOURCES, place.reference("home"), options=options, emit=discard).digest)
    assert len(digests) == 1
    assert place.run("home", "sh", "-c", "touch ~/mine && pwd") == "/home/flytekit/app\n"


def test_without_the_environment_there_is_nothing_to_add_to(place: Place, cache: Path) -> None:
    plan = plan_of(SOURCES, base_image=place.base, packages=["idna==3.9"])
    builder = DaemonlessBuilder(cache_dir=cache, registry=place.registry)
    target = place.reference("none")
    assert builder.build_on_environment(plan, SOURCES, target, options=BuildOptions(), emit=discard) is None
    assert place.registry.resolve(target) is None


def test_sources_go_on_an_environment_that_buildkit_made(place: Place, cache: Path, tmp_path: Path) -> None:
    plan = plan_of(SOURCES, base_image=place.base, apt_packages=["tree"], env={"A": "1"})
    target = place.reference("mixed")
    kept = environment_reference(plan, target)
    (tmp_path / "Dockerfile").write_text(
        f"FROM {place.base}\nRUN useradd --uid 1000 --home-dir /home/flytekit flytekit\n"
        "RUN chown -R 1000:1000 /root\n"
        'ENV PATH="/opt/venv/bin:$PATH" A=1\nWORKDIR /root\nRUN mkdir /opt/venv && echo made > /opt/venv/by\n'
        "USER flytekit\n"
    )
    env = {**os.environ, "DOCKER_HOST": place.bed["docker_host"], "DOCKER_CONFIG": place.bed["docker_config"]}
    env["PATH"] = os.pathsep.join([*place.bed["path"], env["PATH"]])
    words = ["docker", "buildx", "build", "--quiet", "--provenance=false", "--push", "--tag", str(kept)]
    subprocess.run([*words, str(tmp_path)], env=env, check=True, capture_output=True)
    builder = DaemonlessBuilder(cache_dir=cache, registry=place.registry)
    with pytest.raises(Unsupported):
        builder.check(plan)
    assert builder.build_on_environment(plan, SOURCES, target, options=BuildOptions(), emit=discard)
    check_image(place.registry, target, base_layers=len(layers_of(place, "mixed")) - 1, changed=OWNED)
    script = "cat /opt/venv/by; python3 -m app.main; echo $PATH $A; printenv _F_IMG_ID"
    out = place.run("mixed", "sh", "-c", script).splitlines()
    assert out[:2] == ["made", "ran as flytekit in /root"]
    assert out[2].startswith("/opt/venv/bin:/usr/local/sbin:")
    assert out[2].endswith(" 1")
    assert len(out) == 4


def test_many_sources_are_eight_layers_and_an_edit_changes_one(place: Place, cache: Path) -> None:
    files = {f"pkg/m{number}.py": b"x = %d\n" % number * 50 for number in range(600)}
    builder = DaemonlessBuilder(cache_dir=cache, registry=place.registry)
    found = []
    for number, data in enumerate((b"before\n", b"after\n")):
        sources = Sources({**files, "pkg/m7.py": data})
        plan = plan_of(sources, base_image=place.base, builder_options={"workdir": "/srv/deep/app"})
        builder.build(plan, sources, place.reference(f"many{number}"), options=BuildOptions(), emit=discard)
        check_image(place.registry, place.reference(f"many{number}"), base_layers=1, changed=OWNED | {"srv/deep/app"})
        found.append(layers_of(place, f"many{number}"))
    assert len(set(found[0]) - set(found[1])) == 1
    assert len(found[0]) == len(found[1])
