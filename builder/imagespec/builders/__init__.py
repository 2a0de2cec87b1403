"""The one protocol for everything that makes images, and the options that never change an image's identity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from imagespec.events import Emit
from imagespec.names import Reference
from imagespec.oci import Descriptor
from imagespec.plan import BuildPlan
from imagespec.snapshot import Files
from imagespec.values import dataclass, field

__all__ = ["BuildOptions", "Builder", "Cancellation", "SecretFile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretFile:
    """A file that steps may read while they run and that no layer keeps: where it is here, and where steps see it."""

    source: str
    target: str


class Cancellation:
    """Carries "stop now" into a running build; safe to call from a signal handler or another thread."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[], None]] = []
        self._cancelled = False

    @property
    def cancelled(self) -> bool:
        """Whether stop was asked for."""
        return self._cancelled

    def cancel(self) -> None:
        """Ask to stop: every registered callback is called once."""
        self._cancelled = True
        self._call_all()

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Register what stops the work under way; called at once if stop was already asked for."""
        # In this order: a cancellation between the two finds the callback, or is seen here.
        self._callbacks.append(callback)
        if self._cancelled:
            self._call_all()

    def _call_all(self) -> None:
        while True:
            try:
                callback = self._callbacks.pop()
            except IndexError:
                return
            callback()


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """How to build, never what: nothing here is in the fingerprint.

    ``base`` is the reference that the plan's base is bound to (mirror, parent's digest), ``base_layout`` the folder
    and digest (``PATH@sha256:…``) of an OCI layout that it is bound to; ``labels`` carry the record of the build;
    ``ca_bundle`` and ``proxies`` are for steps that fetch, ``python_mirror`` is where uv fetches interpreters for
    bases that have none; with ``load`` the image goes to the local engine instead of a registry; ``docker_config``
    is a registry configuration file to use instead of the user's.
    """

    base: Reference | None = None
    base_layout: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    load: bool = False
    use_cache: bool = True
    cache_from: tuple[str, ...] = ()
    cache_to: str = ""
    network: str = ""
    compression: str = ""
    ca_bundle: str = ""
    proxies: tuple[tuple[str, str], ...] = ()
    python_mirror: str = ""
    secrets: tuple[SecretFile, ...] = ()
    ssh: tuple[str, ...] = ()
    builder_instance: str = ""
    docker_config: str = ""
    cancellation: Cancellation = field(default_factory=Cancellation, compare=False)


class Builder(Protocol):
    """Makes the image that a plan describes. A builder sees the plan and nothing else that decides bytes."""

    @property
    def name(self) -> str:
        """The name that ``ImageSpec.builder`` selects it by."""
        ...

    def check(self, plan: BuildPlan) -> None:
        """Raise Unsupported, naming the field, when the plan alone says that this builder cannot carry it out."""
        ...

    def prepare(self, plan: BuildPlan, options: BuildOptions) -> None:
        """Raise what only looking can tell (no engine, unfit base), before anything is written."""
        ...

    def build(
        self, plan: BuildPlan, files: Files, target: Reference, *, options: BuildOptions, emit: Emit
    ) -> Descriptor:
        """Build and push (or load) the image under ``target``; return the descriptor of what stands there.

        Raise EngineError, RegistryError, InputError or Cancelled; then ``target`` does not exist anew.
        """
        ...
