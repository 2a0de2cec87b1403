"""The BuildKit builder: stages a build context, runs ``docker buildx build``, and verifies what came out.

``docker buildx`` is called through python-on-whales; the local engine is asked through the docker SDK.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from imagespec.builders import BuildOptions
from imagespec.builders.commands import (
    CA_SECRET,
    ENV_SECRET,
    BuildxBuild,
    buildx_build,
    context_texts,
    environment_script,
)
from imagespec.builders.engine_check import ENGINE_HINT, EngineCheck, last_line
from imagespec.builders.instances import docker_context
from imagespec.builders.progress import ProgressDecoder
from imagespec.builders.staging import work_folder, write_context
from imagespec.builders.uv_binary import uv_folder
from imagespec.dockerfile import UV_CONTEXT, Rendering, render
from imagespec.errors import BuildFailed, Cancelled, EngineUnavailable, IntegrityError
from imagespec.events import Emit, Warned
from imagespec.names import Digest, Reference
from imagespec.oci import Descriptor
from imagespec.plan import BaseImage, BuildPlan, CondaInstall
from imagespec.registry import Resolver
from imagespec.snapshot import Files, TextFile
from imagespec.values import replace

if TYPE_CHECKING:
    from python_on_whales import DockerClient

__all__ = ["BuildKitBuilder"]

# Starts the client on the context archive, with its process id on file so that a cancellation can reach it
# (exec keeps the id). "$0" is the work folder.
_SHELL: Final = ("/bin/sh", "-c", 'echo $$ >"$0/client.pid" && exec "$@" <"$0/context.tar"')
_DOCKERFILE: Final = "Dockerfile"
_START_PATIENCE_S: Final = 1.0
_STOP_PATIENCE_S: Final = 15.0
# The client kills its plugin at the third interrupt.
_INTERRUPTS: Final = (((signal.SIGINT,), 8.0), ((signal.SIGINT, signal.SIGINT), 4.0), ((signal.SIGKILL,), 3.0))
_PLACE: Final = re.compile(r"^Dockerfile:(\d+)$", re.MULTILINE)
_AGAIN_HINT: Final = "nothing was pushed; mend what the output above says and build again"
_OWN_WORDS: Final = "imagespec: "


class BuildKitBuilder:
    """Builds with BuildKit, every feature of a plan; pushes, or loads into the local engine."""

    name: Final = "buildkit"

    def __init__(
        self,
        *,
        template: str,
        store: Path,
        registry: Resolver,
        engine: Resolver,
        is_insecure: Callable[[str], bool],
        locate: Callable[[Reference], Reference],
        docker_config_dir: Path,
        docker: str = "docker",
        engine_check: EngineCheck | None = None,
    ) -> None:
        """``registry`` and ``engine`` verify what was pushed or loaded; ``docker_config_dir`` is the user's own.

        ``is_insecure`` tells plain-HTTP hosts, ``locate`` where a base is pulled from (a mirror, or itself).
        ``engine_check`` is one that several builders share.
        """
        self._template = template
        self._store = store
        self._registry = registry
        self._engine = engine
        self._is_insecure = is_insecure
        self._locate = locate
        self._docker_config_dir = docker_config_dir
        self._docker = docker
        self._engine_check = engine_check or EngineCheck(docker)
        self._passes_on = False

    def check(self, plan: BuildPlan) -> None:
        """Raise Unsupported when the plan has a step that cannot be rendered."""
        render(plan, self._template)

    def prepare(self, plan: BuildPlan, options: BuildOptions) -> None:
        """Raise EngineUnavailable when no engine with buildx answers."""
        if options.builder_instance:
            self._engine_check.require_buildx()
        else:
            self._passes_on = self._engine_check.passes_on()

    def build(
        self, plan: BuildPlan, files: Files, target: Reference, *, options: BuildOptions, emit: Emit
    ) -> Descriptor:
        """Build, push or load, and return the verified descriptor of what now stands under ``target``."""
        rendering = render(
            plan,
            self._template,
            [secret.target for secret in options.secrets],
            [agent.partition("=")[0] for agent in options.ssh],
        )
        uv = "" if plan.tools.uv_image else str(uv_folder(self._store, plan.tools.uv, plan.platforms))
        options = self._bound(plan, options)
        insecure = not options.load and self._is_insecure(target.repository.registry)
        contexts = self._tool_images(plan) | ({UV_CONTEXT: uv} if uv else {})

        def once(passes_on: bool) -> Descriptor:
            command = buildx_build(
                plan, rendering, target, options, contexts=contexts, insecure=insecure, passes_on=passes_on
            )
            digest = self._built(plan, files, rendering, command, options, emit)
            return self._verified(target, digest, options)

        if not self._passes_on or options.load or options.builder_instance:
            return once(passes_on=False)
        try:
            return once(passes_on=True)
        except _NotThere:
            # A client that takes the same words otherwise: all steps are in the layer cache now.
            emit(Warned(message=f"build: buildx did not push {target}", hint="it is built once more, the usual way"))
            return once(passes_on=False)

    def _built(
        self,
        plan: BuildPlan,
        files: Files,
        rendering: Rendering,
        command: BuildxBuild,
        options: BuildOptions,
        emit: Emit,
    ) -> Digest | None:
        with work_folder(self._store) as work:
            recipe = TextFile(path=_DOCKERFILE, data=rendering.dockerfile.encode())
            with (work / "context.tar").open("wb") as archive:
                write_context(archive, plan, files, (recipe, *context_texts(plan)))
            keywords = dict(command.keywords) | self._paths(work, options)
            if docker_context(self._docker_config_dir, options.builder_instance):
                # buildx refuses the builder of another context by name: the client is pointed at it instead.
                del keywords["builder"]
            self._run(work, keywords, ProgressDecoder(rendering.titles), options, emit)
            return _digest_of_build(work / "metadata.json")

    def _bound(self, plan: BuildPlan, options: BuildOptions) -> BuildOptions:
        """Return the options with the base's own place, where a mirror or a rewrite stands for it."""
        if not isinstance(plan.base, BaseImage) or options.base is not None or options.base_layout:
            return options
        named = Reference.parse(plan.base.reference)
        found = self._locate(named)
        return options if found == named else replace(options, base=found)

    def _tool_images(self, plan: BuildPlan) -> dict[str, str]:
        """Return build contexts for the images of tools that stand elsewhere than their names say."""
        is_conda = any(isinstance(step, CondaInstall) for step in plan.steps)
        names = [plan.tools.uv_image, plan.tools.micromamba_image if is_conda else ""]
        places = {name: self._locate(Reference.parse(name)) for name in names if name}
        return {name: f"docker-image://{place}" for name, place in places.items() if place != Reference.parse(name)}

    def _paths(self, work: Path, options: BuildOptions) -> dict[str, Any]:
        secrets = []
        script = environment_script(options)
        if script:
            (work / "env.sh").write_text(script, encoding="utf-8")
            secrets.append(_secret(ENV_SECRET, str(work / "env.sh")))
        if options.ca_bundle:
            secrets.append(_secret(CA_SECRET, options.ca_bundle))
        secrets += [_secret(f"imagespec-secret-{i}", secret.source) for i, secret in enumerate(options.secrets)]
        return {
            "context_path": "-",
            "file": _DOCKERFILE,
            "metadata_file": work / "metadata.json",
            "secrets": secrets,
            "progress": "rawjson",
            "stream_logs": True,
        }

    def _run(
        self, work: Path, keywords: dict[str, Any], decoder: ProgressDecoder, options: BuildOptions, emit: Emit
    ) -> None:
        from python_on_whales import DockerClient
        from python_on_whales.exceptions import DockerException

        process_id = work / "client.pid"
        client = DockerClient(
            client_call=[*_SHELL, str(work), self._docker],
            client_type="docker",
            config=self._config(work, options),
            context=docker_context(self._docker_config_dir, options.builder_instance),
        )
        is_up = threading.Event()
        stopping = threading.Thread(target=_stop, args=(process_id, is_up), daemon=True)
        options.cancellation.on_cancel(stopping.start)
        try:
            for line in _lines(client, keywords):
                is_up.set()
                for event in decoder.feed(line):
                    emit(event)
        except DockerException as error:
            if options.cancellation.cancelled:
                raise Cancelled("build: stopped before anything was pushed") from error
            raise _failure(decoder, error.return_code) from error
        except BaseException:
            # The client would go on building and pushing after us.
            _stop(process_id, is_up)
            raise
        if options.cancellation.cancelled:
            raise Cancelled("build: stopped")

    def _config(self, work: Path, options: BuildOptions) -> Path | None:
        """Return a folder like the user's Docker configuration, but with the spec's own ``registry_config``."""
        if not options.docker_config:
            return None
        folder = work / "docker-config"
        folder.mkdir(mode=0o700)
        if self._docker_config_dir.is_dir():
            for one in self._docker_config_dir.iterdir():
                if one.name != "config.json":
                    (folder / one.name).symlink_to(one)
        shutil.copyfile(options.docker_config, folder / "config.json")
        return folder

    def _verified(self, target: Reference, digest: Digest | None, options: BuildOptions) -> Descriptor:
        where = self._engine if options.load else self._registry
        found = where.resolve(target)
        if found is None:
            raise _NotThere(f"build: {target} was built, but is not there", hint="build it again with --force")
        if digest is not None and not options.load and found.digest != digest:
            raise IntegrityError(
                f"build: {target} is {found.digest}, not the {digest} that was built",
                hint="another build pushed the same tag meanwhile: build again",
            )
        return found


class _NotThere(IntegrityError):
    """What was built is not where it was to be pushed."""


def _lines(client: DockerClient, keywords: dict[str, Any]) -> Iterator[str]:
    lines = client.buildx.build(**keywords)
    yield from cast("Iterator[str]", lines)


def _secret(identity: str, source: str) -> str:
    """Return buildx's ``--secret`` value, whose fields are CSV (RFC 4180): a path may hold commas and quotes."""
    path = source.replace('"', '""')
    return f'id={identity},"src={path}"'


def _stop(process_id: Path, is_up: threading.Event) -> None:
    """Interrupt the client until it is gone; ``is_up`` is set when it has said something."""
    # Earlier an interrupt is lost, or ends the client without its plugin, which goes on (docker/cli, cmd/docker).
    is_up.wait(_START_PATIENCE_S)
    client = _started(process_id)
    if client is None:
        return
    for signals, patience_s in _INTERRUPTS:
        for number in signals:
            if not _is_running(client):
                return
            with contextlib.suppress(ProcessLookupError):  # it ended in between
                os.kill(client, number)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline and _is_running(client):
            time.sleep(0.05)


def _started(process_id: Path) -> int | None:
    """Return the client's process id as soon as there is one; None if it never started, or all is over."""
    deadline = time.monotonic() + _STOP_PATIENCE_S
    while time.monotonic() < deadline and process_id.parent.exists():
        try:
            return int(process_id.read_text())
        except (OSError, ValueError):
            time.sleep(0.02)
    return None


def _is_running(client: int) -> bool:
    try:
        ended, _ = os.waitpid(client, os.WNOHANG)
    except OSError:
        return False
    return ended == 0


def _digest_of_build(metadata: Path) -> Digest | None:
    try:
        text = json.loads(metadata.read_text()).get("containerimage.digest")
    except (OSError, ValueError):
        return None
    return Digest.parse(text) if text else None


def _failure(decoder: ProgressDecoder, exit_status: int) -> Exception:
    failed = decoder.failed_step
    said = decoder.plain_text
    if failed is None:
        if "Cannot connect to the Docker daemon" in said or "error during connect" in said:
            return EngineUnavailable(f"engine: {last_line(said)}", hint=ENGINE_HINT)
        if "code = Unavailable" in said or "error reading from server" in said:
            return EngineUnavailable(f"engine: stopped in the middle: {last_line(said)}", hint=ENGINE_HINT)
        return BuildFailed(
            f"build: {last_line(said) or 'docker buildx stopped'}", exit_status=exit_status, hint=_AGAIN_HINT
        )
    place = _PLACE.search(said)
    where = f" (line {place[1]} of what 'imagespec dockerfile' shows)" if place else ""
    why = f"exit code {failed.exit_code}" if failed.exit_code is not None else last_line(failed.error)
    # Our own steps say what is wrong in the last line before they stop.
    if failed.log_tail and failed.log_tail[-1].startswith(_OWN_WORDS):
        why = failed.log_tail[-1].removeprefix(_OWN_WORDS)
    return BuildFailed(
        f"build: {failed.title}: {why}{where}",
        step=failed.title,
        exit_status=failed.exit_code,
        log_tail=failed.log_tail,
        hint=_AGAIN_HINT,
    )
