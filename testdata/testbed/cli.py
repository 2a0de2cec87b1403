"""The commands: up, down, status, env."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import FrameType

from testbed import bases, daemon, emulation, engine, packages, processes, registry, registry_container, state
from testbed.common import (
    Paths,
    TestbedError,
    locked,
    paths_from_environment,
    remove_folder,
    say,
    timed,
)
from testbed.layout import Layout
from testbed.registry import Running
from testbed.registry_client import has, push
from testbed.state import State


def main(argv: Sequence[str]) -> int:
    """Runs one command; 0 when done, 1 when it could not be done, 3 when the bed is not up."""
    options = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        paths = paths_from_environment()
        code: int = options.command(paths, options)
        return code
    except (TestbedError, OSError, subprocess.SubprocessError) as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; what was brought up before is left as it is: `bed.py down` ends it")
        return 130


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bed.py", description="A Docker engine, registries and base images.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="bring everything up, or answer at once when it is")
    up.add_argument("--without-engine", action="store_true", help="only registries and base images")
    up.add_argument("--own-engine", action="store_true", help="start an engine also where another one answers")
    up.add_argument("--keep", action="store_true", help="keep the engine's images of the last time")
    up.add_argument("--arm64", action="store_true", help="all base images for arm64 too")
    up.add_argument("--json", action="store_true", help="print where everything is, as JSON")
    up.set_defaults(command=_up)
    down = commands.add_parser("down", help="end what this bed started, and nothing else")
    down.add_argument("--keep", action="store_true", help="keep the engine's images for `up --keep`")
    down.set_defaults(command=_down)
    status = commands.add_parser("status", help="say what is up")
    status.add_argument("--json", action="store_true", help="print JSON instead")
    status.set_defaults(command=_status)
    env = commands.add_parser("env", help="print shell exports for using the bed")
    env.add_argument("--json", action="store_true", help="print JSON instead")
    env.set_defaults(command=_env)
    tool = commands.add_parser("tool", help="unpack a program of Debian's that tests use, and print its folder")
    tool.add_argument("name", choices=sorted(packages.TOOLS))
    tool.set_defaults(command=_tool)
    return parser


def _tool(paths: Paths, options: argparse.Namespace) -> int:
    paths.tmp.mkdir(parents=True, exist_ok=True)
    print(packages.ensure_tool(paths, options.name))
    return 0


def _up(paths: Paths, options: argparse.Namespace) -> int:
    with locked(paths.lock), timed("everything is up"):
        current = _bring_up(paths, options)
    if options.json:
        print(json.dumps(state.as_json(paths, current), indent=1))
    return 0


def _bring_up(paths: Paths, options: argparse.Namespace) -> State:
    with_engine = not options.without_engine
    current = state.load(paths)
    current = current.with_(arm64=options.arm64 or current.arm64)
    host = engine.look(paths, own=options.own_engine) if with_engine else None
    emulated = _fill_cache(paths, host, with_engine=with_engine, arm64=current.arm64)
    engine.make_client_settings(paths)
    if with_engine:
        chosen = engine.fetch(paths, host)
        current = current.with_(docker_host=chosen.host, path=engine.start(paths, chosen, keep=options.keep))
        state.save(paths, current)
    current = current.with_(two_platforms=emulated if with_engine else current.two_platforms)
    return _registries(paths, current, bases.layouts(paths, arm64=current.arm64))


def _fill_cache(paths: Paths, host: str | None, *, with_engine: bool, arm64: bool) -> bool:
    """Fetches or makes everything that is not there yet, one bed at a time; waits for nobody when all is there.

    Returns whether arm64 programs run here beside the machine's own.
    """
    emulated = arm64 or (with_engine and emulation.is_likely())
    if not _is_cached(paths, host, with_engine=with_engine, arm64=arm64, emulated=emulated):
        with locked(paths.cache_lock):
            _tidy(paths)
            emulated = emulated and _emulate(paths, required=arm64)
            with ThreadPoolExecutor(1) as beside:
                work: list[Future[object]] = [beside.submit(registry.fetch, paths)]
                if with_engine:
                    work.append(beside.submit(engine.fetch, paths, host))
                bases.ensure(paths, arm64=arm64, emulated=emulated)
                for each in work:
                    each.result()
    return emulated and _emulate(paths, required=arm64)


def _emulate(paths: Paths, *, required: bool) -> bool:
    """Whether arm64 programs run here, now that everything was tried; says why they do not."""
    try:
        emulation.ensure(paths)
    except (TestbedError, OSError, subprocess.SubprocessError) as error:
        if required:
            raise
        say(f"base images for one platform only: {error}")
        return False
    return True


def _is_cached(paths: Paths, host: str | None, *, with_engine: bool, arm64: bool, emulated: bool) -> bool:
    return (
        bases.are_cached(paths, arm64=arm64, emulated=emulated)
        and registry.is_cached(paths)
        and (not with_engine or engine.is_cached(paths, host))
        and (not emulated or emulation.is_cached(paths))
    )


def _tidy(paths: Paths) -> None:
    """Ends and deletes what a killed run left half-made."""
    processes.stop(processes.owned(processes.mark(paths.cache, "make")), grace_s=2)
    paths.tmp.mkdir(parents=True, exist_ok=True)
    for leftover in paths.tmp.iterdir():
        remove_folder(leftover)


def _registries(paths: Paths, current: State, layouts: dict[str, Layout]) -> State:
    """Both registries up, with every base in them."""
    wanted = [(base.name, base.tag, layouts[base.key]) for base in bases.BASES]
    if current.two_platforms:
        wanted.append((bases.TWO_PLATFORMS_NAME, bases.TWO_PLATFORMS.tag, bases.two_platforms(paths)))
    for part in (registry.OPEN, registry.WITH_PASSWORD):
        attribute = part.replace("-", "_")
        running: Running | None = getattr(current, attribute)
        if running is None or not running.is_up:
            running = registry.start(paths, part, current.docker_host)
            current = current.with_(**{attribute: running})
            state.save(paths, current)
        for name, tag, layout in wanted:
            if not has(running.registry, name, tag, layout.top()["digest"]):
                push(layout, running.registry, name, tag)
    state.save(paths, current)
    return current


def _down(paths: Paths, options: argparse.Namespace) -> int:
    with locked(paths.lock), timed("everything of this bed is down"):
        current = state.load(paths)
        for part, running in ((registry.OPEN, current.registry), (registry.WITH_PASSWORD, current.auth_registry)):
            registry.stop(paths, part)
            if running is not None and running.process is None and current.docker_host is not None:
                registry_container.stop(paths, part, current.docker_host)
        daemon.stop(paths)
        emulation.remove(paths)
        paths.state.unlink(missing_ok=True)
        remove_folder(paths.run)
        if not options.keep:
            remove_folder(paths.data)
    return 0


def _status(paths: Paths, options: argparse.Namespace) -> int:
    current = state.load(paths)
    up: dict[str, str | None] = {
        "engine": current.docker_host if current.docker_host and engine.answers(current.docker_host) else None,
        "registry": _host_if_up(current.registry),
        "auth_registry": _host_if_up(current.auth_registry),
    }
    if options.json:
        print(json.dumps({**up, "root": str(paths.root), "cache": str(paths.cache)}, indent=1))
    else:
        for name, where in up.items():
            print(f"{name.replace('_', ' ')}: {f'up at {where}' if where else 'down'}")
        print(f"in {paths.root}" + (f", downloads in {paths.cache}" if paths.cache != paths.root else ""))
    return 0 if up["registry"] and up["auth_registry"] else 3


def _host_if_up(running: Running | None) -> str | None:
    return running.registry.host if running is not None and running.is_up else None


def _env(paths: Paths, options: argparse.Namespace) -> int:
    current = state.load(paths)
    if current.registry is None or current.auth_registry is None or not current.registry.is_up:
        say("not up: run `bed.py up` first")
        return 3
    value = state.as_json(paths, current)
    print(json.dumps(value, indent=1) if options.json else state.as_shell(value))
    return 0
