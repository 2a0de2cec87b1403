"""Credentials out of docker's and podman's files, and from helpers."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from imagespec.errors import SettingsError, Unauthorized
from imagespec.names import Repository
from imagespec.registry.auth import Credential
from imagespec.registry.credentials import FileCredentials, HelperOutcome, run_helper

HUB = Repository.parse("python")
GHCR = Repository.parse("ghcr.io/org/app")


def _auth(username: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


def _file(tmp_path: Path, value: Any, name: str = "config.json") -> Path:
    file = tmp_path / name
    file.write_text(json.dumps(value) if not isinstance(value, str) else value)
    return file


def _never(program: str, server: str, timeout_s: float) -> HelperOutcome:
    raise AssertionError(f"{program} was run")


def _found(files: tuple[Path, ...], repository: Repository, run: Any = _never) -> Credential | None:
    return FileCredentials(files, run=run).credential(repository)


def test_no_files_no_credential(tmp_path: Path) -> None:
    assert _found((), HUB) is None
    assert _found((tmp_path / "none" / "config.json",), HUB) is None
    assert _found((_file(tmp_path, ""),), HUB) is None
    assert _found((_file(tmp_path, {}),), HUB) is None


@pytest.mark.parametrize(
    "key", ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "https://registry-1.docker.io/v2/"]
)
def test_docker_hub_has_many_names(tmp_path: Path, key: str) -> None:
    found = _found((_file(tmp_path, {"auths": {key: _auth("u", "p:w")}}),), HUB)
    assert found == Credential(username="u", password="p:w")


@pytest.mark.parametrize("key", ["ghcr.io", "https://ghcr.io", "https://ghcr.io/v2/", "ghcr.io/org", "ghcr.io/org/app"])
def test_keys_name_a_registry_or_a_part_of_it(tmp_path: Path, key: str) -> None:
    assert _found((_file(tmp_path, {"auths": {key: _auth("u", "p")}}),), GHCR) == Credential(username="u", password="p")


@pytest.mark.parametrize("key", ["ghcr.io/or", "ghcr.io/org/app2", "ghcr.io:443", "hcr.io", "ghcr.io/org/app/sub"])
def test_other_keys_do_not(tmp_path: Path, key: str) -> None:
    assert _found((_file(tmp_path, {"auths": {key: _auth("u", "p")}}),), GHCR) is None


def test_the_longest_key_wins(tmp_path: Path) -> None:
    auths = {"ghcr.io": _auth("a", "1"), "ghcr.io/org/app": _auth("c", "3"), "ghcr.io/org": _auth("b", "2")}
    file = _file(tmp_path, {"auths": auths})
    assert _found((file,), GHCR) == Credential(username="c", password="3")
    assert _found((file,), Repository.parse("ghcr.io/org/x")) == Credential(username="b", password="2")
    assert _found((file,), Repository.parse("ghcr.io/z/x")) == Credential(username="a", password="1")


def test_tokens_and_plain_fields(tmp_path: Path) -> None:
    auths = {
        "a.io": {"identitytoken": "i"},
        "b.io": {"registrytoken": "r"},
        "c.io": {"username": "u", "password": "p"},
        "d.io": {},
    }
    file = _file(tmp_path, {"auths": auths})
    assert _found((file,), Repository.parse("a.io/x/y")) == Credential(identity_token="i")
    assert _found((file,), Repository.parse("b.io/x/y")) == Credential(registry_token="r")
    assert _found((file,), Repository.parse("c.io/x/y")) == Credential(username="u", password="p")
    assert _found((file,), Repository.parse("d.io/x/y")) is None


def test_the_first_file_goes_first(tmp_path: Path) -> None:
    docker = _file(tmp_path, {"auths": {"a.io": _auth("docker", "1")}}, "config.json")
    podman = _file(tmp_path, {"auths": {"a.io": _auth("podman", "2"), "b.io": _auth("podman", "3")}}, "auth.json")
    assert _found((docker, podman), Repository.parse("a.io/x/y")) == Credential(username="docker", password="1")
    assert _found((docker, podman), Repository.parse("b.io/x/y")) == Credential(username="podman", password="3")


@pytest.mark.parametrize("text", ["{", "[]", '"x"', '{"auths": {"a.io": {"auth": "?"}}}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"config\.json") as raised:
        _found((_file(tmp_path, text),), Repository.parse("a.io/x/y"))
    assert raised.value.exit_code == 2


class Helper:
    """A credential helper that answers by server, and counts."""

    def __init__(self, outcome: HelperOutcome | Exception) -> None:
        self.outcome = outcome
        self.calls: list[tuple[str, str]] = []

    def __call__(self, program: str, server: str, timeout_s: float) -> HelperOutcome:
        self.calls.append((program, server))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def _secret(username: str, secret: str) -> HelperOutcome:
    return HelperOutcome(0, json.dumps({"ServerURL": "x", "Username": username, "Secret": secret}))


def test_a_helper_is_asked_once(tmp_path: Path) -> None:
    helper = Helper(_secret("u", "s"))
    source = FileCredentials((_file(tmp_path, {"credHelpers": {"ghcr.io": "gh"}, "credsStore": "other"}),), run=helper)
    for name in ("a", "b"):
        found = source.credential(Repository.parse(f"ghcr.io/org/{name}"))
        assert found == Credential(username="u", password="s")
    assert helper.calls == [("docker-credential-gh", "ghcr.io")]


def test_the_store_is_asked_for_everything_else(tmp_path: Path) -> None:
    helper = Helper(_secret("<token>", "identity"))
    file = _file(tmp_path, {"credHelpers": {"ghcr.io": "gh"}, "credsStore": "desktop"})
    assert _found((file,), HUB, helper) == Credential(identity_token="identity")
    assert helper.calls == [("docker-credential-desktop", "https://index.docker.io/v1/")]


def test_a_helper_that_knows_nothing_leaves_it_to_the_file(tmp_path: Path) -> None:
    helper = Helper(HelperOutcome(1, "credentials not found in native keychain\n"))
    file = _file(tmp_path, {"credsStore": "x", "auths": {"ghcr.io": _auth("u", "p")}})
    assert _found((file,), GHCR, helper) == Credential(username="u", password="p")
    assert _found((file,), HUB, helper) is None


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (HelperOutcome(1, "", "keychain is locked\nsee above"), "keychain is locked see above"),
        (HelperOutcome(2, ""), "it ended with an error"),
        (HelperOutcome(0, "not json"), "its answer is not one"),
        (HelperOutcome(0, '{"Username": "u"}'), "its answer is not one"),
        (FileNotFoundError(2, "x"), "is not on the PATH"),
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (TimeoutError("no answer in 20 s"), "no answer in 20 s"),
    ],
)
def test_a_helper_that_fails_is_an_error(tmp_path: Path, outcome: Any, message: str) -> None:
    with pytest.raises(Unauthorized, match=message) as raised:
        _found((_file(tmp_path, {"credsStore": "x"}),), GHCR, Helper(outcome))
    assert raised.value.exit_code == 3
    assert "docker-credential-x" in str(raised.value)


def test_the_secret_has_no_repr() -> None:
    assert "s3cret" not in repr(_secret("u", "s3cret"))
    assert "s3cret" not in repr(Credential(username="u", password="s3cret"))


def _program(tmp_path: Path, text: str) -> str:
    file = tmp_path / "docker-credential-x"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return str(file)


def test_a_real_helper_gets_the_server_on_its_stdin(tmp_path: Path) -> None:
    program = _program(tmp_path, 'test "$1" = get && printf "<%s>" "$(cat)"; echo warned >&2; exit 3')
    assert run_helper(program, "ghcr.io", 5.0) == HelperOutcome(3, "<ghcr.io>", "warned\n")


def test_a_helper_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    program = _program(tmp_path, f"sleep 60 & echo $! > {tmp_path}/child; wait")
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="no answer"):
        run_helper(program, "ghcr.io", 0.5)
    assert time.monotonic() - began < 5
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]:
            break
        time.sleep(0.02)
    else:
        raise AssertionError("the child is alive")
