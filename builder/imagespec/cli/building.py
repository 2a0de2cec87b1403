"""``imagespec build``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from imagespec.cli import options
from imagespec.cli.run import Run, Wishes

__all__ = ["build"]


@click.command(epilog="Example: imagespec build image.yaml")
@options.target
@options.registry
@options.builder
@click.option("--force", is_flag=True, help="Build even when the image exists.")
@options.jobs
@options.events
@options.builder_instance
@options.no_stat_cache
@options.copy
@click.option(
    "--archive",
    type=click.Path(path_type=Path),
    default=None,
    metavar="FILE",
    help="Write the image, built or not, to a file for docker load and podman load too.",
)
@options.format
def build(target: tuple[str, ...], form: str, builder_instance: tuple[str, ...], **wishes: Any) -> None:
    """Make sure that the images exist: look them up all together, build and push what is absent.

    stdout: the reference with tag and digest, one a line, in the order of the targets.
    """
    run = Run(target, Wishes(builder_instances=builder_instance, **wishes))
    run.ensure()
    run.tell()
    for line in run.result_lines(form):
        click.echo(line)
    sys.exit(run.exit_code)
