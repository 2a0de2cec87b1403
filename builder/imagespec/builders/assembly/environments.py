"""The environments of a plan on all its platforms: looked at, resolved, and made into layers.

Loaded where there is one to make: sources over an environment that is in the registry need nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from imagespec.builders import BuildOptions
from imagespec.builders.assembly.base import Image
from imagespec.builders.assembly.bytecode import BytecodeStore, Compiler, find_compiler
from imagespec.builders.assembly.environment import Environment, EnvironmentMaker, look
from imagespec.builders.assembly.file_system import FileSystems
from imagespec.builders.assembly.layers import Layer, LayerStore
from imagespec.builders.assembly.resolution import Fetching, Resolver
from imagespec.builders.assembly.roots import above
from imagespec.builders.assembly.steps import go_on, step
from imagespec.builders.assembly.store import Store
from imagespec.builders.assembly.wheel_store import WheelStore
from imagespec.events import Emit, Warned
from imagespec.oci import Descriptor, Platform
from imagespec.plan import BuildPlan
from imagespec.registry.hosts import Proxies
from imagespec.tarball import TarEntry

__all__ = ["Environments", "folders_above"]

_NETRC_NAMES: Final = (".netrc", "netrc", "_netrc")


class Environments:
    """Makes one build's environments; a context manager, which closes its connections."""

    def __init__(
        self,
        *,
        store: Store,
        layers: LayerStore,
        options: BuildOptions,
        ca_bundle: str,
        proxies: Proxies,
        interpreters: Sequence[str],
    ) -> None:
        netrc = next((one.source for one in options.secrets if Path(one.target).name in _NETRC_NAMES), "")
        fetching = Fetching(ca_bundle=options.ca_bundle or ca_bundle, netrc=netrc)
        self._store = store
        self._layers = layers
        self._options = options
        self._interpreters = interpreters
        self._resolver = Resolver(store, fetching)
        self._wheels = WheelStore(store, fetching, proxies)

    def __enter__(self) -> Environments:
        return self

    def __exit__(self, *_: object) -> None:
        self._wheels.close()

    def look(self, plan: BuildPlan, bases: dict[Platform, Image], emit: Emit) -> dict[Platform, Environment]:
        """Return what the environment will be, on every platform."""
        found = {}
        for platform, base in bases.items():
            go_on(self._options)
            with step(emit, f"base {platform}", f"look into the base for {platform}"):
                files = self._store.once(FileSystems).read(base, _unseen)
            with step(emit, f"resolve {platform}", f"resolve packages for {platform}"):
                found[platform] = look(plan, platform, base, files, self._resolver, self._options)
        return found

    def layers(
        self,
        plan: BuildPlan,
        environments: dict[Platform, Environment],
        emit: Emit,
        begun: Callable[[Platform], None],
        done: Callable[[Layer], None],
    ) -> dict[Platform, list[Layer]]:
        """Return the layers of every platform; ``begun`` is told of each platform, ``done`` of each layer."""
        maker = EnvironmentMaker(self._layers, self._wheels, lambda compiler: BytecodeStore(self._store, compiler))
        made = {}
        for platform, environment in environments.items():
            go_on(self._options)
            begun(platform)
            with step(emit, f"packages {platform}", f"{len(environment.wheels)} packages for {platform}"):
                compiler = self._compiler(environment, emit)
                made[platform] = maker.make(environment, plan.config.account, compiler, done)
        return made

    def _compiler(self, environment: Environment, emit: Emit) -> Compiler | None:
        if not environment.bytecode or environment.python is None or not environment.wheels:
            return None
        minor = environment.python.minor
        compiler = find_compiler(minor, self._interpreters, self._store)
        if compiler is None:
            emit(
                Warned(
                    message=f"bytecode: there is no Python {minor} on this machine, so the image starts without it",
                    hint=f"uv python install {minor}",
                )
            )
        return compiler


def folders_above(base: Image, store: Store, path: str) -> tuple[TarEntry, ...]:
    """Return the folders above a path of the image as the base has them (``roots.above``)."""
    return above(store.once(FileSystems).read(base, _unseen), [path])


def _unseen(layer: Descriptor) -> None:
    """Take a layer that is read and do nothing with it."""
