"""The environment's layers for one platform: looked at first, made later, so that nothing is written for nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Final, TypeVar

from imagespec.builders import BuildOptions
from imagespec.builders.assembly.base import Image
from imagespec.builders.assembly.bytecode import BytecodeStore, Compiler
from imagespec.builders.assembly.file_system import FileSystem, read_files
from imagespec.builders.assembly.interpreters import Interpreter, environment_python, find_interpreter
from imagespec.builders.assembly.layer_file import LayerWriter
from imagespec.builders.assembly.layers import Layer, LayerStore
from imagespec.builders.assembly.resolution import Resolver
from imagespec.builders.assembly.roots import Rooted, above, account_entries, environment_entries, with_parents
from imagespec.builders.assembly.wheel_layers import (
    Archive,
    Owner,
    grouped,
    placed_files,
    write_files,
)
from imagespec.builders.assembly.wheel_store import WheelStore
from imagespec.errors import BuildFailed, IntegrityError
from imagespec.oci import Platform
from imagespec.plan import Account, BuildPlan, PythonEnvironment, PythonPackages
from imagespec.tarball import TarEntry
from imagespec.values import dataclass
from imagespec.wheels.archive import Member
from imagespec.wheels.lock import LockedWheel, Target, normalized
from imagespec.wheels.pins import Pinned, pins_of
from imagespec.wheels.placement import Placed, Scheme
from imagespec.workers import Workers, results

__all__ = ["Environment", "EnvironmentMaker", "look"]

_Kind = TypeVar("_Kind")
_FETCHING_THREADS: Final = 6
_COMPILING_TAKES: Final = 10
_DIST_INFO: Final = re.compile(r"(?P<name>[^/]+?)-(?P<version>[^/-]+)\.dist-info")


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What the environment of one platform will be.

    ``entries`` are the account, the workdir and the empty environment; ``removed`` paths of the base that other
    versions replace; ``kept`` the packages of the base's environment that stay as they are.
    """

    files: FileSystem
    python: Interpreter | None
    scheme: Scheme | None
    wheels: tuple[LockedWheel, ...]
    bytecode: bool
    entries: tuple[Rooted, ...]
    removed: tuple[str, ...]
    kept: tuple[Pinned, ...] = ()

    @property
    def pins(self) -> tuple[Pinned, ...]:
        """All that the environment has in the end, by name."""
        added = (Pinned(name=one.name, version=one.version, sha256=one.sha256) for one in self.wheels)
        return tuple(sorted((*self.kept, *added), key=lambda pin: pin.name))


def look(
    plan: BuildPlan, platform: Platform, base: Image, files: FileSystem, resolver: Resolver, options: BuildOptions
) -> Environment:
    """Return the environment that the plan's steps make over a base; raise what says that it cannot be made."""
    creation = _last(plan, PythonEnvironment)
    packages = _last(plan, PythonPackages)
    python: Interpreter | None = None
    scheme: Scheme | None = None
    wheels: tuple[LockedWheel, ...] = ()
    removed: list[str] = []
    kept: tuple[Pinned, ...] = ()
    entries = account_entries(files, plan.config, lambda wanted: read_files(base, files, wanted))
    if creation is not None:
        python = find_interpreter(files, base.run_time, creation)
        scheme = Scheme(prefix=creation.prefix, python=python.minor)
        entries += environment_entries(files, creation, python, plan.config.account)
    elif packages is not None:
        python = environment_python(files, packages.prefix)
        scheme = Scheme(prefix=packages.prefix, python=python.minor)
    if python is not None and scheme is not None:
        target = Target(platform=platform, python=python.version, libc=python.libc)
        wheels, removed, kept = _wheels(creation, packages, target, scheme, base, files, resolver, options)
    return Environment(
        files=files,
        python=python,
        scheme=scheme,
        wheels=wheels,
        bytecode=all(step.bytecode for step in (creation, packages) if step is not None),
        entries=with_parents(files, entries),
        removed=tuple(removed),
        kept=kept,
    )


def _last(plan: BuildPlan, kind: type[_Kind]) -> _Kind | None:
    return next((step for step in reversed(plan.steps) if isinstance(step, kind)), None)


def _wheels(
    creation: PythonEnvironment | None,
    packages: PythonPackages | None,
    target: Target,
    scheme: Scheme,
    base: Image,
    files: FileSystem,
    resolver: Resolver,
    options: BuildOptions,
) -> tuple[tuple[LockedWheel, ...], list[str], tuple[Pinned, ...]]:
    """Return the wheels to add, the paths of the installed versions that they replace, and what stays installed."""
    refresh = not options.use_cache
    # Nothing is installed in an environment that is made here: pip and the packages do not wait for each other.
    installed = {} if creation is not None else _installed(files, scheme)
    wanted: list[Callable[[], tuple[LockedWheel, ...]]] = []
    if creation is not None:
        indexes = creation.index, creation.extra_indexes
        wanted.append(partial(resolver.pip, creation.pip, indexes, target, refresh=refresh))
    if packages is not None:
        versions = {name: version for name, (version, _) in installed.items()}
        wanted.append(partial(resolver.packages, packages, target, versions, refresh=refresh))
    wheels = {wheel.name: wheel for resolved in results(wanted) for wheel in resolved}
    added = {name: wheel for name, wheel in wheels.items() if installed.get(name, ("", ""))[0] != wheel.version}
    replaced = [info for name, (_, info) in installed.items() if name in added]
    kept = {name: version for name, (version, _) in installed.items() if name not in added}
    return tuple(added[name] for name in sorted(added)), _removals(base, files, scheme, replaced), _pinned(base, kept)


def _pinned(base: Image, versions: Mapping[str, str]) -> tuple[Pinned, ...]:
    """Return what an environment of the base has, with the hashes that the base's own record knows."""
    recorded = {(pin.name, pin.version): pin for pin in pins_of(base.run_time.get("Labels") or {})}
    return tuple(recorded.get(one, Pinned(name=one[0], version=one[1])) for one in sorted(versions.items()))


def _installed(files: FileSystem, scheme: Scheme) -> dict[str, tuple[str, str]]:
    """Return version and ``.dist-info`` folder of what an environment has, by normal name."""
    found = {}
    prefix = f"{scheme.site_packages}/"
    for path, node in files.nodes.items():
        if node.kind == "5" and path.startswith(prefix):
            match = _DIST_INFO.fullmatch(path[len(prefix) :])
            if match:
                found[normalized(match["name"])] = match["version"], path
    return found


def _removals(base: Image, files: FileSystem, scheme: Scheme, infos: Sequence[str]) -> list[str]:
    """Return what has to go: the files that RECORDs name with their bytecode, and the folders that this empties."""
    records = {f"{info}/RECORD": files.nodes[f"{info}/RECORD"] for info in infos if f"{info}/RECORD" in files.nodes}
    if not infos:
        return []
    gone: set[str] = set()
    for text in read_files(base, files, records).values():
        for line in text.decode("utf-8", "replace").splitlines():
            path = files.real(f"{scheme.site_packages}/{line.split(',')[0].strip(chr(34))}")
            gone.add(path)
            folder, _, name = path.rpartition("/")
            if name.endswith(".py"):
                gone.update(_compiled(files, folder, name[:-3]))
    for info in infos:
        gone.update((info, *files.below(info)))
    return sorted(_topmost(files, {path for path in gone if path in files.nodes}, scheme))


def _compiled(files: FileSystem, folder: str, stem: str) -> list[str]:
    cache = f"{folder}/__pycache__"
    return [path for path in files.below(cache) if path[len(cache) + 1 :].startswith(f"{stem}.")]


def _topmost(files: FileSystem, gone: set[str], scheme: Scheme) -> set[str]:
    """Return the paths with folders that lose all they hold in place of what they hold."""
    gone = set(gone)
    left: dict[str, int] = {}
    for path in files.below(scheme.root):
        parent = path.rpartition("/")[0]
        left[parent] = left.get(parent, 0) + 1
    for path in sorted(gone, key=lambda one: one.count("/"), reverse=True):
        _count_down(path, left, gone)
    return {path for path in gone if path.rpartition("/")[0] not in gone}


def _count_down(path: str, left: dict[str, int], gone: set[str]) -> None:
    parent = path.rpartition("/")[0]
    if parent not in left:
        return
    left[parent] -= 1
    if left[parent] == 0 and parent not in gone and not parent.endswith("site-packages"):
        gone.add(parent)
        _count_down(parent, left, gone)


class EnvironmentMaker:
    """Makes the layers of an environment."""

    def __init__(self, layers: LayerStore, wheels: WheelStore, bytecode: Callable[[Compiler], BytecodeStore]) -> None:
        self._layers = layers
        self._wheels = wheels
        self._bytecode = bytecode

    def make(
        self, environment: Environment, account: Account, compiler: Compiler | None, done: Callable[[Layer], None]
    ) -> list[Layer]:
        """Return the layers, lowest first, telling ``done`` of each as soon as it is there.

        ``compiler`` None leaves bytecode out.
        """

        made: dict[int, Layer] = {}

        def finish(number: int, task: Callable[[], Layer]) -> None:
            made[number] = task()
            done(made[number])

        fetching = bool(self._wheels.missing(environment.wheels))
        with Workers(max(os.cpu_count() or 1, _FETCHING_THREADS if fetching else 1)) as workers:
            numbered = list(enumerate(self._tasks(environment, account, compiler)))
            # The longest first: one begun last would be made, and sent, when all others are done.
            for number, (_, task) in sorted(numbered, key=lambda one: one[1][0], reverse=True):
                workers.submit(partial(finish, number, task))
            workers.wait()
        return [made[number] for number in sorted(made)]

    def _tasks(
        self, environment: Environment, account: Account, compiler: Compiler | None
    ) -> list[tuple[int, Callable[[], Layer]]]:
        """Return what makes each layer, lowest first, with how long it takes, in bytes of wheels."""
        made: list[tuple[int, Callable[[], Layer]]] = []
        if environment.removed:
            made.append((0, partial(self._removal, environment)))
        if environment.entries:
            made.append((0, partial(self._roots, environment.entries)))
        scheme = environment.scheme
        if scheme is None or not environment.wheels:
            return made
        owner = Owner(uid=account.uid, gid=account.gid, above=above(environment.files, [scheme.root]))
        sizes = self._sizes(environment.wheels)
        groups = grouped(environment.wheels, sizes)
        weights = [sum(sizes[wheel.sha256] for wheel in wheels) for _, wheels in groups]
        for weight, (title, wheels) in zip(weights, groups, strict=True):
            made.append((weight, partial(self._packages, title, wheels, scheme, owner)))
        if compiler is not None:
            store = self._bytecode(compiler)
            for weight, (title, wheels) in zip(weights, groups, strict=True):
                task = partial(self._compiled, title, wheels, scheme, owner, store)
                made.append((weight * _COMPILING_TAKES, task))
        return made

    def _sizes(self, wheels: Sequence[LockedWheel]) -> dict[str, int]:
        """Return the sizes of wheels by digest; those whose index tells none are fetched for that, several at once."""
        unsized = self._wheels.missing(tuple(wheel for wheel in wheels if not wheel.size_bytes))
        results([partial(self._wheels.path, wheel) for wheel in unsized], _FETCHING_THREADS)
        return {wheel.sha256: wheel.size_bytes or self._wheels.path(wheel).stat().st_size for wheel in wheels}

    def _removal(self, environment: Environment) -> Layer:
        files, paths = environment.files, environment.removed
        entries = []
        for path in paths:
            folder, _, name = path.rpartition("/")
            entries.append(Rooted(TarEntry(f"{folder}/.wh.{name}")))
        return self._roots(with_parents(files, entries), "remove replaced packages")

    def _roots(self, entries: Sequence[Rooted], title: str = "user and environment") -> Layer:
        def write(writer: LayerWriter) -> None:
            for one in entries:
                writer.add(one.entry, one.data)

        inputs = ["roots", [[one.entry, one.data] for one in entries]]
        return self._layers.layer(title, inputs, write)

    def _packages(self, title: str, wheels: Sequence[LockedWheel], scheme: Scheme, owner: Owner) -> Layer:
        def write(writer: LayerWriter) -> None:
            with ExitStack() as stack:
                opened = [stack.enter_context(Archive(self._wheels.path(wheel))) for wheel in wheels]
                write_files(writer, [(archive, placed_files(archive, scheme)) for archive in opened], owner)

        inputs = ["packages", [wheel.sha256 for wheel in wheels], scheme.prefix, scheme.python, _owner_key(owner)]
        try:
            return self._layers.layer(title, inputs, write)
        except IntegrityError:
            if not self._wheels.drop_damaged(wheels):
                raise
            return self._layers.layer(title, inputs, write)

    def _compiled(
        self, title: str, wheels: Sequence[LockedWheel], scheme: Scheme, owner: Owner, store: BytecodeStore
    ) -> Layer:
        site = scheme.site_packages

        def write(writer: LayerWriter) -> None:
            jobs = []
            for wheel in wheels:
                path = self._wheels.path(wheel)
                with Archive(path) as archive:
                    jobs.append((wheel, path, placed_files(archive, scheme)))
            with ExitStack() as stack:
                opened = [stack.enter_context(Archive(path)) for path in store.make(jobs, site)]
                write_files(writer, [(archive, [_pyc(one) for one in archive.members]) for archive in opened], owner)

        inputs = ["bytecode", [store.key(wheel, site) for wheel in wheels], _owner_key(owner)]
        try:
            return self._layers.layer(f"bytecode of {title}", inputs, write)
        except (IntegrityError, BuildFailed):
            # Nothing tells what bytecode should be: it is made anew, and if that was not the reason it fails again.
            self._wheels.drop_damaged(wheels)
            store.drop(wheels, site)
            return self._layers.layer(f"bytecode of {title}", inputs, write)


def _pyc(member: Member) -> Placed:
    return Placed(path=member.name, member=member)


def _owner_key(owner: Owner) -> list[object]:
    return [owner.uid, owner.gid, owner.above]
