"""The only assembler: settings and a declaration in, the objects that carry it out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from imagespec import builder_options, fields
from imagespec.builders import Builder, BuildOptions, Cancellation, SecretFile
from imagespec.builders.assembly.store import Store
from imagespec.builders.auto import AutoBuilder
from imagespec.builders.daemonless import DaemonlessBuilder
from imagespec.builders.engine_check import EngineCheck
from imagespec.builders.noop import NoopBuilder
from imagespec.builders.recorded import RecordedBuilder
from imagespec.clients import Clients
from imagespec.ensure import BuildRequest
from imagespec.errors import ImageSpecError, InputMissing, RegistryError, SpecError
from imagespec.events import Emit, Warned, discard
from imagespec.fingerprint import fingerprint_of
from imagespec.flyte_tags.stand_in import StandIn
from imagespec.identity import Identity, Known, Target, identify, workspace_of
from imagespec.ledger import Entry, Ledger
from imagespec.names import Reference
from imagespec.oci import Descriptor, Platform, canonical_json
from imagespec.plan import BaseLayout, BuildPlan, environment_of
from imagespec.record import difference, in_a_few_words, record_of, shortened
from imagespec.registry import Registry
from imagespec.registry.engine import EngineImages
from imagespec.registry.facts import facts_of
from imagespec.registry.layout import LayoutRegistry
from imagespec.registry.records import KeptRecord, push_record
from imagespec.settings import Settings
from imagespec.spec import Declaration
from imagespec.target_lock import TargetLocks
from imagespec.values import replace
from imagespec.wheels.pins import LABEL_ENVIRONMENT, Pinned, pins_of

if TYPE_CHECKING:
    from imagespec.builders.buildkit import BuildKitBuilder

__all__ = ["LABEL_FINGERPRINT", "LABEL_RECORD", "Composition", "dockerfile_template"]

ENTRY_POINTS: Final = "imagespec.builders"
LABEL_FINGERPRINT: Final = "io.imagespec.fingerprint"
LABEL_RECORD: Final = "io.imagespec.record"
_LABEL_LIMIT_BYTES: Final = 4096
_BUILDKIT: Final = "buildkit"
# Names that a spec written for Flyte may carry for "the usual builder".
_AUTOMATIC: Final = ("auto", "default")

Requests: TypeAlias = dict[tuple[int, bool], tuple[Identity, BuildRequest]]
"""What was made in this run, by the identity's object and whether it is forced."""


class Composition(Clients):
    """Everything one run shares: settings, the workspace, connections, builders."""

    def __init__(
        self,
        settings: Settings,
        *,
        cwd: str | None = None,
        emit: Emit = discard,
        use_stat_cache: bool = True,
        cancellation: Cancellation | None = None,
    ) -> None:
        """``emit`` hears what the workspace warns of; ``cancellation`` stops builds that this run starts."""
        super().__init__(settings, cwd or os.getcwd())
        self.cancellation = cancellation or Cancellation()
        self.workspace = workspace_of(settings, self.cwd, emit, use_stat_cache=use_stat_cache)

    def identify(self, target: Target) -> Identity:
        """Return plan, fingerprint and name, from the declaration and the disk alone."""
        return identify(target, self.workspace)

    def request(self, target: Target, *, builder: str = "", is_forced: bool = False) -> BuildRequest:
        """Return the request to have the target's image; nothing is looked up yet."""
        identity = self.identify(target)
        request = self._request(target.declaration, identity, builder, is_forced, {})
        return replace(request, stand_in=self.stand_in(target, identity))

    def stand_in(self, target: Target, identity: Identity) -> StandIn | None:
        """Return how to find the target's image under flytekit's own tag, None unless the settings ask for it."""
        if not self.settings.reuses_flyte_tags:
            return None
        # Imported here: few ask for it, and everybody would pay for the import.
        names = import_module("imagespec.flyte_tags.names")
        images = self.images_of(target.declaration, identity)
        stand_in: StandIn = names.stand_in_of(target, identity, images, self.workspace)
        return stand_in

    def requests(
        self, targets: Iterable[Target], *, builder: str = "", is_forced: bool = False
    ) -> Iterator[tuple[Target, BuildRequest | ImageSpecError]]:
        """Yield each target with its request, or with what is wrong with it; what several are based on is made once."""
        known: Known = {}
        made: Requests = {}
        for target in targets:
            try:
                identity = identify(target, self.workspace, known)
                request = self._request(target.declaration, identity, builder, is_forced, made)
                yield target, replace(request, stand_in=self.stand_in(target, identity))
            except ImageSpecError as error:
                if not str(error).startswith(target.origin):
                    error.args = (f"{target.origin}: {error}",)  # among many, an error says whose it is
                yield target, error

    def _request(
        self, declaration: Declaration, identity: Identity, builder: str, is_forced: bool, made: Requests
    ) -> BuildRequest:
        key = (id(identity), is_forced)
        if key not in made:
            made[key] = (identity, self._new_request(declaration, identity, builder, is_forced, made))
        return made[key][1]

    def _new_request(
        self, declaration: Declaration, identity: Identity, builder: str, is_forced: bool, made: Requests
    ) -> BuildRequest:
        base = declaration.base_image
        parent = None
        if isinstance(base, Declaration) and identity.parent is not None:
            parent = self._request(base, identity.parent, builder, False, made)
        forced = is_forced or declaration.is_forced
        registry = None if identity.is_local else self.registry_of(declaration)
        return BuildRequest(
            plan=identity.plan,
            fingerprint=identity.fingerprint,
            reference=identity.reference,
            images=self.images_of(declaration, identity),
            builder=RecordedBuilder(self._builder(declaration, identity, builder), partial(self._made, registry)),
            options=self._options(declaration, identity, is_forced=forced),
            parent=parent,
            is_forced=forced,
            is_local=identity.is_local,
            why=lambda: self._why(identity),
            usage=self._usage(identity),
            registry=registry,
        )

    def _is_loading(self, identity: Identity) -> bool:
        return identity.is_local and self.local_images is self.engine

    def _usage(self, identity: Identity) -> str:
        if not identity.is_local or not isinstance(self.local_images, LayoutRegistry):
            return ""
        place = f"oci:{self.settings.store_dir}:{identity.reference.tag}"
        return f"skopeo copy {place} docker-daemon:{identity.name}, or podman pull {place}"

    def _why(self, identity: Identity) -> str:
        known = self.ledger.entries(identity.reference.repository)
        if not known:
            return "the first of this name on this machine"
        changes = difference(known[0].record, record_of(identity.plan))
        return in_a_few_words(changes) if changes else f"unchanged since {known[0].tag}, which is gone"

    def _made(
        self, registry: Registry | None, plan: BuildPlan, target: Reference, made: Descriptor, emit: Emit
    ) -> None:
        """Remember how an image was made, here and, where the settings say so, beside the image."""
        now_s, record = time.time(), record_of(plan)
        self.ledger.remember(target.repository, Entry(tag=target.tag or "", record=record, time_s=now_s))
        if registry is None or not self.settings.pushes_records:
            return
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_s))
        try:
            push_record(registry, target.repository, made, KeptRecord(record=record, created=created))
        except RegistryError as error:
            emit(Warned(message=f"the record of {target} was not pushed: {error}", hint=error.hint))

    @cached_property
    def locks(self) -> TargetLocks:
        """What keeps two processes of this machine from building the same image at once."""
        return TargetLocks(self.settings.cache_dir / "locks")

    @cached_property
    def _engine_check(self) -> EngineCheck:
        return EngineCheck()

    @cached_property
    def store(self) -> Store:
        """What the daemonless builder keeps on this machine."""
        return Store(self.settings.cache_dir / "daemonless")

    @cached_property
    def ledger(self) -> Ledger:
        """What was built on this machine, and from what."""
        return Ledger(self.settings.cache_dir / "ledger")

    def _builder(self, declaration: Declaration, identity: Identity, name: str) -> Builder:
        local = self.local_images if identity.is_local else None
        registry = local if isinstance(local, LayoutRegistry) else self.registry_of(declaration)
        chosen = name or declaration.builder or self.settings.builder
        return self.builder(chosen, registry, is_loading=self._is_loading(identity))

    def builder_name(self, request: BuildRequest) -> str:
        """Return the name of the builder that the plan itself leads to, whatever looking at base and packages says."""
        if request.builder.name != AutoBuilder.name:
            return request.builder.name
        if request.options.load:
            return _BUILDKIT
        try:
            self.builder(DaemonlessBuilder.name, self.registry, is_loading=False).check(request.plan)
        except ImageSpecError:
            return _BUILDKIT
        return DaemonlessBuilder.name

    def builder(self, name: str, registry: Registry, *, is_loading: bool) -> Builder:
        """Return the builder of this name, "" meaning the usual one; raise SpecError for an unknown one.

        ``registry`` is where its images go, unless they are loaded into the local engine.
        """
        makers: dict[str, Callable[[], Builder]] = {
            _BUILDKIT: lambda: self._buildkit(registry),
            "daemonless": lambda: self._daemonless(registry),
            "noop": NoopBuilder,
        }
        if not name or name in _AUTOMATIC:
            full = partial(self._buildkit, registry)
            return AutoBuilder(daemonless=self._daemonless(registry), full=full, is_loading=is_loading)
        if name in makers:
            return makers[name]()
        others = _entry_points()
        for entry in others:
            if entry.name == name:
                made: Builder = entry.load()()
                return made
        known = [*makers, *_AUTOMATIC, *(entry.name for entry in others)]
        raise SpecError(f"builder: there is no builder {name!r}", path="builder", hint=fields.choice_hint(name, known))

    def resolved(self, target: Target) -> dict[Platform, tuple[Pinned, ...]]:
        """Return what the target's packages resolve to now, without building; raise Unsupported where only a build can.

        Raise InputMissing when the ImageSpec that it is based on is not built yet.
        """
        declaration, identity = target.declaration, self.identify(target)
        options = self._options(declaration, identity, is_forced=False)
        if identity.parent is not None:
            parent = identity.parent.reference
            found = self.images_of(declaration, identity.parent).resolve(parent)
            if found is None:
                raise InputMissing(
                    f"resolve packages: {identity.parent.name}, which this image is based on, is not there",
                    path="base_image",
                    hint="imagespec build makes it",
                )
            options = replace(options, base=parent.with_digest(found.digest))
        local = self.local_images if identity.is_local else None
        registry = local if isinstance(local, LayoutRegistry) else self.registry_of(declaration)
        return self._daemonless(registry).resolved(identity.plan, options)

    def recorded(self, target: Target) -> dict[Platform, tuple[Pinned, ...]]:
        """Return what the packages of the image that exists resolved to when it was made, by its own record.

        {} when it is not there, or has no record of its own: images of other builders have none.
        """
        identity = self.identify(target)
        environment = fingerprint_of(environment_of(identity.plan) or identity.plan).text
        found = {}
        for platform in identity.plan.platforms:
            labels = self._labels_of(target.declaration, identity, platform)
            if labels.get(LABEL_ENVIRONMENT) != environment:
                return {}
            found[platform] = pins_of(labels)
        return found

    def _labels_of(self, declaration: Declaration, identity: Identity, platform: Platform) -> Mapping[str, str]:
        images = self.images_of(declaration, identity)
        if isinstance(images, EngineImages):
            return images.labels(identity.reference)
        registry = images if isinstance(images, LayoutRegistry) else self.registry_of(declaration)
        facts = facts_of(registry, identity.reference, platform)
        return facts.labels if facts is not None else {}

    def _buildkit(self, registry: Registry) -> BuildKitBuilder:
        hosts = self.settings.hosts
        # Imported here: most runs build nothing, or without an engine.
        made: type[BuildKitBuilder] = import_module("imagespec.builders.buildkit").BuildKitBuilder
        return made(
            template=dockerfile_template(),
            store=self.settings.cache_dir,
            registry=registry,
            engine=self.engine,
            docker_config_dir=self.settings.docker_config_dir.absolute(),
            is_insecure=lambda host: hosts.origin(host).scheme == "http",
            locate=self.locate,
            engine_check=self._engine_check,
        )

    def _daemonless(self, registry: Registry) -> DaemonlessBuilder:
        return DaemonlessBuilder(
            cache_dir=self.settings.cache_dir,
            registry=registry,
            bases=self.registry,
            locate=self.locate,
            ca_bundle=str(self.settings.ca_bundle or ""),
            proxies=self.settings.proxies,
            interpreters=self.settings.interpreters,
            docker_host=self.settings.docker_host,
            limit_bytes=self.settings.cache_limit_bytes,
            store=self.store,
        )

    def _options(self, declaration: Declaration, identity: Identity, *, is_forced: bool) -> BuildOptions:
        _, how = builder_options.parse(declaration.builder_options)
        folder = declaration.folder or self.cwd
        proxies = self.settings.proxies
        layout = ""
        if isinstance(identity.plan.base, BaseLayout) and isinstance(declaration.base_image, str):
            layout = _layout_folder(declaration.base_image, folder) + f"@{identity.plan.base.digest}"
        return BuildOptions(
            base_layout=layout,
            labels=_labels(identity),
            load=self._is_loading(identity),
            # Forced means made anew: its environment too, and nothing from the layer cache.
            use_cache=how.use_cache and not is_forced,
            cache_from=how.cache_from,
            cache_to=how.cache_to,
            network=how.network,
            compression=how.compression,
            ca_bundle=str(self.settings.ca_bundle or ""),
            proxies=tuple(
                (name, value)
                for name, value in (
                    ("http_proxy", proxies.http),
                    ("https_proxy", proxies.https),
                    ("no_proxy", ",".join(proxies.no_proxy)),
                )
                if value
            ),
            python_mirror=self.settings.python_mirror,
            ssh=tuple(_agent(f"builder_options.ssh[{i}]", one, folder, self.settings) for i, one in enumerate(how.ssh)),
            secrets=(
                *_secrets("pip_secret_mounts", declaration.pip_secret_mounts or (), folder),
                *_secrets("builder_options.secrets", how.secrets, folder),
            ),
            docker_config=str(Path(folder, declaration.registry_config)) if declaration.registry_config else "",
            cancellation=self.cancellation,
        )


def _entry_points() -> tuple[Any, ...]:
    from importlib.metadata import entry_points

    return tuple(entry_points(group=ENTRY_POINTS))


def dockerfile_template() -> str:
    """Return the text of the Dockerfile template."""
    return (Path(__file__).parent / "templates" / "Dockerfile.j2").read_text(encoding="utf-8")


def _layout_folder(base_image: str, folder: str) -> str:
    path = base_image.removeprefix("oci-layout:")
    head, _, tag = path.rpartition(":")
    # A tag has no "/": what follows a colon inside a folder's name is part of the path.
    return str(Path(folder, head if head and "/" not in tag else path))


def _secrets(field: str, mounts: Sequence[tuple[str, str]], folder: str) -> tuple[SecretFile, ...]:
    """Return the files to mount; raise SpecError naming the one that is not there."""
    for index, (source, _) in enumerate(mounts):
        if not Path(folder, source).is_file():
            path = f"{field}[{index}]"
            raise SpecError(f"{path}: there is no file {source!r}", path=path, hint="create it, or mend the path")
    return tuple(SecretFile(source=str(Path(folder, source).resolve()), target=target) for source, target in mounts)


def _agent(path: str, agent: str, folder: str, settings: Settings) -> str:
    """Return an agent as buildx takes it, its key or socket as a whole path; raise SpecError when it is not there."""
    name, _, source = agent.partition("=")
    if source and not Path(folder, source).exists():
        raise SpecError(f"{path}: there is no key or socket {source!r}", path=path, hint="create it, or mend the path")
    if not source and not _answers(settings.ssh_agent):
        at = f"no ssh agent answers at SSH_AUTH_SOCK={settings.ssh_agent}"
        hint = f'start one (eval "$(ssh-agent)"; ssh-add), or name a key: "{name}=PATH"'
        told = at if settings.ssh_agent else "there is no ssh agent: SSH_AUTH_SOCK is not set"
        raise SpecError(f"{path}: {told}", path=path, hint=hint)
    return f"{name}={Path(folder, source).resolve()}" if source else name


def _answers(address: str) -> bool:
    import socket

    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(address)
        except OSError:
            return False
    return bool(address)


def _labels(identity: Identity) -> tuple[tuple[str, str], ...]:
    record = shortened(record_of(identity.plan), _LABEL_LIMIT_BYTES)
    return ((LABEL_FINGERPRINT, identity.fingerprint.text), (LABEL_RECORD, canonical_json(record).decode()))
