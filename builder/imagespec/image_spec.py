"""The public ``ImageSpec``: a declaration that can tell its tag and its name, and whether its image exists."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from imagespec.errors import ImageSpecError, SpecError
from imagespec.identity import Identity, Target, identify, workspace_of
from imagespec.planner import spec_id
from imagespec.settings import Settings
from imagespec.spec import Declaration

if TYPE_CHECKING:
    from typing_extensions import Self

    from imagespec.clients import Clients

__all__ = ["ImageSpec"]


class ImageSpec(Declaration):
    """Declares a container image; field names, types and meaning are those of flytekit's ``ImageSpec``.

    Instances are immutable: ``with_packages`` and its siblings return new ones.
    """

    __slots__ = ()

    @property
    def id(self) -> str:
        """The declaration's own identity: 22 hex characters, without name, registry and what files hold."""
        return spec_id(self)

    @property
    def tag(self) -> str:
        """The tag, from a fresh look at the disk at each access; raise SpecError or InputError."""
        return self._identity().reference.tag or ""

    def image_name(self) -> str:
        """Return the full name, ``registry/name:tag``, without asking anybody; raise SpecError or InputError."""
        return self._identity().name

    def exist(self) -> bool | None:
        """Return whether the image is in its registry (or, without a registry, among the local images).

        None means that it cannot be told, as Flyte's callers expect; ``imagespec exists`` says why.
        """
        settings = Settings.load()
        workspace = workspace_of(settings, os.getcwd())
        identity = identify(Target(declaration=self), workspace)
        # Whoever asks for a tag alone does not wait for the registry clients to be imported.
        clients: Clients = import_module("imagespec.clients").Clients(settings, os.getcwd())
        try:
            images = clients.images_of(self, identity)
            if images.resolve(identity.reference) is not None:
                return True
            if not settings.reuses_flyte_tags:
                return False
            names = import_module("imagespec.flyte_tags.names")
            found: bool = names.stands_in(Target(declaration=self), identity, images, workspace)
            return found
        except ImageSpecError:
            return None

    def flyte_tag(self) -> str:
        """Return the tag that flytekit 1.16 gives this spec, as it is declared.

        Raise NoFlyteTag, naming the field, where flytekit's answer is luck, and InputError for a file.
        """
        workspace = workspace_of(Settings.load(), os.getcwd())
        tag: str = import_module("imagespec.flyte_tags.names").flyte_tag_of(self, workspace)
        return tag

    def is_container(self) -> bool:
        """Return whether this process runs in this spec's image; True outside of any image of ours, as Flyte has it."""
        image_id = Settings.load().image_id
        return not image_id or image_id == self.id

    @classmethod
    def from_env(cls, *, pinned_packages: Sequence[str] | None = None, **keywords: Any) -> Self:
        """Return a spec with this interpreter's minor version, and ``pinned_packages`` at their installed versions.

        Raise SpecError when one of them is not installed, or when ``python_version`` is given.
        """
        from importlib.metadata import PackageNotFoundError, version

        if keywords.get("python_version") is not None:
            raise SpecError("python_version: from_env takes it from this interpreter", path="python_version")
        pinned = []
        for index, package in enumerate(pinned_packages or ()):
            try:
                pinned.append(f"{package}=={version(package)}")
            except PackageNotFoundError as error:
                path = f"pinned_packages[{index}]"
                raise SpecError(f"{path}: {package} is not installed here", path=path) from error
        packages = (*(keywords.pop("packages", None) or ()), *pinned)
        python_version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return cls(packages=packages, python_version=python_version, **keywords)

    def _identity(self) -> Identity:
        return identify(Target(declaration=self), workspace_of(Settings.load(), os.getcwd()))
