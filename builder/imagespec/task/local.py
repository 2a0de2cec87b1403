"""A container task on the local engine: inputs mounted, output read back, the container always removed."""

from __future__ import annotations

import contextlib
import os
import posixpath
import shutil
import sys
import tempfile
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from imagespec.errors import EngineError, EngineUnavailable, SpecError, TaskFailed
from imagespec.settings import Settings
from imagespec.task.building import TaskImages
from imagespec.task.container_task import ContainerTask
from imagespec.task.images import get_registerable_container_image
from imagespec.task.interface import Directory, Interface
from imagespec.task.rendering import bound, is_path, output_of, rendered, text_of
from imagespec.task.settings import ImageConfig

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = ["run_locally"]

_TAIL_LINES: Final = 20
_JOIN_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What is run: image, words, variables, and folders here by their place in the container."""

    name: str
    image: str
    entrypoint: list[str] | None
    command: list[str]
    environment: dict[str, str]
    mounts: Mapping[str, str]
    timeout_s: float


def run_locally(
    task: ContainerTask,
    *,
    image_config: ImageConfig | None = None,
    images: TaskImages | None = None,
    on_log: Callable[[str], None] | None = None,
    timeout_s: float = 0,
    **inputs: Any,
) -> dict[str, Any]:
    """Run the task once and return its outputs by name, typed; files and folders as paths that stay.

    ``on_log`` hears every line of output as it comes (with ``local_logs``, stderr does). The time-out is
    ``timeout_s``, or the metadata's. Raise SpecError for inputs and outputs that do not fit, TaskFailed for a
    non-zero exit or a time-out, EngineError for the engine, ImageSpecError for the image.
    """
    interface = task.interface
    values = bound(interface, inputs)
    if interface.outputs and not task.output_data_dir:
        raise SpecError("output_data_dir: is not set, though there are outputs", path="output_data_dir")
    config = image_config or ImageConfig()
    with _folder("inputs") as incoming, _folder("outputs") as outgoing:
        job = _Job(
            name=task.name,
            image=get_registerable_container_image(task.image, config, images=images, module=task.module),
            entrypoint=rendered(task.command, interface, values) or None,
            command=rendered(task.arguments or (), interface, values),
            environment=dict(task.environment or {}),
            mounts=_mounts(task, interface, values, incoming, outgoing),
            timeout_s=timeout_s or (task.metadata.timeout_s if task.metadata else 0),
        )
        _run(job, on_log or (_to_stderr if task.local_logs else _nobody))
        return _outputs(interface, outgoing)


@contextmanager
def _folder(purpose: str) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f"imagespec-{purpose}-"))
    # The container may run as any user.
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _mounts(
    task: ContainerTask, interface: Interface, values: Mapping[str, Any], incoming: Path, outgoing: Path
) -> dict[str, str]:
    mounts = {}
    if task.input_data_dir:
        place = posixpath.normpath(task.input_data_dir)
        mounts[place] = str(incoming)
        for name, kind in interface.inputs.items():
            if is_path(kind):
                mounts[posixpath.join(place, name)] = _existing(name, kind, values[name])
                # The place to mount on must be in the folder that is mounted around it.
                (incoming / name).mkdir() if kind is Directory else (incoming / name).touch()
            else:
                (incoming / name).write_text(text_of(values[name]), encoding="utf-8")
    elif any(is_path(kind) for kind in interface.inputs.values()):
        raise SpecError("input_data_dir: is not set, though files are among the inputs", path="input_data_dir")
    if task.output_data_dir:
        mounts[posixpath.normpath(task.output_data_dir)] = str(outgoing)
    return mounts


def _existing(name: str, kind: Any, value: Any) -> str:
    path: str = os.path.abspath(os.fspath(value))
    if not (os.path.isdir(path) if kind is Directory else os.path.isfile(path)):
        what = "folder" if kind is Directory else "file"
        raise SpecError(f"inputs: {name}: there is no {what} {os.fspath(value)!r}", path=f"inputs.{name}")
    return path


def _outputs(interface: Interface, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    kept: Path | None = None
    for name, kind in interface.outputs.items():
        path = folder / name
        if not path.exists():
            raise SpecError(f"outputs: the container did not write {name}", path=f"outputs.{name}")
        if is_path(kind):
            kept = kept or Path(tempfile.mkdtemp(prefix="imagespec-kept-"))
            shutil.move(path, kept / name)
            found[name] = kind(kept / name)
        else:
            found[name] = output_of(name, kind, path.read_text(encoding="utf-8"))
    return found


def _run(job: _Job, on_log: Callable[[str], None]) -> None:
    import requests
    from docker.errors import DockerException

    try:
        with _engine() as client:
            _run_in(client, job, on_log)
    except DockerException as error:
        raise EngineError(f"run {job.name}: the engine says: {error}") from error
    except requests.RequestException as error:
        raise EngineUnavailable(f"run {job.name}: the engine stopped answering", hint="look at its log") from error


def _run_in(client: DockerClient, job: _Job, on_log: Callable[[str], None]) -> None:
    from docker.types import Mount

    _have_image(client, job.image)
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    with _removed(client, f"imagespec-{uuid.uuid4().hex}") as name:
        container = client.containers.create(
            job.image,
            name=name,
            entrypoint=job.entrypoint,
            command=job.command,
            environment=job.environment,
            mounts=[Mount(target=place, source=here, type="bind") for place, here in job.mounts.items()],
        )
        container.start()
        reader = threading.Thread(target=_read_log, args=(container, tail, on_log), daemon=True)
        reader.start()
        status = _wait(container, job.timeout_s)
        reader.join(_JOIN_S)
    last = f": {tail[-1]}" if tail else ""
    if status is None:
        raise TaskFailed(
            f"run {job.name}: stopped after {job.timeout_s:g} s{last}",
            log_tail=tuple(tail),
            hint="raise the timeout of its metadata",
        )
    if status != 0:
        raise TaskFailed(f"run {job.name}: exited with {status}{last}", exit_status=status, log_tail=tuple(tail))


@contextmanager
def _removed(client: DockerClient, name: str) -> Iterator[str]:
    """Remove the container of this name at the end, also when its making was interrupted and nobody knows its id."""
    from docker.errors import NotFound

    try:
        yield name
    finally:
        with contextlib.suppress(NotFound):
            client.containers.get(name).remove(force=True)


def _wait(container: Any, timeout_s: float) -> int | None:
    """Return the exit status, None when the time is over."""
    import requests

    try:
        return int(container.wait(timeout=timeout_s or None)["StatusCode"])
    except (requests.exceptions.ReadTimeout, requests.exceptions.ConnectionError):
        if timeout_s:
            return None
        raise


def _read_log(container: Any, tail: deque[str], on_log: Callable[[str], None]) -> None:
    rest = b""
    for chunk in container.logs(stream=True, follow=True):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            _hear(line, tail, on_log)
    if rest:
        _hear(rest, tail, on_log)


def _hear(line: bytes, tail: deque[str], on_log: Callable[[str], None]) -> None:
    text = line.decode("utf-8", "replace").rstrip("\r")
    tail.append(text)
    on_log(text)


def _have_image(client: DockerClient, image: str) -> None:
    from docker.errors import ImageNotFound

    try:
        client.images.get(image)
    except ImageNotFound:
        client.images.pull(image)


@contextmanager
def _engine() -> Iterator[DockerClient]:
    import docker
    from docker.errors import DockerException

    host = Settings.load().docker_host
    try:
        client = docker.DockerClient(base_url=host) if host else docker.from_env()
    except DockerException as error:
        raise EngineUnavailable("engine: no Docker engine answers", hint="start Docker, or set DOCKER_HOST") from error
    try:
        yield client
    finally:
        client.close()


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"[Local Container] {line}\n")


def _nobody(line: str) -> None:
    return
