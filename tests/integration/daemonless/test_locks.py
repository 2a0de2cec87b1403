"""Every form of lock to wheels, resolved by the real uv from a small index of our own; no base, no engine."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imagespec.builders.assembly.resolution import Fetching, Resolver
from imagespec.builders.assembly.store import Store
from imagespec.builders.assembly.wheel_store import WheelStore
from imagespec.errors import BuildFailed, IntegrityError, SpecError, Unsupported
from imagespec.oci import Platform
from imagespec.plan import PythonPackages
from imagespec.registry.hosts import Proxies
from imagespec.snapshot import LockFiles, TextFile
from imagespec.wheels.lock import LockedWheel, Target
from tests.fakes.package_index import PackageIndex, make_wheel, serving

pytestmark = pytest.mark.integration

TARGET = Target(platform=Platform.parse("linux/amd64"), python="3.11.2", libc="glibc 2.36")
PROJECT = """\
[project]
name = "project"
version = "1.0"
requires-python = ">=3.10"
dependencies = ["lib<2"]
[project.optional-dependencies]
more = ["extra"]
[dependency-groups]
tools = ["tool"]
dev = ["never"]
"""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PackageIndex]:
    folder = tmp_path_factory.mktemp("index")
    for name, version in (("lib", "1.0"), ("lib", "1.5"), ("lib", "2.0")):
        make_wheel(folder, name, version, requires=("dep",))
    for name in ("extra", "tool", "never"):
        make_wheel(folder, name)
    make_wheel(folder, "dep", "1.0")
    make_wheel(folder, "dep", "2.0")
    with serving(folder) as served:
        yield served


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "store")
    yield made
    made.close()


def step(index: PackageIndex, *lines: str, **more: Any) -> PythonPackages:
    return PythonPackages(prefix="/opt/venv", lines=lines, index=index.url, **more)


def resolved(store: Store, packages: PythonPackages, **installed: str) -> dict[str, str]:
    found = Resolver(store, Fetching()).packages(packages, TARGET, installed, refresh=False)
    return {wheel.name: wheel.version for wheel in found}


def uv(folder: Path, index: PackageIndex, *words: str) -> None:
    import uv as program

    command = [os.fsdecode(program.find_uv_bin()), *words, "--default-index", index.url]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def test_requirements_and_constraints(store: Store, index: PackageIndex) -> None:
    assert resolved(store, step(index, "lib")) == {"lib": "2.0", "dep": "2.0"}
    assert resolved(store, step(index, "lib<2", constraints=("dep<2",))) == {"lib": "1.5", "dep": "1.0"}
    assert resolved(store, step(index, "lib==1.0", arguments=("--no-deps",))) == {"lib": "1.0"}


def test_what_is_installed_is_kept_unless_asked_for_anew(store: Store, index: PackageIndex) -> None:
    kept = step(index, "lib", keep_installed=True)
    assert resolved(store, kept, dep="1.0") == {"lib": "2.0", "dep": "1.0"}
    assert resolved(store, kept, lib="1.0", dep="1.0") == {"lib": "1.0", "dep": "1.0"}
    newer = step(index, "lib>1", keep_installed=True)
    assert resolved(store, newer, lib="1.0", dep="1.0") == {"lib": "2.0", "dep": "1.0"}


def test_a_uv_lock_with_extras_and_groups(store: Store, index: PackageIndex, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    uv(tmp_path, index, "lock")
    texts = tuple(TextFile(path=name, data=(tmp_path / name).read_bytes()) for name in ("pyproject.toml", "uv.lock"))
    lock = LockFiles(kind="uv.lock", files=texts)
    assert resolved(store, step(index, lock=lock)) == {"lib": "1.5", "dep": "2.0"}
    chosen = resolved(store, step(index, lock=lock, extras=("more",), groups=("tools",)))
    assert chosen == {"lib": "1.5", "dep": "2.0", "extra": "1.0", "tool": "1.0"}
    with pytest.raises(SpecError, match=r"cannot be added to uv\.lock"):
        resolved(store, step(index, "extra", lock=lock))


def test_a_pylock(store: Store, index: PackageIndex, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("lib<1.5\n")
    uv(tmp_path, index, "pip", "compile", "in.txt", "--format", "pylock.toml", "-o", "pylock.toml", "-q")
    lock = LockFiles(
        kind="pylock.toml", files=(TextFile(path="pylock.toml", data=(tmp_path / "pylock.toml").read_bytes()),)
    )
    assert resolved(store, step(index, lock=lock)) == {"lib": "1.0", "dep": "2.0"}


def test_a_project_and_its_poetry_lock(store: Store, index: PackageIndex) -> None:
    project = TextFile(path="pyproject.toml", data=PROJECT.encode())
    assert resolved(store, step(index, lock=LockFiles(kind="pyproject.toml", files=(project,)))) == {
        "lib": "1.5",
        "dep": "2.0",
    }
    packages = "".join(
        f'[[package]]\nname = "{name}"\nversion = "1.0"\ngroups = ["{group}"]\nfiles = []\n'
        for name, group in (("lib", "main"), ("dep", "main"), ("tool", "tools"))
    )
    text = f'{packages}[metadata]\nlock-version = "2.1"\n'
    lock = LockFiles(kind="poetry.lock", files=(TextFile(path="poetry.lock", data=text.encode()), project))
    assert resolved(store, step(index, lock=lock)) == {"lib": "1.0", "dep": "1.0"}
    assert resolved(store, step(index, lock=lock, groups=("tools",))) == {"lib": "1.0", "dep": "1.0", "tool": "1.0"}


def test_hashes_are_required_where_they_are_asked_for(store: Store, index: PackageIndex) -> None:
    good = hashlib.sha256((index.folder / "extra-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    assert resolved(store, step(index, f"extra==1.0 --hash=sha256:{good}")) == {"extra": "1.0"}
    with pytest.raises(Unsupported, match="hash"):
        resolved(store, step(index, f"extra==1.0 --hash=sha256:{'0' * 64}"))
    with pytest.raises(Unsupported, match="hash"):
        resolved(store, step(index, f"extra==1.0 --hash=sha256:{good}", "tool==1.0", arguments=("--require-hashes",)))


@pytest.mark.parametrize("kind", ["sha384", "sha512", "md5", "blake2b"])
def test_a_hash_that_is_not_checked_is_not_taken_for_one(kind: str, store: Store, index: PackageIndex) -> None:
    good = hashlib.sha256((index.folder / "extra-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    with pytest.raises(Unsupported, match=f"extra==1.0 is pinned by {kind} alone"):
        resolved(store, step(index, f"extra==1.0 --hash={kind}:{'0' * 32}"))
    both = f"extra==1.0 --hash={kind}:{'0' * 32} --hash=sha256:{good}"
    assert resolved(store, step(index, both)) == {"extra": "1.0"}


def test_hashes_of_constraints_count(store: Store, index: PackageIndex) -> None:
    good = hashlib.sha256((index.folder / "extra-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    constraint = f"extra==1.0 --hash=sha256:{good}"
    assert resolved(store, step(index, "extra", constraints=(constraint,))) == {"extra": "1.0"}
    with pytest.raises(Unsupported, match="hash"):
        resolved(store, step(index, "extra", constraints=(constraint.replace(good, "0" * 64),)))


def test_required_hashes_are_required_whatever_was_resolved_before(store: Store, index: PackageIndex) -> None:
    assert resolved(store, step(index, "tool==1.0")) == {"tool": "1.0"}
    for _ in range(2):
        with pytest.raises(Unsupported, match="hash"):
            resolved(store, step(index, "tool==1.0", arguments=("--require-hashes",)))


def test_a_lock_is_remembered_and_asked_for_again_when_wanted(store: Store, index: PackageIndex) -> None:
    packages = step(index, "tool")
    resolver = Resolver(store, Fetching())
    resolver.packages(packages, TARGET, {}, refresh=False)
    before = len(index.requests)
    resolver.packages(packages, TARGET, {}, refresh=False)
    assert len(index.requests) == before
    other = Target(platform=TARGET.platform, python="3.12.1", libc=TARGET.libc)
    assert resolver.packages(packages, other, {}, refresh=False)


def test_what_cannot_be_resolved_says_why_without_credentials(store: Store, index: PackageIndex) -> None:
    with pytest.raises(BuildFailed, match="nothing-of-this-name was not found") as raised:
        resolved(store, step(index, "nothing-of-this-name"))
    assert "index" in raised.value.hint


def test_a_private_index_with_a_netrc(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "private"
    folder.mkdir()
    wheel = make_wheel(folder, "secretive")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password s3cret\n")
    netrc.chmod(0o600)
    with serving(folder, login=("me", "s3cret")) as private:
        fetching = Fetching(netrc=str(netrc))
        packages = PythonPackages(prefix="/opt/venv", lines=("secretive",), index=private.url)
        (found,) = Resolver(store, fetching).packages(packages, TARGET, {}, refresh=False)
        wheels = WheelStore(store, fetching, Proxies())
        assert wheels.path(found).read_bytes() == wheel.read_bytes()
        wheels.close()
        without = WheelStore(Store(tmp_path / "other"), Fetching(), Proxies())
        with pytest.raises(BuildFailed, match="the index answered 401") as raised:
            without.path(found)
        without.close()
    assert "s3cret" not in str(raised.value)


def test_a_wheel_that_is_not_the_lock_s_is_refused_and_not_kept(store: Store, index: PackageIndex) -> None:
    url = f"{index.url.removesuffix('/simple')}/files/tool-1.0-py3-none-any.whl"
    wheel = LockedWheel(name="tool", version="1.0", filename="tool-1.0-py3-none-any.whl", url=url, sha256="0" * 64)
    wheels = WheelStore(store, Fetching(), Proxies())
    with pytest.raises(IntegrityError, match="sha256 is not the one in the lock"):
        wheels.path(wheel)
    wheels.close()
    assert wheels.missing((wheel,)) == (wheel,)
    assert list(store.list()) == []


def test_no_other_interpreter_of_the_machine_is_run(
    store: Store, index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran, folder = tmp_path / "ran", tmp_path / "bin"
    folder.mkdir()
    for name in ("python", "python3", "python3.11"):
        program = folder / name
        program.write_text(f"#!/bin/sh\necho {name} >> '{ran}'\nexit 1\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    assert resolved(store, step(index, "tool")) == {"tool": "1.0"}
    assert not ran.exists()
