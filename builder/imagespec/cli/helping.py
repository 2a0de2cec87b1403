"""The commands that help people set things up: ``doctor``, ``schema``."""

from __future__ import annotations

import json
import sys
from typing import Final

import click

from imagespec.cli import options
from imagespec.cli.session import composed
from imagespec.doctor import Finding, State, examine
from imagespec.schema import json_schema
from imagespec.settings import Settings

__all__ = ["doctor", "schema"]

NOT_WELL: Final = 1


@click.command(epilog="Example: imagespec doctor ghcr.io localhost:5000")
@click.argument("registry", nargs=-1)
@options.format
def doctor(registry: tuple[str, ...], form: str) -> None:
    """Look at what a build needs on this machine, and say how to mend what is wrong.

    REGISTRY is a host to ask too. Exit code: 0 all is well, 1 something is in the way.
    """
    worst = 0
    for finding in examine(composed(Settings.load()), registry):
        worst = max(worst, NOT_WELL if finding.state is State.BAD else 0)
        click.echo(json.dumps(_record(finding)) if form == "json" else _text(finding))
    sys.exit(worst)


@click.command(epilog="Example: imagespec schema > imagespec.schema.json")
def schema() -> None:
    """Print the JSON Schema of spec files, for completion and checks in editors.

    In VS Code and others, the first line of image.yaml then is:
    # yaml-language-server: $schema=imagespec.schema.json
    """
    click.echo(json.dumps(json_schema(), indent=2))


def _record(finding: Finding) -> dict[str, str]:
    return {
        "subject": finding.subject,
        "state": finding.state.value,
        "detail": finding.detail,
        "fix": finding.fix,
    }


def _text(finding: Finding) -> str:
    line = f"{finding.state.value:<5} {finding.subject}: {finding.detail}"
    return f"{line}\n      fix: {finding.fix}" if finding.fix else line
