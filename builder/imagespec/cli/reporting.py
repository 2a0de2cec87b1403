"""``imagespec report``: one page about a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from imagespec.cli.session import composed, say
from imagespec.errors import ImageSpecError, InputMissing, SettingsError, SpecError
from imagespec.names import Reference
from imagespec.registry import Registry
from imagespec.report.page import page
from imagespec.settings import Settings

__all__ = ["last_run", "layers_of", "report"]

_TEMPLATE = Path(__file__).parents[1] / "templates" / "report.html"


@click.command(epilog="Example: imagespec report --output report.html")
@click.argument("run", required=False, type=click.Path(dir_okay=False))
@click.option("--output", "-o", default="imagespec-report.html", show_default=True, metavar="FILE")
@click.option("--offline", is_flag=True, help="Do not ask the registry for layers.")
def report(run: str | None, output: str, offline: bool) -> None:
    """Write one self-contained HTML page about a run: graph, timeline, layers.

    RUN is the JSON report of warm (--report FILE); without it the last build or warm of this machine is shown.
    """
    settings = Settings.load()
    value = _read(Path(run) if run else last_run(settings))
    layers = {} if offline else _layers(value, composed(settings).registry)
    text = page(value, layers, _TEMPLATE.read_text(encoding="utf-8"))
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"write {output}: {(error.strerror or str(error)).lower()}", variable="output") from error
    click.echo(output)


def last_run(settings: Settings) -> Path:
    """Return where the last run of this machine is kept."""
    return settings.cache_dir / "runs" / "last.json"


def _read(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        hint = "run imagespec build or warm first, or name the file of warm --report"
        raise InputMissing(f"read {file}: there is no such run", path=str(file), hint=hint) from error
    except (OSError, ValueError) as error:
        raise SpecError(f"read {file}: {error}", path=str(file)) from error
    if not isinstance(value, dict) or "timeline" not in value:
        raise SpecError(f"read {file}: not the report of a run", path=str(file))
    return value


def _layers(run: dict[str, Any], registry: Registry) -> dict[str, list[tuple[str, int]]]:
    found: dict[str, list[tuple[str, int]]] = {}
    for image in run["timeline"]:
        if not image["reference"]:
            continue
        try:
            found[image["image"]] = layers_of(registry, Reference.parse(image["reference"]))
        except ImageSpecError as error:
            say(f"warning: {error}: its layers are not shown")
    return found


def layers_of(registry: Registry, reference: Reference) -> list[tuple[str, int]]:
    """Return (digest, size in bytes) of the image's layers, of all its platforms; raise RegistryError."""
    manifest = registry.read_manifest(reference)
    if manifest is None:
        return []
    if manifest.is_index:
        parts = [Reference(reference.repository, None, child.digest) for child in manifest.manifests]
        return [layer for part in parts for layer in layers_of(registry, part)]
    return [(str(layer.digest), layer.size_bytes) for layer in manifest.layers]
