"""``imagespec build``."""

from __future__ import annotations

import sys
import time

import click

from imagespec.batch import Ending, ensure_all
from imagespec.builders import Cancellation
from imagespec.cli import options
from imagespec.cli.session import composed, loaded, stoppable
from imagespec.cli.summary import exit_code, result_line, tell
from imagespec.compose import Composition, Target
from imagespec.events import Emit
from imagespec.report import reporting
from imagespec.resources import default_jobs
from imagespec.settings import Settings

__all__ = ["build"]


@click.command(epilog="Example: imagespec build image.yaml")
@options.target
@options.registry
@options.builder
@click.option("--force", is_flag=True, help="Build even when the image exists.")
@options.jobs
@options.no_stat_cache
@options.format
def build(
    target: tuple[str, ...],
    registry: str,
    builder: str,
    force: bool,
    jobs: int | None,
    no_stat_cache: bool,
    form: str,
) -> None:
    """Make sure that the images exist: look them up all together, build and push what is absent.

    stdout: the reference with tag and digest, one a line, in the order of the targets.
    """
    settings = Settings.load()
    cancellation = Cancellation()
    live = sys.stderr.isatty() and not settings.ci
    with stoppable(cancellation), reporting(sys.stderr, live=live, no_color=settings.no_color) as emit:
        composition = composed(settings, emit, no_stat_cache, cancellation)
        found = list(loaded(target, registry))
        started = time.monotonic()
        endings = _ensured(composition, found, builder, force, jobs or default_jobs(), emit)
    tell(endings, time.monotonic() - started)
    for one, ending in zip(found, endings, strict=True):
        line = result_line(one.origin, ending, form)
        if line:
            click.echo(line)
    sys.exit(exit_code(endings))


def _ensured(
    composition: Composition, found: list[Target], builder: str, force: bool, jobs: int, emit: Emit
) -> tuple[Ending, ...]:
    requests = [composition.request(one, builder=builder, is_forced=force) for one in found]
    return ensure_all(
        requests,
        composition.workspace,
        emit=emit,
        clock=time.monotonic,
        jobs=jobs,
        locks=composition.locks,
        cancellation=composition.cancellation,
    )
