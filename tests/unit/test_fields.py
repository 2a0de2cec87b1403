"""The grammar of each field: what is accepted and how it is normalised, what is refused and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from imagespec.errors import SpecError
from imagespec.spec import Declaration


def value_of(field: str, value: Any) -> Any:
    return getattr(Declaration(**{field: value}), field)


@pytest.mark.parametrize(
    ("field", "given", "kept"),
    [
        ("name", "a/b_c-d.e", "a/b_c-d.e"),
        ("python_version", "3.9", "3.9"),
        ("python_version", "3.11.7", "3.11.7"),
        ("registry", "localhost:5000", "localhost:5000"),
        ("registry", "[::1]:5000/a", "[::1]:5000/a"),
        ("registry", "team", "team"),
        (
            "packages",
            ["Foo.Bar [Y,x] >= 1 , <2 ; python_version > '3'"],
            ('foo-bar[x,y]<2,>=1 ; python_version > "3"',),
        ),
        ("packages", ["a @ https://x.example/a.whl"], ("a @ https://x.example/a.whl",)),
        ("packages", ["git+https://x.example/a@v1"], ("git+https://x.example/a@v1",)),
        ("packages", ["git+ssh://git@x.example/a"], ("git+ssh://git@x.example/a",)),
        ("packages", {"b", "a"}, ("a", "b")),
        ("apt_packages", ["git", "g++", "libc6:arm64", "git=1:2.39-1~deb12u1", "a1/stable"], None),
        ("conda_packages", ["numpy>=1.2,<2", "conda-forge::x[version='1']"], None),
        ("conda_channels", ["conda-forge", "https://c.example/x", "file:///c"], None),
        ("base_image", "ghcr.io/a/b:1@sha256:" + "a" * 64, "ghcr.io/a/b:1@sha256:" + "a" * 64),
        ("base_image", "oci-layout:./base:tag", "oci-layout:./base:tag"),
        ("platform", "linux/amd64, linux/arm64,linux/x86_64", "linux/amd64,linux/arm64"),
        ("entrypoint", [], ()),
        ("entrypoint", ["", " ", "\n"], ("", " ", "\n")),
        ("commands", ["a\n\tb "], ("a\n\tb ",)),
        ("tag_format", "a-{spec_hash}-{spec_hash}", "a-{spec_hash}-{spec_hash}"),
        ("python_exec", "python3.12", "python3.12"),
        ("pip_secret_mounts", [("x y", "//run/./a/")], (("x y", "/run/a"),)),
        ("env", {"A.b-C_1": "\n\t $"}, {"A.b-C_1": "\n\t $"}),
    ],
)
def test_accepted(field: str, given: Any, kept: Any) -> None:
    assert value_of(field, given) == (tuple(given) if kept is None else kept)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "-bad", "name: is not a repository name: '-bad'"),
        ("name", "a:b", "name: is not a repository name: 'a:b'"),
        ("name", "", "name: is empty or has spaces around it"),
        ("name", None, "name: must be text, not nothing"),
        ("registry", "localhost:99999", "registry: is not host[:port][/path]: 'localhost:99999'"),
        ("registry", "ghcr.io/team/", "registry: is not host[:port][/path]: 'ghcr.io/team/'"),
        ("registry", "ghcr.io\nUSER root", "registry: holds a line break or another control character"),
        ("registry", "https://ghcr.io", "registry: is not host[:port][/path]: 'https://ghcr.io'"),
        ("python_version", "2.7", "python_version: is not 3.MINOR or 3.MINOR.PATCH: '2.7'"),
        (
            "python_version",
            "3.11\n",
            "python_version: is not 3.MINOR or 3.MINOR.PATCH: (not shown: not printable or long)",
        ),
        ("packages", "pandas", "packages: must be a list, not text"),
        ("packages", ["a; b"], "packages[0]: is not a requirement: 'a; b'"),
        ("packages", ["ok", "curl; rm -rf /x"], "packages[1]: is not a requirement: 'curl; rm -rf /x'"),
        ("packages", [1.0], "packages[0]: must be text, not a number"),
        ("packages", {1, "a"}, "packages[0]: must be text, not a number"),
        (
            "packages",
            ["a @ https://u:p@x.example/a.whl"],
            "packages[0]: holds credentials, which would end up in image history and logs",
        ),
        (
            "packages",
            ["git+ssh://git:pw@x.example/a"],
            "packages[0]: holds credentials, which would end up in image history and logs",
        ),
        (
            "pip_index",
            "https://u:p@x.example/",
            "pip_index: holds credentials, which would end up in image history and logs",
        ),
        (
            "pip_index",
            "https://token@x.example/",
            "pip_index: holds credentials, which would end up in image history and logs",
        ),
        (
            "pip_index",
            "https://x.example/?token=secret",
            "pip_index: holds credentials, which would end up in image history and logs",
        ),
        ("pip_index", "ftp://x", "pip_index: is not an http, https or file URL"),
        (
            "pip_extra_args",
            "--index-url https://u:p@x/",
            "pip_extra_args: holds credentials, which would end up in image history and logs",
        ),
        ("pip_extra_args", "--a 'b", 'pip_extra_args: no closing quotation: "--a \'b"'),
        ("apt_packages", ["git", "a b"], "apt_packages[1]: is not an apt package: 'a b'"),
        ("apt_packages", ["--yes"], "apt_packages[0]: is not an apt package: '--yes'"),
        ("conda_packages", ["-c evil"], "conda_packages[0]: is not a conda match specification: '-c evil'"),
        ("conda_channels", ["https://c.example/t/token/x y"], "conda_channels[0]: is not an http, https or file URL"),
        ("env", {"A B": "x"}, "env: has a name that is not a variable's name: 'A B'"),
        ("env", {"A": 1}, "env.A: must be text, not a number"),
        ("env", {"A": "\0"}, "env.A: holds a NUL character, which no operating system can pass on"),
        ("env", {"A": "\ud800"}, "env.A: is not valid Unicode"),
        ("env", {"_F_IMG_ID": "x"}, "env._F_IMG_ID: is set by the build itself"),
        ("env", ["A=b"], "env: must map names to values, not a list"),
        ("base_image", "a//b", "base_image: is not an image reference: 'a//b'"),
        ("platform", "windows/amd64", "platform: is not a list of linux platforms: 'windows/amd64'"),
        ("platform", "linux", "platform: is not a list of linux platforms: 'linux'"),
        ("entrypoint", "python", "entrypoint: must be a list, not text"),
        ("commands", ["true", " \n"], "commands[1]: is empty"),
        ("tag_format", "latest", "tag_format: must contain {spec_hash}: 'latest'"),
        ("tag_format", "{spec_hash}:x", "tag_format: does not give a tag: '{spec_hash}:x'"),
        (
            "tag_format",
            "{spec_hash}" + "x" * 100,
            "tag_format: does not give a tag: '" + "{spec_hash}" + "x" * 100 + "'",
        ),
        ("python_exec", "python; id", "python_exec: is not an interpreter's path: 'python; id'"),
        ("pip_secret_mounts", [".netrc"], "pip_secret_mounts[0]: must be a pair (file, mount path)"),
        (
            "pip_secret_mounts",
            [("a", "b")],
            "pip_secret_mounts[0][1]: is not an absolute path of letters, digits and '/._@+~-': 'b'",
        ),
        (
            "pip_secret_mounts",
            [("a", "/b/../c")],
            "pip_secret_mounts[0][1]: is not an absolute path of letters, digits and '/._@+~-': '/b/../c'",
        ),
        ("requirements", "", "requirements: is empty or has spaces around it"),
        ("requirements", ["a"], "requirements: must be text, not a list"),
        ("copy", "app", "copy: must be a list, not text"),
        ("builder", "../x", "builder: is not a builder's name: '../x'"),
        ("builder_options", {"x": object()}, "builder_options.x: must be plain data, not object"),
        ("builder_options", {1: "x"}, "builder_options (a key): must be text, not a number"),
        ("builder_config", "x", "builder_config: must be a mapping, not text"),
    ],
)
def test_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        value_of(field, value)
    assert str(caught.value) == message
    assert caught.value.path.startswith(field)


def test_a_message_never_shows_what_may_be_secret() -> None:
    for value in ("https://user:hunter2@x.example/", "ftp://hunter2"):
        with pytest.raises(SpecError) as caught:
            Declaration(pip_index=value)
        assert "hunter2" not in str(caught.value) + caught.value.hint


def test_data_that_contains_itself_is_refused() -> None:
    endless: dict[str, Any] = {}
    endless["again"] = endless
    with pytest.raises(SpecError, match=r"^builder_options: is nested more than 20 deep$"):
        Declaration(builder_options=endless)


def test_lines_are_limited() -> None:
    with pytest.raises(SpecError, match=r"^requirements: is longer than 4096 bytes$"):
        Declaration(requirements="x" * 4_097)
    assert Declaration(requirements="x" * 4_096).requirements
