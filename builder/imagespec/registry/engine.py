"""The local engine's image store, asked through the docker SDK: where images without a registry go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from imagespec.errors import EngineError, EngineUnavailable, WrongPlatform
from imagespec.names import Digest, Reference
from imagespec.oci import OCI_MANIFEST, Descriptor, Platform

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = ["EngineImages"]

_HINT: Final = "start Docker, set DOCKER_HOST to an engine that answers, or set a registry"


class EngineImages:
    """Looks images up in the local engine. Images come in by a build's ``load``."""

    def __init__(self, *, docker_host: str | None = None, timeout_s: int = 20) -> None:
        self._docker_host = docker_host
        self._timeout_s = timeout_s

    def answers(self) -> bool:
        """Return whether an engine answers at all."""
        import requests
        from docker.errors import DockerException

        try:
            with self._client() as client:
                return bool(client.ping())
        except (EngineUnavailable, DockerException, requests.RequestException):
            return False

    def resolve(self, reference: Reference, platforms: tuple[Platform, ...] = ()) -> Descriptor | None:
        """Return the image's descriptor (its id, and its size in bytes), or None; raise EngineError when unknown."""
        image = self._image(reference)
        if image is None:
            return None
        attributes: dict[str, Any] = image.attrs
        found = Platform.from_json({"os": attributes.get("Os"), "architecture": attributes.get("Architecture")})
        if platforms and found not in platforms:
            wanted = tuple(str(platform) for platform in platforms)
            raise WrongPlatform(f"look up {reference}: it is for {found}", wanted=wanted, found=(str(found),))
        return Descriptor(
            media_type=OCI_MANIFEST,
            digest=Digest.parse(str(image.id)),
            size_bytes=int(attributes.get("Size") or 0),
            platform=found,
        )

    def labels(self, reference: Reference) -> Mapping[str, str]:
        """Return the image's labels, {} for one that is not there; raise EngineError when unknown."""
        image = self._image(reference)
        return dict(image.labels) if image is not None else {}

    def _image(self, reference: Reference) -> Any:
        import requests
        from docker.errors import APIError, ImageNotFound

        try:
            with self._client() as client:
                return client.images.get(str(reference))
        except ImageNotFound:
            return None
        except APIError as error:
            raise EngineError(f"look up {reference}: the engine answered: {error.explanation}") from error
        except requests.RequestException as error:
            raise EngineUnavailable(f"look up {reference}: the engine stopped answering", hint=_HINT) from error

    @contextmanager
    def _client(self) -> Iterator[DockerClient]:
        import docker
        from docker.errors import DockerException

        try:
            if self._docker_host:
                client = docker.DockerClient(base_url=self._docker_host, timeout=self._timeout_s)
            else:
                client = docker.from_env(timeout=self._timeout_s)
        except DockerException as error:
            raise EngineUnavailable("engine: no Docker engine answers", hint=_HINT) from error
        try:
            yield client
        finally:
            client.close()
