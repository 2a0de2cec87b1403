"""The command ``imagespec``. stdout carries the result, one reference a line or JSON; stderr carries the talk.

Exit codes: 0 done · 1 absent (``exists``) · 2 the input is wrong · 3 a registry cannot tell or refuses · 4 the
engine or a build step failed · 5 bytes are not what they should be · 70 a bug of ours · 130 interrupted.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

import click

from imagespec import targets
from imagespec.builders import Cancellation
from imagespec.compose import Composition, Identity, Target, dockerfile_template
from imagespec.dockerfile import render, title_of
from imagespec.ensure import BuildResult, Outcome, ensure
from imagespec.errors import Cancelled, ImageSpecError
from imagespec.events import Emit, discard
from imagespec.names import Reference
from imagespec.registry import Resolver
from imagespec.report import PlainReport, error_lines, reporting
from imagespec.settings import Settings

__all__ = ["cli", "main"]

BUG: Final = 70
ABSENT: Final = 1

_TARGETS_HELP: Final = """
TARGET is a YAML or TOML file (image.yaml), a Python file (workflows/etl.py, or workflows/etl.py:image), or
module:attribute (workflows.etl:image).
"""

_Format = click.Choice(["text", "json"])
_format = click.option("--format", "form", type=_Format, default="text", show_default=True, help="What stdout carries.")
_target = click.argument("target", nargs=-1, required=True)
_no_stat_cache = click.option("--no-stat-cache", is_flag=True, help="Read every file, trust no remembered digest.")
_registry = click.option(
    "--registry", default="", metavar="PREFIX", help="Use this registry (host[:port][/path]), whatever the spec says."
)
_builder = click.option(
    "--builder", default="", metavar="NAME", help="Build with this builder, whatever the spec says."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="imagespec-builder", prog_name="imagespec")
def cli() -> None:
    """Turn a declared ImageSpec into a container image in a registry, and never build the same thing twice.

    \b
    Example:
      imagespec build image.yaml
    """


@cli.command(epilog="Example: imagespec build image.yaml")
@_target
@_registry
@_builder
@click.option("--force", is_flag=True, help="Build even when the image exists.")
@_no_stat_cache
@_format
def build(target: tuple[str, ...], registry: str, builder: str, force: bool, no_stat_cache: bool, form: str) -> None:
    """Make sure that the image exists: look it up, build and push it if it is absent.

    stdout: the reference with tag and digest, one a line.
    """
    settings = Settings.load()
    cancellation = Cancellation()
    live = sys.stderr.isatty() and not settings.ci
    with _stoppable(cancellation), reporting(sys.stderr, live=live, no_color=settings.no_color) as emit:
        composition = _composition(settings, emit, no_stat_cache, cancellation)
        for found in _load(target, registry):
            request = composition.request(found, builder=builder, is_forced=force)
            result = ensure(request, composition.workspace, emit=emit, clock=time.monotonic)
            _say(_summary(result))
            click.echo(json.dumps(_result_record(found, result)) if form == "json" else str(result.reference))


@cli.command(epilog="Example: imagespec plan image.yaml --format json")
@_target
@_registry
@_builder
@_no_stat_cache
@_format
def plan(target: tuple[str, ...], registry: str, builder: str, no_stat_cache: bool, form: str) -> None:
    """Show what would be built, and why; nothing is built or written."""
    composition = _composition(Settings.load(), PlainReport(sys.stderr), no_stat_cache)
    for found in _load(target, registry):
        record = _plan_record(composition, found, builder)
        click.echo(json.dumps(record) if form == "json" else _plan_text(record))


@cli.command(epilog="Example: imagespec tag image.yaml --short")
@_target
@_registry
@click.option("--short", is_flag=True, help="Only the tag, without registry and name.")
@_no_stat_cache
@_format
def tag(target: tuple[str, ...], registry: str, short: bool, no_stat_cache: bool, form: str) -> None:
    """Print the image's name and tag. Nobody is asked: it follows from the spec and the files it names."""
    composition = _composition(Settings.load(), PlainReport(sys.stderr), no_stat_cache)
    for found in _load(target, registry):
        identity = composition.identify(found)
        if form == "json":
            click.echo(json.dumps({"origin": found.origin, "image": identity.name, "tag": identity.reference.tag}))
        else:
            click.echo(identity.reference.tag if short else identity.name)


@cli.command(epilog="Example: imagespec exists image.yaml ghcr.io/team/etl:v1")
@_target
@_registry
@_no_stat_cache
@_format
def exists(target: tuple[str, ...], registry: str, no_stat_cache: bool, form: str) -> None:
    """Say whether images exist: exit 0 if all do, 1 if one is absent, 3 if it cannot be told.

    A target may also be an image reference, such as ghcr.io/team/etl:v1.
    """
    composition = _composition(Settings.load(), PlainReport(sys.stderr), no_stat_cache)
    worst = 0
    for name, look in _lookups(composition, target, registry):
        state, detail, code = _answer(look)
        worst = max(worst, code)
        if form == "json":
            click.echo(json.dumps({"image": name, "state": state, "detail": detail}))
        else:
            click.echo(f"{state}\t{name}" + (f"\t{detail}" if detail else ""))
    sys.exit(worst)


@cli.command(epilog="Example: imagespec dockerfile image.yaml > Dockerfile")
@_target
@_no_stat_cache
def dockerfile(target: tuple[str, ...], no_stat_cache: bool) -> None:
    """Print the Dockerfile that the buildkit builder would use."""
    composition = _composition(Settings.load(), PlainReport(sys.stderr), no_stat_cache)
    for found in _load(target):
        mounts = found.declaration.pip_secret_mounts or ()
        rendering = render(composition.identify(found).plan, dockerfile_template(), [target for _, target in mounts])
        click.echo(rendering.dockerfile, nl=False)


def main() -> NoReturn:
    """Run the command and exit with its documented code; errors go to stderr without a traceback."""
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except ImageSpecError as error:
        _fail(error)
    except (click.exceptions.Abort, KeyboardInterrupt):
        _fail(Cancelled("stopped: no image was pushed that was not finished", hint="start it again to go on"))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read stdout has gone; there is nobody to tell.
        sys.stderr.close()
        sys.exit(0)
    except Exception:
        import traceback

        traceback.print_exc()
        _say("error: this is a bug of imagespec, or an exception in your own module (see above)")
        sys.exit(BUG)


def _fail(error: ImageSpecError) -> NoReturn:
    for line in error_lines(error):
        _say(line)
    sys.exit(error.exit_code)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _composition(
    settings: Settings, emit: Emit = discard, no_stat_cache: bool = False, cancellation: Cancellation | None = None
) -> Composition:
    return Composition(settings, emit=emit, use_stat_cache=not no_stat_cache, cancellation=cancellation)


def _load(names: tuple[str, ...], registry: str = "") -> Iterator[Target]:
    for name in names:
        for found in targets.load(name, Path.cwd()):
            yield replace(found, declaration=found.declaration.replaced(registry=registry)) if registry else found


@contextmanager
def _stoppable(cancellation: Cancellation) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop a build under way before they end the program."""

    def stop(number: int, frame: FrameType | None) -> None:
        cancellation.cancel()
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _summary(result: BuildResult) -> str:
    total_s = sum(seconds for _, seconds in result.timings)
    phases = ", ".join(f"{phase} {seconds:.2f} s" for phase, seconds in result.timings)
    return f"{result.outcome.value}: {result.reason}; {total_s:.2f} s ({phases})"


def _result_record(target: Target, result: BuildResult) -> dict[str, Any]:
    return {
        "origin": target.origin,
        "image": str(result.reference),
        "tag": result.reference.tag,
        "digest": str(result.reference.digest),
        "outcome": result.outcome.value,
        "reason": result.reason,
        "builder": result.builder if result.outcome is Outcome.BUILT else None,
        "seconds": {phase: round(seconds, 4) for phase, seconds in result.timings},
    }


def _plan_record(composition: Composition, target: Target, builder: str) -> dict[str, Any]:
    identity = composition.identify(target)
    request = composition.request(target, builder=builder)
    state, detail, _ = _answer(lambda: request.images.resolve(identity.reference))
    problem = _problem(lambda: request.builder.check(identity.plan))
    return {
        "origin": target.origin,
        "image": identity.name,
        "tag": identity.reference.tag,
        "state": state,
        "detail": detail,
        "builder": request.builder.name,
        "problem": problem,
        "base": _base_text(identity),
        "platforms": [str(platform) for platform in identity.plan.platforms],
        "steps": [title_of(step) for step in identity.plan.steps],
        "parts": {name: str(digest) for name, digest in identity.fingerprint.parts},
    }


def _base_text(identity: Identity) -> str:
    if identity.parent is not None:
        return identity.parent.name
    base = identity.plan.base
    return str(getattr(base, "reference", "") or getattr(base, "digest", ""))


def _problem(check: Callable[[], None]) -> str:
    try:
        check()
    except ImageSpecError as error:
        return str(error)
    return ""


_WOULD: Final = {
    "present": "it exists: nothing would be built",
    "absent": "it does not exist: would be built",
    "unknown": "cannot tell whether it exists: would stop",
}


def _plan_text(record: dict[str, Any]) -> str:
    lines = [record["image"], f"  {_WOULD[record['state']]} ({record['builder']})"]
    lines += [f"  {record['detail']}"] if record["detail"] else []
    lines += [f"  problem: {record['problem']}"] if record["problem"] else []
    lines += [f"  base: {record['base']}", f"  platforms: {', '.join(record['platforms'])}", "  steps:"]
    lines += [f"    {number}. {title}" for number, title in enumerate(record["steps"], 1)]
    return "\n".join(lines)


def _lookups(
    composition: Composition, names: tuple[str, ...], registry: str
) -> Iterator[tuple[str, Callable[[], object]]]:
    for name in names:
        reference = targets.reference_of(name, Path.cwd())
        if reference is not None:
            yield str(reference), _lookup(composition.mirrored, reference)
            continue
        for found in _load((name,), registry):
            identity = composition.identify(found)
            images = composition.images_of(found.declaration, identity)
            yield identity.name, _lookup(images, identity.reference)


def _lookup(images: Resolver, reference: Reference) -> Callable[[], object]:
    return lambda: images.resolve(reference)


def _answer(look: Callable[[], object]) -> tuple[str, str, int]:
    """Return state, detail and exit code of one look-up; an error of the registry is "unknown", never a guess."""
    try:
        found = look()
    except ImageSpecError as error:
        return "unknown", f"{error}" + (f" ({error.hint})" if error.hint else ""), 3
    return ("present", "", 0) if found is not None else ("absent", "", ABSENT)
