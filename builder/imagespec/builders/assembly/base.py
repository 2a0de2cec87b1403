"""The base image: found where the plan and the options say, its manifest and config kept by digest."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from imagespec.builders import BuildOptions
from imagespec.builders.assembly.deliveries import Blob, deliveries_of
from imagespec.builders.assembly.store import Store
from imagespec.errors import InputMissing, IntegrityError, SpecError, Unsupported, WrongPlatform
from imagespec.names import Digest, Reference, Repository
from imagespec.oci import Descriptor, Manifest, Platform
from imagespec.plan import BaseImage, BuildPlan
from imagespec.registry import Registry
from imagespec.registry.layout import LayoutRegistry
from imagespec.values import dataclass

__all__ = ["BaseReader", "Image", "keep_base", "search_path"]

_DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What BuildKit gives an image whose base says nothing."""
_LAYOUT_REPOSITORY: Final = Repository("localhost", "base")


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One platform's image and where its blobs can be read: ``config`` is its parsed JSON (config.md)."""

    registry: Registry
    repository: Repository
    manifest: Manifest
    config: Mapping[str, Any]

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        """The layers, lowest first."""
        return self.manifest.layers

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """The digests of the layers' uncompressed forms."""
        return tuple(self.config.get("rootfs", {}).get("diff_ids", ()))

    @property
    def run_time(self) -> Mapping[str, Any]:
        """The ``config`` object of the config: env, command, user."""
        value = self.config.get("config")
        return value if isinstance(value, Mapping) else {}


class BaseReader:
    """Reads images that something is built on."""

    def __init__(
        self, store: Store, registry: Registry, bases: Registry, locate: Callable[[Reference], Reference]
    ) -> None:
        self._store = store
        self._registry = registry
        self._bases = bases
        self._locate = locate

    def read(self, plan: BuildPlan, options: BuildOptions) -> dict[Platform, Image]:
        """Return the base for every platform of the plan; raise InputMissing, WrongPlatform or RegistryError."""
        registry, reference = self._bound(plan, options)
        images = self.find(registry, reference, plan.platforms)
        if not images:
            raise InputMissing(
                f"base_image: {reference} is not there",
                path="base_image",
                hint="check its name, or the mirror that should have it",
            )
        return images

    def find(self, registry: Registry, reference: Reference, platforms: tuple[Platform, ...]) -> dict[Platform, Image]:
        """Return the image for every platform, {} when it is not there; raise WrongPlatform or RegistryError."""
        manifest = self._manifest(registry, reference)
        if manifest is None:
            return {}
        images = {one: self._of_platform(registry, reference, manifest, one) for one in platforms}
        for image in images.values():
            if image.run_time.get("OnBuild"):
                raise Unsupported(
                    "base_image: it has ONBUILD instructions, which only a Dockerfile build carries out",
                    builder="daemonless",
                    field="base_image",
                    hint="--builder buildkit",
                )
            if len(image.layers) != len(image.diff_ids):
                raise IntegrityError(f"base_image: {reference} has not as many layers as its config says")
        return images

    def _bound(self, plan: BuildPlan, options: BuildOptions) -> tuple[Registry, Reference]:
        if options.base_layout:
            path, _, digest = options.base_layout.rpartition("@")
            return LayoutRegistry(Path(path)), Reference(_LAYOUT_REPOSITORY, None, Digest.parse(digest))
        if options.base is not None:
            base = Blob(self._registry, options.base.repository, str(options.base.digest))
            found_here = deliveries_of(self._store).has(base) or self._registry.resolve(options.base) is not None
            return (self._registry if found_here else self._bases), options.base
        if isinstance(plan.base, BaseImage):
            return self._bases, self._locate(Reference.parse(plan.base.reference))
        raise SpecError("base_image: nothing says where it is", path="base_image")

    def _manifest(self, registry: Registry, reference: Reference) -> Manifest | None:
        if reference.digest is not None:
            kept = self._store.value("bases", reference.digest.encoded)
            if isinstance(kept, dict):
                return Manifest(kept["media_type"], kept["text"].encode()).verify(reference.digest)
        manifest = registry.read_manifest(reference)
        if manifest is not None:
            _keep_manifest(self._store, manifest)
        return manifest

    def _of_platform(self, registry: Registry, reference: Reference, manifest: Manifest, platform: Platform) -> Image:
        if manifest.is_index:
            fitting = [one for one in manifest.manifests if one.platform == platform]
            if not fitting:
                raise _wrong(reference, platform, tuple(str(one.platform) for one in manifest.manifests))
            found = self._manifest(registry, Reference(reference.repository, None, fitting[0].digest))
            if found is None or found.is_index:
                raise IntegrityError(f"base_image: {reference} lists an image that is not there: {fitting[0].digest}")
            manifest = found
        config = self._config(registry, reference.repository, manifest.config)
        described = Platform.from_json(config)
        if described != platform:
            raise _wrong(reference, platform, (str(described),))
        return Image(registry=registry, repository=reference.repository, manifest=manifest, config=config)

    def _config(self, registry: Registry, repository: Repository, config: Descriptor) -> Mapping[str, Any]:
        kept = self._store.value("bases", config.digest.encoded)
        if not isinstance(kept, dict):
            with registry.read_blob(repository, config.digest) as stream:
                kept = json.loads(stream.read())
            self._store.write_value("bases", config.digest.encoded, kept)
        return dict(kept)


def keep_base(store: Store, manifest: Manifest, config: Mapping[str, Any]) -> None:
    """Keep an image that was just pushed: what is built on it next need not read it back from the registry."""
    _keep_manifest(store, manifest)
    store.write_value("bases", manifest.config.digest.encoded, config)


def _keep_manifest(store: Store, manifest: Manifest) -> None:
    value = {"media_type": manifest.media_type, "text": manifest.data.decode()}
    store.write_value("bases", manifest.descriptor.digest.encoded, value)


def _wrong(reference: Reference, wanted: Platform, found: tuple[str, ...]) -> WrongPlatform:
    return WrongPlatform(
        f"base_image: {reference} has {', '.join(found) or 'no platform'}, not {wanted}",
        wanted=(str(wanted),),
        found=found,
        hint="choose a base that is built for it, or another platform",
    )


def search_path(run_time: Mapping[str, Any]) -> str:
    """Return the PATH of an image."""
    for variable in run_time.get("Env") or ():
        if variable.startswith("PATH="):
            return str(variable[5:])
    return _DEFAULT_PATH
