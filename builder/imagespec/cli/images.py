"""``imagespec images``."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from imagespec.errors import SettingsError

__all__ = ["images"]


@click.command(epilog="Example: imagespec images --pkgs workflows --format image-config")
@click.option("--pkgs", "-k", multiple=True, required=True, metavar="PACKAGE", help="A package of workflows to load.")
@click.option(
    "--source",
    default=".",
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
    help="The folder that holds the packages.",
)
@click.option(
    "--copy",
    type=click.Choice(["all", "auto", "none"]),
    default="none",
    show_default=True,
    help="As for pyflyte: none puts the code into the images, the others send it beside them.",
)
@click.option("--build", is_flag=True, help="Build and push the images that are absent.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "image-config"]),
    default="text",
    show_default=True,
    help="Lines of id=image, as pyflyte's --image takes them, or flytekit's ImageConfig as JSON.",
)
def images(pkgs: tuple[str, ...], source: Path, copy: str, build: bool, form: str) -> None:
    """List the images that flytekit's tasks need, with the names that pyflyte would register."""
    if find_spec("flytekit") is None:
        raise SettingsError(
            "images: flytekit is not installed", variable="flytekit", hint="pip install 'imagespec-builder[flyte]'"
        )
    # Only who has flytekit has this module.
    listing: Any = import_module("imagespec.flyte.listing")
    config = listing.image_config(pkgs, str(source), is_fast=copy != "none", build=build)
    if form == "image-config":
        click.echo(config.to_json())
    else:
        for image in config.images:
            click.echo(f"{image.name}={image.full}")
