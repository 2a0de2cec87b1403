"""What the command line names: specs, loaded; and what is said of those that cannot be. Imports no builder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from imagespec.identity import Target
from imagespec.report import error_lines
from imagespec.settings import Settings
from imagespec.targets import named as targets
from imagespec.targets.named import Findings
from imagespec.values import replace

__all__ = ["found", "loaded", "raise_problems", "say", "with_copy_mode"]


def say(line: str) -> None:
    """Write one line to stderr."""
    click.echo(line, err=True)


def found(names: tuple[str, ...], settings: Settings, registry: str = "") -> Findings:
    """Return what the command line names, with ``registry`` in place of the specs' own where it is given."""
    findings = targets.find(names, Path.cwd(), settings.import_limit_s, settings.exclude)
    if not registry:
        return findings
    moved = (replace(one, declaration=one.declaration.replaced(registry=registry)) for one in findings.targets)
    return replace(findings, targets=tuple(moved))


def loaded(names: tuple[str, ...], registry: str = "") -> Iterator[Target]:
    """Yield the specs that the command line names; after them, raise the first problem of those that have none."""
    findings = found(names, Settings.load(), registry)
    yield from findings.targets
    raise_problems(findings)


def with_copy_mode(target: Target, copy: str) -> Target:
    """Return the target with what ``--copy`` says, itself when that was not given ("")."""
    return target.with_code(is_sent_beside=copy != "none") if copy else target


def raise_problems(findings: Findings) -> None:
    """Raise the first problem of what was named, after having said the others; return when there is none."""
    for problem in findings.problems[1:]:
        for line in error_lines(problem):
            say(line)
    if findings.problems:
        raise findings.problems[0]
