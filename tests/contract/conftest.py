"""Every implementation of ``Registry``, each behind the same door."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from imagespec.names import Reference, Repository
from imagespec.registry import Registry
from imagespec.registry.auth import Credential
from imagespec.registry.http import HttpRegistry
from imagespec.registry.layout import LayoutRegistry
from tests.fakes.registry import FakeRegistry
from tests.fakes.token_registry import TokenRegistry, registry_program, serve_token_registry

KINDS = [
    "fake",
    "layout",
    pytest.param("open", marks=pytest.mark.integration),
    pytest.param("basic", marks=pytest.mark.integration),
    pytest.param("token", marks=pytest.mark.integration),
]


@dataclass
class Door:
    """An implementation, and names in it that nobody else uses."""

    registry: Registry
    host: str
    prefix: str
    numbers: Iterator[int]

    def repository(self) -> Repository:
        return Repository.parse(f"{self.host}/{self.prefix}/r{next(self.numbers)}")

    def reference(self, tag: str = "v1") -> Reference:
        return Reference(self.repository(), tag)


@dataclass(frozen=True)
class Known:
    """A credential source with one credential for everything."""

    held: Credential

    def credential(self, repository: Repository) -> Credential | None:
        return self.held


@pytest.fixture(scope="session")
def token_registry(registry_bed: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenRegistry]:
    program = registry_program()
    if program is None:
        reason = "docker-registry is not on this machine as a program"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with serve_token_registry(tmp_path_factory.mktemp("token-registry"), program) as registry:
        yield registry


@contextmanager
def _opened(kind: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[Registry, str]]:
    if kind == "fake":
        yield FakeRegistry(), "localhost:1"
    elif kind == "layout":
        yield LayoutRegistry(folder / "layout"), "localhost:1"
    elif kind == "token":
        token: TokenRegistry = request.getfixturevalue("token_registry")
        known = Known(Credential(username=token.username, password=token.password))
        with HttpRegistry(credentials=known) as registry:
            yield registry, token.host
    else:
        bed = request.getfixturevalue("registry_bed")
        user = bed["auth_registry"]
        known = Known(Credential(username=user["username"], password=user["password"]))
        with HttpRegistry(credentials=known if kind == "basic" else None) as registry:
            yield registry, user["host"] if kind == "basic" else bed["registry"]


@pytest.fixture(params=KINDS)
def door(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Door]:
    with _opened(request.param, request, tmp_path) as (registry, host):
        yield Door(registry, host, f"contract/{os.urandom(6).hex()}", itertools.count(1))
