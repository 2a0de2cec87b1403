"""Packages to a lock, by uv: for the target's platform and interpreter, wheels only, nothing installed."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from imagespec.builders.assembly.refusals import FROM_SOURCES
from imagespec.builders.assembly.store import Store, key_of
from imagespec.builders.host_uv import host_uv
from imagespec.errors import BuildFailed, SpecError, Unsupported
from imagespec.plan import PythonPackages
from imagespec.requirements.poetry_lock import POETRY_LOCK, requirement_lines
from imagespec.values import dataclass, fields, replace
from imagespec.wheels.arguments import Understood, understood
from imagespec.wheels.lock import LockedWheel, Target, chosen, normalized

__all__ = ["Fetching", "Resolver"]

_TIME_LIMIT_S: Final = 600.0
_FRESH_S: Final = 3600.0
"""How long a lock stands for requirements that float; uv itself asks an index again after ten minutes."""

# No interpreter is fetched: the target's version is told, and looking for one on the network takes seconds.
_QUIETLY: Final = ("--quiet", "--no-header", "--no-progress", "--no-python-downloads")

_FORMAT: Final = 1
_PINNED: Final = re.compile(r"[A-Za-z0-9._-]+(\[[^]]*\])?\s*===?\s*[^*\s;,]+(\s*;.*|\s+--hash=.*)?")
_HASH: Final = re.compile(r"--hash[= ]sha256:([0-9a-f]{64})")
_OTHER_HASH: Final = re.compile(r"--hash[= ](?!sha256:)(\w+)")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SOURCE_ONLY: Final = ("has no usable wheels", "has no wheels with", "building from source is disabled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetching:
    """How to reach package indexes: ``netrc`` is a file with credentials."""

    ca_bundle: str = ""
    netrc: str = ""


class Resolver:
    """Turns requirements into locked wheels, remembering what it resolved."""

    def __init__(self, store: Store, fetching: Fetching) -> None:
        self._store = store
        self._fetching = fetching

    def pip(
        self, version: str, indexes: tuple[str, tuple[str, ...]], target: Target, *, refresh: bool
    ) -> tuple[LockedWheel, ...]:
        """Return pip itself, of exactly this version."""
        step = PythonPackages(
            prefix="", lines=(f"pip=={version}",), index=indexes[0], extra_indexes=indexes[1], arguments=("--no-deps",)
        )
        return self.packages(step, target, {}, refresh=refresh)

    def packages(
        self, step: PythonPackages, target: Target, installed: Mapping[str, str], *, refresh: bool
    ) -> tuple[LockedWheel, ...]:
        """Return the wheels for a step, by name; ``installed`` are the versions by name that it shall keep.

        Raise Unsupported for a package without a wheel, BuildFailed when there is no solution or no index.
        """
        if step.lock is not None and (step.lock.kind == "uv.lock" or step.lock.kind.startswith("pylock.")):
            return self._from_lock(step, target)
        if step.lock is not None and step.lock.kind == POETRY_LOCK:
            locked = requirement_lines(step.lock, step.extras, step.groups)
            step = replace(step, lines=(*step.lines, *locked), lock=None, extras=(), groups=())
        said = understood(step.arguments, "pip_extra_args")
        listed = understood(step.options, "requirements")
        hashes = _hashes(step, said, listed)
        asked = (_texts(step), step.index, step.extra_indexes, said.words, listed.words)
        told = (target.triple, target.python, sorted(installed.items()), isinstance(hashes, _Required))
        key = key_of("lock", _FORMAT, *asked, *told)
        pinned = all(_PINNED.fullmatch(line) for line in step.lines) and "--no-deps" in said.words
        kept = None if refresh else self._store.value("locks", key, None if pinned else _FRESH_S, time.time())
        if kept is None:
            lock = self._compiled(step, target, installed, (*listed.words, *said.words), refresh=refresh)
            wheels = chosen(lock, target, hashes=hashes)
            kept = [{one.name: getattr(wheel, one.name) for one in fields(wheel)} for wheel in wheels]
            self._store.write_value("locks", key, kept)
        return tuple(LockedWheel(**one) for one in kept)

    def _from_lock(self, step: PythonPackages, target: Target) -> tuple[LockedWheel, ...]:
        """Return the wheels of a pylock, or of a uv.lock that uv writes as one."""
        if step.lines or step.lock is None:
            raise SpecError(
                f"packages: cannot be added to {step.lock.kind if step.lock else 'a lock'}",
                path="packages",
                hint="add them to the project and lock it again, or build an image on top with base_image",
            )
        if step.lock.kind == "uv.lock":
            return chosen(self._exported(step), target)
        data = next(file.data for file in step.lock.files if re.fullmatch(r"pylock(\..+)?\.toml", file.path))
        return chosen(_toml(data.decode()), target, extras=step.extras, groups=step.groups)

    def _exported(self, step: PythonPackages) -> Mapping[str, Any]:
        words = [word for extra in step.extras for word in ("--extra", extra)]
        words += [word for group in step.groups for word in ("--group", group)]
        with self._work() as work:
            _write_files(work, step)
            output = work / "pylock.imagespec.toml"
            command = [*self._uv("export"), "--format", "pylock.toml", "--frozen", "--offline", "--no-dev"]
            command += ["--no-emit-workspace", *words, "--output-file", str(output)]
            self._run([command], work)
            return _toml(output.read_text(encoding="utf-8"))

    def _compiled(
        self,
        step: PythonPackages,
        target: Target,
        installed: Mapping[str, str],
        words: tuple[str, ...],
        *,
        refresh: bool,
    ) -> Mapping[str, Any]:
        """Return what uv resolves, as a parsed pylock."""
        with self._work() as work:
            source = _write_sources(work, step, installed)
            output = work / "pylock.imagespec.toml"
            preferred = dict(installed)
            if preferred:
                output.write_text(_preferences(preferred), encoding="utf-8")
            command = [*self._uv("pip", "compile"), *source, *_target_words(target), *_index_words(step), *words]
            command += [*_host_words(), "--output-file", str(output)]
            pinned = bool(step.lines) and all(_PINNED.fullmatch(line) for line in step.lines)
            self._run([[*command, "--offline"], command] if pinned and not refresh else [command], work)
            return _toml(output.read_text(encoding="utf-8"))

    @contextmanager
    def _work(self) -> Iterator[Path]:
        """Give a folder for one run of uv, in the store: what a killed build leaves there is removed by the next one.

        The user's index settings count, those of a project around us do not: uv looks no further than a ``uv.toml``.
        """
        with self._store.folder() as folder:
            folder.mkdir()
            (folder.parent / "uv.toml").touch()
            yield folder

    def _uv(self, *words: str) -> list[str]:
        # Proxies are inherited: an address with a password must not stand in a command line.
        variables = {}
        if self._fetching.netrc:
            variables["NETRC"] = self._fetching.netrc
        if self._fetching.ca_bundle:
            variables["SSL_CERT_FILE"] = self._fetching.ca_bundle
        given = ["env", *(f"{name}={value}" for name, value in variables.items())] if variables else []
        return [*given, host_uv(), *words, *_QUIETLY]

    def _run(self, attempts: list[list[str]], work: Path) -> None:
        """Run the first command that succeeds; raise what the last one says."""
        import subprocess

        for command in attempts:
            done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=_TIME_LIMIT_S, check=False)
            if done.returncode == 0:
                return
        raise _failure(done.stderr, done.returncode)


def _write_sources(work: Path, step: PythonPackages, installed: Mapping[str, str]) -> list[str]:
    """Write what uv reads; return the words that name it."""
    words: list[str] = []
    if step.lines:
        (work / "requirements.in").write_text("".join(f"{line}\n" for line in step.lines), encoding="utf-8")
        words.append("requirements.in")
    asked = {normalized(match[0]) for match in map(_NAME.match, step.lines) if match}
    held = [f"{name}=={version}" for name, version in sorted(installed.items()) if name not in asked]
    constraints = [*step.constraints, *(held if step.keep_installed else ())]
    if step.lock is not None:
        _write_files(work, step)
        words += _project_words(step)
    if constraints:
        (work / "constraints.txt").write_text("".join(f"{line}\n" for line in constraints), encoding="utf-8")
        words += ["--constraints", "constraints.txt"]
    return words


def _write_files(work: Path, step: PythonPackages) -> None:
    for file in step.lock.files if step.lock else ():
        path = work / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data)


def _project_words(step: PythonPackages) -> list[str]:
    """Return the words that name a project."""
    words = ["pyproject.toml"]
    for extra in step.extras:
        words += ["--extra", extra]
    for group in step.groups:
        words += ["--group", group]
    return words


def _target_words(target: Target) -> list[str]:
    words = ["--format", "pylock.toml", "--python-platform", target.triple, "--python-version", target.python]
    return [*words, "--only-binary", ":all:"]


def _host_words() -> list[str]:
    """Return the words that name an interpreter of this machine; what is resolved is the target's all the same.

    Without them uv looks through all that are installed, and runs each that it does not know yet.
    """
    return ["--python", sys.executable] if sys.executable else []


def _index_words(step: PythonPackages) -> list[str]:
    words = ["--default-index", step.index] if step.index else []
    for index in step.extra_indexes:
        words += ["--index", index]
    return words


def _preferences(installed: Mapping[str, str]) -> str:
    """Return a pylock that uv takes its first choice of versions from, as it keeps what is installed."""
    packages = "".join(
        f'\n[[packages]]\nname = "{name}"\nversion = "{version}"\n' for name, version in installed.items()
    )
    return f'lock-version = "1.0"\ncreated-by = "imagespec"\n{packages}'


def _texts(step: PythonPackages) -> list[Any]:
    files = [(file.path, file.data.decode("utf-8", "replace")) for file in step.lock.files] if step.lock else []
    return [step.lines, step.constraints, files, step.extras, step.groups, step.keep_installed]


def _hashes(step: PythonPackages, *said: Understood) -> dict[str, list[str]] | None:
    """Return the hashes that the requirements allow, by name; None where they do not speak of hashes.

    Raise Unsupported for what is pinned by hashes of another kind alone.
    """
    found: dict[str, list[str]] = {}
    for line in (*step.lines, *step.constraints):
        match, hashes = _NAME.match(line), _HASH.findall(line)
        other = _OTHER_HASH.search(line)
        if other and not hashes:
            raise Unsupported(
                f"requirements: {line.split()[0]} is pinned by {other[1]} alone, and wheels are known by their sha256",
                builder="daemonless",
                field="requirements",
                hint="add --hash=sha256:…; or --builder buildkit",
            )
        if match and hashes:
            found.setdefault(normalized(match[0]), []).extend(hashes)
    if any(one.requires_hashes for one in said):
        return _Required(found)
    return found or None


class _Required(dict[str, list[str]]):
    """Hashes by name, none of them allowed for a name that is not there."""

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name, ())


def _toml(text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)


def _failure(stderr: str, status: int) -> Exception:
    lines = [re.sub(r"://[^/@\s]*@", "://", line) for line in stderr.strip().splitlines() if line.strip()]
    text = " ".join(line.strip() for line in lines)
    if any(sign in text for sign in _SOURCE_ONLY):
        name = re.search(r"([A-Za-z0-9._-]+?)(==[^ ]+)? has no (usable wheels|wheels with)", text)
        named = f"{name[1]}{name[2] or ''}" if name else "a package"
        return Unsupported(
            f"packages: {named} has no wheel for this base and Python",
            builder="daemonless",
            field="packages",
            hint=FROM_SOURCES,
        )
    cause = next((line.partition("cause:")[2].strip() for line in lines if "cause:" in line), "")
    return BuildFailed(
        f"resolve packages: {cause or (lines[-1] if lines else 'uv stopped')}",
        step="resolve packages",
        exit_status=status,
        log_tail=tuple(lines[-20:]),
        hint="mend the requirements, or check the index, the proxy and the CA",
    )
