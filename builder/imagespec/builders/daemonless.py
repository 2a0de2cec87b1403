"""The daemonless builder: images from a base, wheels and files, without an engine, root, or the target's processor.

Packages are resolved for the target by uv and taken over from wheels as they are compressed; sources become layers of
their own; what the registry lacks is pushed, the manifest last. Nothing is run in the image, so system packages, conda
packages and commands are another builder's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imagespec.builders import BuildOptions
from imagespec.builders.assembly.archive import load
from imagespec.builders.assembly.base import BaseReader, Image
from imagespec.builders.assembly.code import check_sources, code_layers
from imagespec.builders.assembly.image_config import image_config
from imagespec.builders.assembly.layer_file import COMPRESSIONS, GZIP
from imagespec.builders.assembly.layers import Layer, LayerStore
from imagespec.builders.assembly.refusals import check_plan
from imagespec.builders.assembly.steps import go_on, step
from imagespec.builders.assembly.store import DEFAULT_LIMIT_BYTES, Store
from imagespec.builders.assembly.upload import PUSH, Assembled, Uploader
from imagespec.errors import SpecError
from imagespec.events import Emit, discard
from imagespec.fingerprint import environment_reference, fingerprint_of
from imagespec.names import Reference
from imagespec.oci import Descriptor, Platform
from imagespec.plan import BuildPlan, CopyFiles, environment_of
from imagespec.registry import Registry
from imagespec.registry.engine import EngineImages
from imagespec.registry.hosts import Proxies
from imagespec.registry.layout import LayoutRegistry
from imagespec.snapshot import Files
from imagespec.tarball import TarEntry
from imagespec.values import dataclass, replace
from imagespec.wheels.pins import Pinned, lock_labels

if TYPE_CHECKING:
    from imagespec.builders.assembly.environment import Environment
    from imagespec.builders.assembly.environments import Environments

__all__ = ["DaemonlessBuilder"]

# Loaded by those who make environments: an edited source is pushed before it would be imported.
_ENVIRONMENTS: Final = "imagespec.builders.assembly.environments"


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
        limit_bytes: int | None = None,
        store: Store | None = None,
    ) -> None:
        """``registry`` is where images go; ``bases`` where base images come from, the same when None.

        ``locate`` tells where a base is pulled from (a mirror, or itself). ``interpreters`` are patterns of Pythons
        that may compile bytecode, as ``find_compiler`` takes them, beside this one and those that uv finds.
        ``docker_host`` is the engine that images are loaded into where the options say so, "" the usual one. What the
        store keeps beyond ``limit_bytes`` (20 GB when None) is removed once a day, what was not used for longest first.
        ``store`` is one that several builders share; None makes one in ``cache_dir``.
        """
        self._cache_dir = cache_dir
        self._store = store or Store(cache_dir / "daemonless")
        self._registry = registry
        self._read_from = bases or registry
        self._locate = locate
        self._bases = BaseReader(self._store, registry, self._read_from, locate)
        self._docker_host = docker_host
        self._limit_bytes = DEFAULT_LIMIT_BYTES if limit_bytes is None else limit_bytes
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
        check_plan(plan)

    def prepare(self, plan: BuildPlan, options: BuildOptions) -> None:
        """Raise what only looking can tell: the base, its Python, a package without a wheel."""
        self.check(plan)
        with self._work(options) as work, self._environments(work) as environments:
            self._look(environments, plan, options, discard)

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
        with self._work(options) as work, self._environments(work) as environments:
            bases, found = self._look(environments, plan, options, emit)
            return work.build(plan, files, bases, environments, found, target, emit)

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
                store=self._store,
            )
            built = inner.build(plan, files, target, options=replace(options, load=False), emit=emit)
            with step(emit, f"load {target}", f"load {target} into the engine"):
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
        for one in plan.steps:
            if isinstance(one, CopyFiles):
                check_sources(one)
        with self._work(options) as work:
            return work.build_code(plan, files, bases, target, emit)

    def resolved(self, plan: BuildPlan, options: BuildOptions) -> dict[Platform, tuple[Pinned, ...]]:
        """Return the packages that the plan's environment would have; nothing is written but caches."""
        self.check(plan)
        with self._work(options) as work, self._environments(work) as environments:
            _, found = self._look(environments, plan, options, discard)
        return {platform: environment.pins for platform, environment in found.items()}

    def _look(
        self, environments: Environments, plan: BuildPlan, options: BuildOptions, emit: Emit
    ) -> tuple[dict[Platform, Image], dict[Platform, Environment]]:
        """Return base and environment, those of the last look when it was for the same build."""
        looked = self._looked
        if looked is None or looked[0] is not plan or looked[1] != options:
            bases = self._bases.read(plan, options)
            looked = self._looked = plan, options, bases, environments.look(plan, bases, emit)
        return looked[2], looked[3]

    @contextmanager
    def _work(self, options: BuildOptions) -> Iterator[_Work]:
        with self._store:
            yield _Work(
                store=self._store,
                registry=self._registry,
                layers=LayerStore(self._store, _compression(options)),
                options=options,
            )
            self._store.prune_when_due(self._limit_bytes, time.time())

    def _environments(self, work: _Work) -> Environments:
        made: type[Environments] = import_module(_ENVIRONMENTS).Environments
        return made(
            store=self._store,
            layers=work.layers,
            options=work.options,
            ca_bundle=self._ca_bundle,
            proxies=self._proxies,
            interpreters=self._interpreters,
        )


@dataclass(frozen=True, kw_only=True)
class _Work:
    """One build: the stores, and how it is done."""

    store: Store
    registry: Registry
    layers: LayerStore
    options: BuildOptions

    def build(
        self,
        plan: BuildPlan,
        files: Files,
        bases: dict[Platform, Image],
        environments: Environments,
        found: dict[Platform, Environment],
        target: Reference,
        emit: Emit,
    ) -> Descriptor:
        """Build everything; an environment that has sources over it is kept under its own name for the next time."""
        below, kept = environment_of(plan), environment_reference(plan, target)
        with self._uploader(target, emit) as uploader:
            layers = environments.layers(
                plan, found, emit, lambda platform: uploader.send_base(bases[platform]), uploader.send_layer
            )
            environment = self._images(below, bases, layers, found) if below is not None else []
            for platform, base in bases.items():
                laid = [one.entry for one in found[platform].entries]
                layers[platform] = [*layers[platform], *self._code(plan, files, base, laid, emit)]
            images = self._images(plan, bases, layers, found)
            if kept is not None:
                self._push(uploader, kept, environment, emit)
            return self._push(uploader, target, images, emit)

    def build_code(
        self, plan: BuildPlan, files: Files, bases: dict[Platform, Image], target: Reference, emit: Emit
    ) -> Descriptor:
        """Build the code over an environment that is in the registry, whoever made it."""
        # The environment's own PATH leads with the plan's folders already.
        plan = replace(plan, config=replace(plan.config, path=()))
        layers = {platform: self._code(plan, files, base, (), emit) for platform, base in bases.items()}
        with self._uploader(target, emit) as uploader:
            return self._push(uploader, target, self._images(plan, bases, layers, {}), emit)

    def _uploader(self, target: Reference, emit: Emit) -> Uploader:
        return Uploader(self.registry, target.repository, self.store, emit)

    def _code(self, plan: BuildPlan, files: Files, base: Image, laid: Sequence[TarEntry], emit: Emit) -> list[Layer]:
        """Return the layers of sources over a base with what the environment has ``laid`` over it."""
        over: tuple[TarEntry, ...] = ()
        workdir = plan.config.workdir.strip("/")
        if "/" in workdir:
            own = {entry.path: entry for entry in laid}
            below = import_module(_ENVIRONMENTS).folders_above(base, self.store, workdir)
            over = tuple(own.get(entry.path, entry) for entry in below)
        made: list[Layer] = []
        for one in plan.steps:
            if isinstance(one, CopyFiles):
                go_on(self.options)
                with step(emit, "sources", f"copy {len(one.entries)} files to {one.destination}"):
                    made += code_layers(one, files, plan.config.account, over, self.layers)
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
        go_on(self.options)
        with step(emit, f"{PUSH} {target}", f"push {target}"):
            return uploader.write(target, images)


def _compression(options: BuildOptions) -> str:
    chosen = options.compression or GZIP
    if chosen not in COMPRESSIONS:
        raise SpecError(
            f"compression: {chosen!r} is not one of them",
            path="builder_options.compression",
            hint=f"one of: {', '.join(COMPRESSIONS)}",
        )
    return chosen
