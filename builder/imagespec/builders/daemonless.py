"""The daemonless builder: images from a base, wheels and files, without an engine, root, or the target's processor.

Packages are resolved for the target by uv and taken over from wheels as they are compressed; sources become layers of
their own; what the registry lacks is pushed, the manifest last. Nothing is run in the image, so system packages, conda
packages and commands are another builder's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from imagespec.builders import BuildOptions
from imagespec.builders.assembly.archive import load
from imagespec.builders.assembly.base import BaseReader, Image
from imagespec.builders.assembly.bytecode import BytecodeStore, Compiler, find_compiler
from imagespec.builders.assembly.code import check_sources, code_layers
from imagespec.builders.assembly.environment import Environment, EnvironmentMaker, look
from imagespec.builders.assembly.file_system import read_file_system
from imagespec.builders.assembly.image_config import image_config
from imagespec.builders.assembly.layer_file import COMPRESSIONS, GZIP
from imagespec.builders.assembly.layers import Layer, LayerStore
from imagespec.builders.assembly.resolution import Fetching, Resolver, check_packages
from imagespec.builders.assembly.roots import above
from imagespec.builders.assembly.store import DEFAULT_LIMIT_BYTES, Store
from imagespec.builders.assembly.upload import PUSH, Assembled, Uploader
from imagespec.builders.assembly.wheel_store import WheelStore
from imagespec.errors import Cancelled, SpecError, Unsupported
from imagespec.events import Emit, StepFinished, StepStarted, Warned, discard
from imagespec.fingerprint import environment_reference, fingerprint_of
from imagespec.names import Reference
from imagespec.oci import Descriptor, Platform
from imagespec.plan import (
    AptInstall,
    BuildPlan,
    CondaInstall,
    CopyFiles,
    PythonPackages,
    RunCommand,
    environment_of,
)
from imagespec.registry import Registry
from imagespec.registry.engine import EngineImages
from imagespec.registry.hosts import Proxies
from imagespec.registry.layout import LayoutRegistry
from imagespec.snapshot import Files
from imagespec.tarball import TarEntry
from imagespec.values import dataclass, replace
from imagespec.wheels.pins import Pinned, lock_labels

__all__ = ["DaemonlessBuilder"]

_REFUSED: Final = {
    AptInstall: ("apt_packages", "a base_image that has them"),
    CondaInstall: ("conda_packages", "packages from the package index"),
    RunCommand: ("commands", "a base_image that has their result"),
}
_NETRC_NAMES: Final = (".netrc", "netrc", "_netrc")


class DaemonlessBuilder:
    """Builds images of Python packages, sources and configuration, and pushes them through ``registry``."""

    name: Final = "daemonless"

    def __init__(
        self,
        *,
        cache_dir: Path,
        registry: Registry,
        bases: Registry | None = None,
        locate: Callable[[Reference], Reference] = lambda reference: reference,
        ca_bundle: str = "",
        proxies: Proxies | None = None,
        interpreters: Sequence[str] = (),
        docker_host: str = "",
        limit_bytes: int = DEFAULT_LIMIT_BYTES,
    ) -> None:
        """``registry`` is where images go; ``bases`` where base images come from, the same when None.

        ``locate`` tells where a base is pulled from (a mirror, or itself). ``interpreters`` are Pythons of this machine
        that may compile bytecode, beside this one and those that uv finds. ``docker_host`` is the engine that images
        are loaded into where the options say so, "" the usual one. What the store keeps beyond ``limit_bytes`` is
        removed once a day, what was not used for longest first.
        """
        self._cache_dir = cache_dir
        self._store = Store(cache_dir / "daemonless")
        self._registry = registry
        self._read_from = bases or registry
        self._locate = locate
        self._bases = BaseReader(self._store, registry, self._read_from, locate)
        self._docker_host = docker_host
        self._limit_bytes = limit_bytes
        self._ca_bundle = ca_bundle
        self._proxies = proxies or Proxies()
        self._interpreters = tuple(interpreters)
        self._looked: tuple[BuildPlan, BuildOptions, dict[Platform, Image], dict[Platform, Environment]] | None = None

    @property
    def store(self) -> Store:
        """What is kept on this machine, to be listed and pruned."""
        return self._store

    def check(self, plan: BuildPlan) -> None:
        """Raise Unsupported, naming the field, for steps that have to run in the image."""
        for step in plan.steps:
            if type(step) in _REFUSED:
                field, instead = _REFUSED[type(step)]
                raise Unsupported(
                    f"{field}: the daemonless builder runs nothing in the image",
                    builder=self.name,
                    field=field,
                    hint=f"--builder buildkit, or {instead}",
                )
            if isinstance(step, PythonPackages):
                check_packages(step)
            elif isinstance(step, CopyFiles):
                check_sources(step)

    def prepare(self, plan: BuildPlan, options: BuildOptions) -> None:
        """Raise what only looking can tell: the base, its Python, a package without a wheel."""
        self.check(plan)
        with self._work(options) as work:
            self._look(work, plan, discard)

    def build(
        self, plan: BuildPlan, files: Files, target: Reference, *, options: BuildOptions, emit: Emit
    ) -> Descriptor:
        """Build and push the image, and its environment where it is not there; return what stands under ``target``."""
        self.check(plan)
        if options.load:
            return self._load(plan, files, target, options, emit)
        if options.use_cache:
            done = self.build_on_environment(plan, files, target, options=options, emit=emit)
            if done is not None:
                return done
        with self._work(options) as work:
            bases, environments = self._look(work, plan, emit)
            return work.build(plan, files, bases, environments, target, emit)

    def _load(self, plan: BuildPlan, files: Files, target: Reference, options: BuildOptions, emit: Emit) -> Descriptor:
        """Build into a layout that lives as long as it takes, and load that into the engine."""
        with self._store.folder() as folder:
            layout = LayoutRegistry(folder)
            inner = DaemonlessBuilder(
                cache_dir=self._cache_dir,
                registry=layout,
                bases=self._read_from,
                locate=self._locate,
                ca_bundle=self._ca_bundle,
                proxies=self._proxies,
                interpreters=self._interpreters,
            )
            built = inner.build(plan, files, target, options=replace(options, load=False), emit=emit)
            with _step(emit, f"load {target}", f"load {target} into the engine"):
                load(layout, target, self._store, self._docker_host)
        return EngineImages(docker_host=self._docker_host or None).resolve(target) or built

    def build_on_environment(
        self, plan: BuildPlan, files: Files, target: Reference, *, options: BuildOptions, emit: Emit
    ) -> Descriptor | None:
        """Push the plan's sources over its environment, whoever built that; return None when it is not there.

        Raise Unsupported for sources that a layer cannot hold.
        """
        kept = environment_reference(plan, target)
        bases = self._bases.find(self._registry, kept, plan.platforms) if kept is not None else {}
        if not bases:
            return None
        for step in plan.steps:
            if isinstance(step, CopyFiles):
                check_sources(step)
        with self._work(options) as work:
            return work.build_code(plan, files, bases, target, emit)

    def resolved(self, plan: BuildPlan, options: BuildOptions) -> dict[Platform, tuple[Pinned, ...]]:
        """Return the packages that the plan's environment would have; nothing is written but caches."""
        self.check(plan)
        with self._work(options) as work:
            _, environments = self._look(work, plan, discard)
        return {platform: environment.pins for platform, environment in environments.items()}

    def _look(
        self, work: _Work, plan: BuildPlan, emit: Emit
    ) -> tuple[dict[Platform, Image], dict[Platform, Environment]]:
        """Return base and environment, those of the last look when it was for the same build."""
        looked = self._looked
        if looked is None or looked[0] is not plan or looked[1] != work.options:
            bases = self._bases.read(plan, work.options)
            looked = self._looked = plan, work.options, bases, work.look(plan, bases, emit)
        return looked[2], looked[3]

    @contextmanager
    def _work(self, options: BuildOptions) -> Iterator[_Work]:
        netrc = next((one.source for one in options.secrets if Path(one.target).name in _NETRC_NAMES), "")
        fetching = Fetching(ca_bundle=options.ca_bundle or self._ca_bundle, netrc=netrc)
        with self._store, closing(WheelStore(self._store, fetching, self._proxies)) as wheels:
            yield _Work(
                store=self._store,
                registry=self._registry,
                bases=self._bases,
                resolver=Resolver(self._store, fetching),
                wheels=wheels,
                layers=LayerStore(self._store, _compression(options)),
                interpreters=self._interpreters,
                options=options,
            )
            self._store.prune_when_due(self._limit_bytes, time.time())


@dataclass(frozen=True, kw_only=True)
class _Work:
    """One build: the stores, and how it is done."""

    store: Store
    registry: Registry
    bases: BaseReader
    resolver: Resolver
    wheels: WheelStore
    layers: LayerStore
    interpreters: tuple[str, ...]
    options: BuildOptions

    def look(self, plan: BuildPlan, bases: dict[Platform, Image], emit: Emit) -> dict[Platform, Environment]:
        """Return what the environment will be, on every platform."""
        found = {}
        for platform, base in bases.items():
            self._go_on()
            with _step(emit, f"base {platform}", f"look into the base for {platform}"):
                files = read_file_system(base, self.store, _unseen)
            with _step(emit, f"resolve {platform}", f"resolve packages for {platform}"):
                found[platform] = look(plan, platform, base, files, self.resolver, self.options)
        return found

    def build(
        self,
        plan: BuildPlan,
        files: Files,
        bases: dict[Platform, Image],
        environments: dict[Platform, Environment],
        target: Reference,
        emit: Emit,
    ) -> Descriptor:
        """Build everything; an environment that has sources over it is kept under its own name for the next time."""
        below, kept = environment_of(plan), environment_reference(plan, target)
        with self._uploader(target, emit) as uploader:
            layers = self._environments(plan, bases, environments, uploader, emit)
            environment = self._images(below, bases, layers, environments) if below is not None else []
            workdir = plan.config.workdir.strip("/")
            for platform in plan.platforms:
                over = above(environments[platform].files, [workdir])
                layers[platform] = [*layers[platform], *self._code(plan, files, over, emit)]
            images = self._images(plan, bases, layers, environments)
            if kept is not None:
                self._push(uploader, kept, environment, emit)
            return self._push(uploader, target, images, emit)

    def build_code(
        self, plan: BuildPlan, files: Files, bases: dict[Platform, Image], target: Reference, emit: Emit
    ) -> Descriptor:
        """Build the code over an environment that is in the registry, whoever made it."""
        # The environment's own PATH leads with the plan's folders already.
        plan = replace(plan, config=replace(plan.config, path=()))
        workdir = plan.config.workdir.strip("/")
        layers = {}
        for platform, base in bases.items():
            over: tuple[TarEntry, ...] = ()
            if "/" in workdir:
                over = above(read_file_system(base, self.store, _unseen), [workdir])
            layers[platform] = self._code(plan, files, over, emit)
        with self._uploader(target, emit) as uploader:
            return self._push(uploader, target, self._images(plan, bases, layers, {}), emit)

    def _uploader(self, target: Reference, emit: Emit) -> Uploader:
        return Uploader(self.registry, target.repository, self.store, emit)

    def _environments(
        self,
        plan: BuildPlan,
        bases: dict[Platform, Image],
        environments: dict[Platform, Environment],
        uploader: Uploader,
        emit: Emit,
    ) -> dict[Platform, list[Layer]]:
        maker = EnvironmentMaker(self.layers, self.wheels, lambda compiler: BytecodeStore(self.store, compiler))
        made = {}
        for platform, environment in environments.items():
            self._go_on()
            uploader.send_base(bases[platform])
            with _step(emit, f"packages {platform}", f"{len(environment.wheels)} packages for {platform}"):
                compiler = self._compiler(environment, emit)
                made[platform] = maker.make(environment, plan.config.account, compiler, uploader.send_layer)
        return made

    def _compiler(self, environment: Environment, emit: Emit) -> Compiler | None:
        if not environment.bytecode or environment.python is None or not environment.wheels:
            return None
        minor = environment.python.minor
        compiler = find_compiler(minor, self.interpreters, self.store)
        if compiler is None:
            emit(
                Warned(
                    message=f"bytecode: there is no Python {minor} on this machine, so the image starts without it",
                    hint=f"uv python install {minor}",
                )
            )
        return compiler

    def _code(self, plan: BuildPlan, files: Files, over: tuple[TarEntry, ...], emit: Emit) -> list[Layer]:
        made: list[Layer] = []
        for step in plan.steps:
            if isinstance(step, CopyFiles):
                self._go_on()
                with _step(emit, "sources", f"copy {len(step.entries)} files to {step.destination}"):
                    made += code_layers(step, files, plan.config.account, over, self.layers)
        return made

    def _images(
        self,
        plan: BuildPlan,
        bases: dict[Platform, Image],
        layers: dict[Platform, list[Layer]],
        environments: dict[Platform, Environment],
    ) -> list[Assembled]:
        images = []
        fingerprint = fingerprint_of(environment_of(plan) or plan).text if environments else ""
        for platform in plan.platforms:
            # The record of a build belongs to the image that was asked for, not to its environment.
            labels = dict(self.options.labels) if plan.config.image_id else {}
            if platform in environments:
                labels |= lock_labels(environments[platform].pins, fingerprint)
            config = image_config(bases[platform], platform, plan.config, layers[platform], labels)
            made = Assembled(platform=platform, base=bases[platform], layers=tuple(layers[platform]), config=config)
            images.append(made)
        return images

    def _push(self, uploader: Uploader, target: Reference, images: list[Assembled], emit: Emit) -> Descriptor:
        self._go_on()
        with _step(emit, f"{PUSH} {target}", f"push {target}"):
            return uploader.write(target, images)

    def _go_on(self) -> None:
        if self.options.cancellation.cancelled:
            raise Cancelled("build: stopped before anything was pushed under its name")


def _unseen(layer: Descriptor) -> None:
    """Take a layer that is read and do nothing with it."""


@contextmanager
def _step(emit: Emit, step: str, title: str) -> Iterator[None]:
    emit(StepStarted(step=step, title=title))
    started, error = time.monotonic(), "stopped"
    try:
        yield
        error = ""
    finally:
        emit(StepFinished(step=step, title=title, duration_s=time.monotonic() - started, error=error))


def _compression(options: BuildOptions) -> str:
    chosen = options.compression or GZIP
    if chosen not in COMPRESSIONS:
        raise SpecError(
            f"compression: {chosen!r} is not one of them",
            path="builder_options.compression",
            hint=f"one of: {', '.join(COMPRESSIONS)}",
        )
    return chosen
