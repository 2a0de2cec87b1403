"""A build by BuildKit as a value, and the small files beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imagespec.builders import BuildOptions
from imagespec.builders.commands import buildx_build, context_texts, environment_script
from imagespec.dockerfile import render
from imagespec.names import Reference
from imagespec.plan import BuildPlan
from imagespec.planner import make_plan
from imagespec.snapshot import LocalProject, LockFiles, RequirementLines, Snapshot, TextFile
from imagespec.spec import Declaration

TEMPLATE = (Path(__file__).resolve().parents[2] / "templates" / "Dockerfile.j2").read_text()
TARGET = Reference.parse("registry.example/team/app:x1")
DIGEST = "sha256:" + "1" * 64


def plan(snapshot: Snapshot | None = None, **fields: Any) -> BuildPlan:
    return make_plan(Declaration(**fields), snapshot or Snapshot())


def keywords(options: BuildOptions, made: BuildPlan | None = None, insecure: bool = False) -> dict[str, Any]:
    made = made or plan()
    rendering = render(made, TEMPLATE)
    command = buildx_build(made, rendering, TARGET, options, contexts={"imagespec-uv": "/uv"}, insecure=insecure)
    return dict(command.keywords)


def texts(made: BuildPlan) -> dict[str, str]:
    found = context_texts(made)
    assert len({file.path for file in found}) == len(found)
    return {file.path: file.data.decode() for file in found}


def test_the_usual_build_pushes_one_manifest() -> None:
    words = keywords(BuildOptions(labels=(("a", "b"),)), plan(env={"A": "b\n"}))
    assert words["output"]["type"] == "image"
    assert words["output"]["name"] == "registry.example/team/app:x1"
    assert words["output"]["push"] == "true"
    assert "registry.insecure" not in words["output"]
    assert (words["provenance"], words["sbom"]) == (False, False)
    assert words["platforms"] == ["linux/amd64"]
    assert words["labels"] == {"a": "b"}
    assert words["build_args"] == {"IMAGESPEC_VALUE_0": "b\n"}
    assert words["build_contexts"] == {"imagespec-uv": "/uv"}
    assert words["cache"] is True
    assert not {"network", "allow", "cache_from", "cache_to", "ssh", "builder"} & set(words)


def test_options_reach_buildx() -> None:
    words = keywords(
        BuildOptions(
            use_cache=False,
            network="host",
            compression="zstd",
            cache_from=("r/x:cache", "type=local,src=/x"),
            cache_to="type=inline",
            builder_instance="remote",
            ssh=("default",),
        ),
        insecure=True,
    )
    assert (words["cache"], words["network"], words["allow"]) == (False, "host", ["network.host"])
    assert words["output"]["compression"] == "zstd"
    assert words["output"]["registry.insecure"] == "true"
    assert words["cache_from"] == [{"type": "registry", "ref": "r/x:cache"}, {"type": "local", "src": "/x"}]
    assert (words["cache_to"], words["builder"], words["ssh"]) == ("type=inline", "remote", "default")


def test_an_engine_with_an_image_store_only_passes_the_image_on() -> None:
    made = plan()
    command = buildx_build(
        made, render(made, TEMPLATE), TARGET, BuildOptions(), contexts={}, insecure=False, passes_on=True
    )
    output = dict(command.keywords)["output"]
    assert (output["push"], output["store"]) == ("", "false")
    assert (output["compression"], output["compression-level"]) == ("gzip", "1")


def test_without_a_registry_the_image_is_loaded() -> None:
    output = keywords(BuildOptions(load=True))["output"]
    assert output == {"type": "docker", "name": "registry.example/team/app:x1"}


def test_a_base_is_bound_to_where_it_is() -> None:
    base = Reference.parse(f"mirror.example/library/python@{DIGEST}")
    bound = keywords(BuildOptions(base=base))["build_contexts"]
    assert (
        bound["docker.io/library/python:3.13-slim-trixie"] == f"docker-image://mirror.example/library/python@{DIGEST}"
    )
    layout = keywords(BuildOptions(base_layout=f"/x@{DIGEST}"))["build_contexts"]
    assert layout["docker.io/library/python:3.13-slim-trixie"] == f"oci-layout:///x@{DIGEST}"


def test_packages_go_through_files() -> None:
    required = RequirementLines(
        lines=("b==1",),
        constraints=("c<2",),
        options=("--pre",),
        projects=(LocalProject(path="lib", extras=("x", "y"), marker="python_version > '3'"),),
    )
    files = texts(plan(Snapshot(requirements=required), packages=["a; python_version > '3'"]))
    assert files["step-1/requirements.txt"].splitlines() == [
        "--pre",
        'a ; python_version > "3"',
        "b==1",
        "/run/imagespec/packages/lib[x,y] ; python_version > '3'",
    ]
    assert files["step-1/constraints.txt"] == "c<2\n"


def test_locks_lie_as_they_were() -> None:
    found = LockFiles(
        kind="uv.lock", files=(TextFile(path="pyproject.toml", data=b"p"), TextFile(path="uv.lock", data=b"l"))
    )
    files = texts(plan(Snapshot(requirements=found)))
    assert (files["step-1/pyproject.toml"], files["step-1/uv.lock"]) == ("p", "l")


@pytest.mark.parametrize(("size", "is_file"), [(100, False), (64_000, False), (65_001, True), (200_000, True)])
def test_a_command_that_no_line_holds_goes_through_a_file(size: int, is_file: bool) -> None:
    made = plan(commands=["x" * size])
    assert ("step-1/command.sh" in texts(made)) == is_file
    assert ("/run/imagespec/command" in render(made, TEMPLATE).dockerfile) == is_file


def test_the_script_of_a_step_says_where_ca_mirror_and_proxies_are() -> None:
    assert environment_script(BuildOptions()) == ""
    script = environment_script(
        BuildOptions(ca_bundle="/etc/ca.pem", proxies=(("https_proxy", "http://p:1/?a='b'"), ("no_proxy", "a,b")))
    )
    assert "export SSL_CERT_FILE=/run/imagespec/ca.crt\n" in script
    assert "/etc/ca.pem" not in script, "the path here is nothing to a step"
    for name in ("HTTPS_PROXY", "https_proxy"):
        assert f"export {name}='http://p:1/?a='\"'\"'b'\"'\"''\n" in script
    assert "export no_proxy=a,b\n" in script
