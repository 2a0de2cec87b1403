"""The command ``tag``, by itself: it is asked often, and waits for nothing that builds or looks up."""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module

import click

from imagespec.cli import options
from imagespec.cli.naming import loaded
from imagespec.identity import identify, workspace_of
from imagespec.report import PlainReport
from imagespec.settings import Settings
from imagespec.values import replace

__all__ = ["tag"]


@click.command(epilog="Example: imagespec tag image.yaml --short")
@options.target
@options.registry
@click.option("--short", is_flag=True, help="Only the tag, without registry and name.")
@click.option("--flyte", is_flag=True, help="The tag that flytekit 1.16 gives the same spec, where it can be told.")
@options.no_stat_cache
@options.format
def tag(target: tuple[str, ...], registry: str, short: bool, flyte: bool, no_stat_cache: bool, form: str) -> None:
    """Print the image's name and tag. Nobody is asked: it follows from the spec and the files it names."""
    settings = Settings.load()
    workspace = workspace_of(settings, os.getcwd(), PlainReport(sys.stderr), use_stat_cache=not no_stat_cache)
    for found in loaded(target, registry):
        identity = identify(found, workspace)
        if flyte:
            names = import_module("imagespec.flyte_tags.names")
            identity = replace(identity, reference=names.flyte_reference(found, identity, workspace))
        if form == "json":
            click.echo(json.dumps({"origin": found.origin, "image": identity.name, "tag": identity.reference.tag}))
        else:
            click.echo(identity.reference.tag if short else identity.name)
