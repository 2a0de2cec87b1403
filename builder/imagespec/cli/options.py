"""The options and arguments that several commands share."""

from __future__ import annotations

from typing import Final

import click

__all__ = ["builder", "builder_instance", "copy", "events", "format", "jobs", "no_stat_cache", "registry", "target"]

format: Final = click.option(  # noqa: A001
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="What stdout carries.",
)
target: Final = click.argument("target", nargs=-1, required=True)
no_stat_cache: Final = click.option(
    "--no-stat-cache", is_flag=True, help="Read every file, trust no remembered digest."
)
registry: Final = click.option(
    "--registry", default="", metavar="PREFIX", help="Use this registry (host[:port][/path]), whatever the spec says."
)
builder: Final = click.option(
    "--builder", default="", metavar="NAME", help="Build with this builder, whatever the spec says."
)
jobs: Final = click.option(
    "--jobs",
    "-j",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    help="Builds at once; without it as many as CPUs and free memory allow.",
)
events: Final = click.option(
    "--events",
    type=click.Choice(["json-lines"]),
    default=None,
    callback=lambda context, parameter, value: value or "",
    help="Make stderr carry events for tools, one JSON object a line, instead of talk.",
)
copy: Final = click.option(
    "--copy",
    type=click.Choice(["all", "auto", "none"]),
    default=None,
    callback=lambda context, parameter, value: value or "",
    help="As pyflyte's: none puts the project's code into the images, all and auto are for code that is sent beside "
    "them. Without it specs are taken as they stand.",
)
builder_instance: Final = click.option(
    "--builder-instance",
    multiple=True,
    metavar="NAME",
    help="A buildx builder to build with (docker buildx ls); given several times, builds are spread over them.",
)
