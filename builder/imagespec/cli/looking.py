"""The commands that only look: ``plan``, ``exists``, ``dockerfile``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, Final

import click

from imagespec.cli import options
from imagespec.cli.existence import look_ups
from imagespec.cli.listing import file_lines, file_records, listed, warnings
from imagespec.cli.naming import found as named
from imagespec.cli.naming import loaded, raise_problems, say
from imagespec.cli.overview import drawing, notes, overview, table
from imagespec.cli.resolving import resolution_of
from imagespec.cli.session import composed
from imagespec.compose import Composition, dockerfile_template
from imagespec.dockerfile import render, title_of
from imagespec.errors import ImageSpecError
from imagespec.flyte_tags.stand_ins import look_up_stand_ins
from imagespec.identity import Identity, Target
from imagespec.record import record_of
from imagespec.registry.many import LookUp, resolve_many
from imagespec.report import PlainReport
from imagespec.settings import Settings

__all__ = ["dockerfile", "exists", "plan"]

ABSENT: Final = 1


@click.command(epilog="Example: imagespec plan image.yaml --format json")
@options.target
@options.registry
@options.builder
@click.option("--offline", is_flag=True, help="Ask no registry and no engine whether the image exists.")
@click.option("--graph", type=click.Choice(["mermaid", "svg"]), help="Draw which image is based on which.")
@click.option("--files", is_flag=True, help="List what would be sent, largest first, and why; warn of unwanted files.")
@click.option(
    "--resolved", is_flag=True, help="List packages and hashes: those that the image has, or as they resolve now."
)
@options.no_stat_cache
@options.format
def plan(
    target: tuple[str, ...],
    registry: str,
    builder: str,
    offline: bool,
    graph: str | None,
    files: bool,
    resolved: bool,
    no_stat_cache: bool,
    form: str,
) -> None:
    """Show what would be built, and why; nothing is built or written.

    Several images are shown as a table. "size to push" is what would be pushed at the most, before compression; "?"
    stands for packages and commands, whose size is only known once they are built.
    """
    settings = Settings.load()
    composition = composed(settings, PlainReport(sys.stderr), no_stat_cache)
    findings = named(target, settings, registry)
    if graph or (len(findings.targets) > 1 and form == "text" and not (files or resolved)):
        rows = overview(composition, findings.targets, builder, offline=offline)
        click.echo(drawing(rows, graph) if graph else "\n".join(table(rows)))
        for line in notes(rows) if not graph else ():
            say(line)
        raise_problems(findings)
        return
    for found in findings.targets:
        if files:
            _tell_files(composition, found, form, is_one_of_many=len(findings.targets) > 1)
            continue
        if resolved and form == "text":
            click.echo("\n".join(resolution_of(composition, found, offline=offline).lines()))
            continue
        record = _plan_record(composition, found, builder, offline)
        if resolved:
            record["resolved"] = resolution_of(composition, found, offline=offline).record()
        click.echo(json.dumps(record) if form == "json" else _plan_text(record))
    raise_problems(findings)


@click.command(epilog="Example: imagespec exists image.yaml ghcr.io/team/etl:v1")
@options.target
@options.registry
@options.no_stat_cache
@options.format
def exists(target: tuple[str, ...], registry: str, no_stat_cache: bool, form: str) -> None:
    """Say whether images exist: exit 0 if all do, 1 if one is absent, 3 if it cannot be told.

    A target may also be an image reference, such as ghcr.io/team/etl:v1.
    """
    report = PlainReport(sys.stderr)
    composition = composed(Settings.load(), report, no_stat_cache)
    worst = 0
    told: set[int] = set()
    for name, look in look_ups(composition, target, registry, report):
        state, detail, code = _answer(look)
        if look.descriptor is not None and look.reference.tag not in (None, name.rpartition(":")[2].partition("@")[0]):
            detail = f"as flytekit's {look.reference}"
        worst = max(worst, code)
        if form == "json":
            click.echo(json.dumps({"image": name, "state": state, "detail": detail}))
        else:
            click.echo(f"{state}\t{name}" + (f"\t{detail}" if detail and id(look.error) not in told else ""))
        told.add(id(look.error))  # a host that does not answer is one error for all of its references
    sys.exit(worst)


@click.command(epilog="Example: imagespec dockerfile image.yaml > Dockerfile")
@options.target
@options.no_stat_cache
def dockerfile(target: tuple[str, ...], no_stat_cache: bool) -> None:
    """Print the Dockerfile that the buildkit builder would use."""
    composition = composed(Settings.load(), PlainReport(sys.stderr), no_stat_cache)
    for found in loaded(target):
        mounts = found.declaration.pip_secret_mounts or ()
        rendering = render(composition.identify(found).plan, dockerfile_template(), [target for _, target in mounts])
        click.echo(rendering.dockerfile, nl=False)


def _tell_files(composition: Composition, target: Target, form: str, *, is_one_of_many: bool) -> None:
    identity = composition.identify(target)
    files = listed(identity.plan, composition.workspace.imported_by(target.declaration, target.modules))
    if form == "json":
        click.echo(json.dumps({"origin": target.origin, "image": identity.name, "files": file_records(files)}))
        return
    title = [identity.name] if is_one_of_many else []
    click.echo("\n".join([*title, *file_lines(files)]))
    for line in warnings(files):
        say(line)


def _plan_record(composition: Composition, target: Target, builder: str, offline: bool) -> dict[str, Any]:
    identity = composition.identify(target)
    request = composition.request(target, builder=builder)
    made = request.builder
    state, detail = "unasked", ""
    if not offline:
        (look,) = resolve_many(composition.images_of(target.declaration, identity), [identity.reference])
        state, detail, _ = _answer(look)
        if state == "absent" and request.stand_in is not None:
            other = look_up_stand_ins([request.stand_in], PlainReport(sys.stderr)).get(identity.reference)
            state, detail = _stood_in(other) if other is not None else (state, detail)
    problem = _problem(lambda: made.check(identity.plan))
    return {
        "origin": target.origin,
        "image": identity.name,
        "tag": identity.reference.tag,
        "state": state,
        "detail": detail,
        "builder": made.name,
        "problem": problem,
        "base": _base_text(identity),
        "platforms": [str(platform) for platform in identity.plan.platforms],
        "steps": [title_of(step) for step in identity.plan.steps],
        "parts": {name: str(digest) for name, digest in identity.fingerprint.parts},
        "record": record_of(identity.plan),
    }


def _stood_in(look: LookUp) -> tuple[str, str]:
    state, detail, _ = _answer(look)
    return state, detail or f"as flytekit's {look.reference}"


def _base_text(identity: Identity) -> str:
    if identity.parent is not None:
        return identity.parent.name
    base = identity.plan.base
    return str(getattr(base, "reference", "") or getattr(base, "digest", ""))


def _problem(check: Callable[[], None]) -> str:
    try:
        check()
    except ImageSpecError as error:
        return str(error)
    return ""


_WOULD: Final = {
    "present": "it exists: nothing would be built",
    "absent": "it does not exist: would be built",
    "unasked": "nobody was asked whether it exists",
    "unknown": "cannot tell whether it exists: would stop",
}


def _plan_text(record: dict[str, Any]) -> str:
    lines = [record["image"], f"  {_WOULD[record['state']]} ({record['builder']})"]
    lines += [f"  {record['detail']}"] if record["detail"] else []
    lines += [f"  problem: {record['problem']}"] if record["problem"] else []
    lines += [f"  base: {record['base']}", f"  platforms: {', '.join(record['platforms'])}", "  steps:"]
    lines += [f"    {number}. {title}" for number, title in enumerate(record["steps"], 1)]
    return "\n".join(lines)


def _answer(look: LookUp) -> tuple[str, str, int]:
    """Return state, detail and exit code of one look-up; an error of the registry is "unknown", never a guess."""
    if look.error is not None:
        return "unknown", f"{look.error}" + (f" ({look.error.hint})" if look.error.hint else ""), 3
    return ("present", "", 0) if look.descriptor is not None else ("absent", "", ABSENT)
