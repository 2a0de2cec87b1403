"""``imagespec report``: one page about a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from imagespec.cli.naming import say
from imagespec.cli.session import composed
from imagespec.cli.writing import write_whole
from imagespec.errors import ImageSpecError, InputMissing, SpecError
from imagespec.names import Reference
from imagespec.registry import Registry
from imagespec.registry.layers import Layers, layers_of_each
from imagespec.report.page import page
from imagespec.report.run_record import last_run
from imagespec.settings import Settings

__all__ = ["report"]

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
    write_whole(Path(output), text)
    click.echo(output)


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


def _layers(run: dict[str, Any], registry: Registry) -> dict[str, Layers]:
    names = {Reference.parse(one["reference"]): one["image"] for one in run["timeline"] if one["reference"]}
    found: dict[str, Layers] = {}
    told: set[str] = set()
    for reference, listed in layers_of_each((registry, reference) for reference in names):
        if not isinstance(listed, ImageSpecError):
            found[names[reference]] = listed
        elif str(listed) not in told:
            told.add(str(listed))
            say(f"warning: {listed}: its layers are not shown")
    return found
