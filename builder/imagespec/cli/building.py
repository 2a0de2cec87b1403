"""``imagespec build``."""

from __future__ import annotations

import sys

import click

from imagespec.cli import options
from imagespec.cli.run import Run

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
    run = Run(target, registry=registry, builder=builder, force=force, jobs=jobs, no_stat_cache=no_stat_cache)
    run.carry_out()
    run.tell()
    for line in run.result_lines(form):
        click.echo(line)
    sys.exit(run.exit_code)
