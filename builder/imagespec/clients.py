"""Where images are: the registry clients and the local images that the settings mean."""

from __future__ import annotations

from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from imagespec.identity import Identity
from imagespec.names import Reference
from imagespec.registry import Registry, Resolver
from imagespec.registry.credentials import FileCredentials
from imagespec.registry.http import HttpRegistry
from imagespec.registry.mirrors import MirroredRegistry, locate
from imagespec.settings import Settings
from imagespec.spec import Declaration

if TYPE_CHECKING:
    from imagespec.registry.engine import EngineImages

__all__ = ["Clients"]


class Clients:
    """The clients of one run, made when they are first needed; paths of specs start at ``cwd``.

    What is for local images is loaded when somebody asks for those: most runs have a registry.
    """

    def __init__(self, settings: Settings, cwd: str) -> None:
        self.settings = settings
        self.cwd = cwd
        self._clients: dict[Path, Registry] = {}

    def images_of(self, declaration: Declaration, identity: Identity) -> Resolver:
        """Return what knows whether the declaration's image exists: its registry, or the local images."""
        return self.local_images if identity.is_local else self.registry_of(declaration)

    def registry_of(self, declaration: Declaration) -> Registry:
        """Return the registry client, with the declaration's own ``registry_config`` where it has one."""
        if declaration.registry_config is None:
            return self.registry
        path = Path(declaration.folder or self.cwd, declaration.registry_config)
        if path not in self._clients:
            self._clients[path] = self._client((path,))
        return self._clients[path]

    @property
    def registry(self) -> Registry:
        """The client for every registry, with the user's credentials."""
        return self.http

    @cached_property
    def http(self) -> HttpRegistry:
        """The same, with all that it can do over HTTP."""
        return self._client(self.settings.credential_files)

    def _client(self, credential_files: tuple[Path, ...]) -> HttpRegistry:
        return HttpRegistry(network=self.settings.network, credentials=FileCredentials(credential_files))

    @cached_property
    def engine(self) -> EngineImages:
        """The local engine's images."""
        made: type[EngineImages] = import_module("imagespec.registry.engine").EngineImages
        return made(docker_host=self.settings.docker_host or None)

    @cached_property
    def local_images(self) -> Resolver:
        """Where images without a registry are: the engine if one answers, else the OCI layout store."""
        if self.engine.answers():
            return self.engine
        store: Resolver = import_module("imagespec.registry.layout").LayoutRegistry(self.settings.store_dir)
        return store

    @property
    def mirrored(self) -> Registry:
        """The registry client with the user's mirrors in front, for references that are not ours."""
        return MirroredRegistry(self.registry, self.settings.hosts)

    def locate(self, reference: Reference) -> Reference:
        return locate(self.registry, self.settings.hosts, reference)
