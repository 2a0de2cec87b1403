"""Whether an engine with buildx answers, and how it keeps images: asked once for all builds of a run."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from imagespec.errors import EngineUnavailable

if TYPE_CHECKING:
    from python_on_whales import DockerClient

__all__ = ["ENGINE_HINT", "EngineCheck", "last_line"]

ENGINE_HINT: Final = "start Docker, or set DOCKER_HOST to an engine that answers"
_CONTAINERD_STORE: Final = "io.containerd.snapshotter.v1"


class EngineCheck:
    """Looks at what the client ``docker`` reaches; thread-safe. A good answer is remembered, a bad one is not."""

    def __init__(self, docker: str = "docker") -> None:
        self._docker = docker
        self._lock = threading.Lock()
        self._has_buildx = False
        self._passes_on: bool | None = None

    def require_buildx(self) -> None:
        """Raise EngineUnavailable when there is no client, or none with buildx."""
        with self._lock:
            self._require_buildx()

    def passes_on(self) -> bool:
        """Return whether the default builder is an engine that keeps its images in containerd's store.

        Raise EngineUnavailable when no engine with buildx answers.
        """
        with self._lock:
            self._require_buildx()
            if self._passes_on is None:
                self._passes_on = self._look()
            return self._passes_on

    def _require_buildx(self) -> None:
        from python_on_whales import ClientNotFoundError
        from python_on_whales.exceptions import DockerException

        if self._has_buildx:
            return
        try:
            self._has_buildx = self._client().buildx.is_installed()
        except ClientNotFoundError as error:
            raise EngineUnavailable("engine: there is no docker client on the PATH", hint=ENGINE_HINT) from error
        except DockerException as error:
            raise EngineUnavailable(f"engine: {last_line(error.stderr)}", hint=ENGINE_HINT) from error
        if not self._has_buildx:
            raise EngineUnavailable(
                "engine: docker has no buildx plugin", hint="install docker-buildx (Debian: docker-buildx)"
            )

    def _look(self) -> bool:
        from python_on_whales.exceptions import DockerException

        client = self._client()
        try:
            client.version()
        except DockerException as error:
            raise EngineUnavailable(f"engine: {last_line(error.stderr)}", hint=ENGINE_HINT) from error
        try:
            status = client.system.info().driver_status or []
            return ["driver-type", _CONTAINERD_STORE] in status and client.buildx.inspect().driver == "docker"
        except DockerException:
            return False

    def _client(self) -> DockerClient:
        from python_on_whales import DockerClient

        return DockerClient(client_call=[self._docker], client_type="docker")


def last_line(text: str | None) -> str:
    """Return the last line of what a client said, without docker's "ERROR: "; "" where it said nothing."""
    lines = [line for line in (text or "").strip().splitlines() if line.strip()]
    return lines[-1].removeprefix("ERROR: ").strip() if lines else ""
