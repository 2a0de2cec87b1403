"""``imagespec build``."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

from imagespec.builders import Cancellation
from imagespec.cli import options
from imagespec.cli.session import composed, loaded, say, stoppable
from imagespec.compose import Target
from imagespec.ensure import BuildResult, Outcome, ensure
from imagespec.report import reporting
from imagespec.settings import Settings

__all__ = ["build"]


@click.command(epilog="Example: imagespec build image.yaml")
@options.target
@options.registry
@options.builder
@click.option("--force", is_flag=True, help="Build even when the image exists.")
@options.no_stat_cache
@options.format
def build(target: tuple[str, ...], registry: str, builder: str, force: bool, no_stat_cache: bool, form: str) -> None:
    """Make sure that the image exists: look it up, build and push it if it is absent.

    stdout: the reference with tag and digest, one a line.
    """
    settings = Settings.load()
    cancellation = Cancellation()
    live = sys.stderr.isatty() and not settings.ci
    with stoppable(cancellation), reporting(sys.stderr, live=live, no_color=settings.no_color) as emit:
        composition = composed(settings, emit, no_stat_cache, cancellation)
        for found in loaded(target, registry):
            request = composition.request(found, builder=builder, is_forced=force)
            result = ensure(request, composition.workspace, emit=emit, clock=time.monotonic)
            say(_summary(result))
            click.echo(json.dumps(_result_record(found, result)) if form == "json" else str(result.reference))


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
