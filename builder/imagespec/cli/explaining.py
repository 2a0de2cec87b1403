"""The command ``explain``: why a tag is not another tag."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import click

from imagespec.cli import options
from imagespec.cli.naming import loaded, say
from imagespec.cli.session import composed
from imagespec.compose import LABEL_FINGERPRINT, LABEL_RECORD, Composition
from imagespec.errors import InputError, InputMissing, InvalidReference, SpecError
from imagespec.identity import Identity, Target
from imagespec.names import Reference
from imagespec.record import Change, Record, difference, is_shortened, record_of
from imagespec.registry.admin import HttpRegistryAdmin
from imagespec.registry.facts import facts_of
from imagespec.registry.records import pull_record
from imagespec.report import PlainReport
from imagespec.settings import Settings
from imagespec.targets.revisions import checked_out
from imagespec.values import dataclass, replace

__all__ = ["explain"]

_MAX_TAGS_READ = 50
_TAG_OR_DIGEST = re.compile(r"x1-[0-9a-v]{32}.*|sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Earlier:
    """What the target is compared with: its name for people, tag, record, and time; texts are "" when unknown."""

    name: str
    tag: str
    record: Record
    created: str = ""


@click.command(epilog="Example: imagespec explain image.yaml --against HEAD~1")
@click.argument("target")
@click.option(
    "--against",
    default="",
    metavar="WHAT",
    help="A tag, a digest, a file that 'plan --format json' wrote, or a git revision; without it, the last image.",
)
@options.registry
@options.no_stat_cache
@options.format
def explain(target: str, against: str, registry: str, no_stat_cache: bool, form: str) -> None:
    """Say which package, line, variable or file makes the tag differ from an earlier one.

    Without --against, the earlier one is the image last built under this name, as the registry has it.
    """
    composition = composed(Settings.load(), PlainReport(sys.stderr), no_stat_cache)
    for found in loaded((target,), registry):
        identity = composition.identify(found)
        earlier = _earlier(composition, found, identity, target, against)
        changes = difference(earlier.record, record_of(identity.plan)) if earlier else ()
        if form == "json":
            click.echo(json.dumps(_record(identity, earlier, changes)))
        else:
            click.echo("\n".join(_lines(composition, found, identity, earlier, changes)))


def _lines(
    composition: Composition, target: Target, identity: Identity, earlier: _Earlier | None, changes: tuple[Change, ...]
) -> list[str]:
    if earlier is None:
        return [f"{identity.name}: nothing was built under this name yet"]
    lines = [f"{identity.name}", f"  compared with {earlier.name}:"]
    if changes:
        return [*lines, *(f"  {change}" for change in changes)]
    images = composition.images_of(target.declaration, identity)
    if images.resolve(identity.reference) is None:
        where = "on this machine" if identity.is_local else "in the registry"
        return [*lines, f"  unchanged, but the image is no longer {where}"]
    return [*lines, "  unchanged, and the image is there"]


def _record(identity: Identity, earlier: _Earlier | None, changes: tuple[Change, ...]) -> dict[str, object]:
    listed = [
        {"kind": one.kind.value, "group": one.group, "name": one.name, "before": one.before, "after": one.after}
        for one in changes
    ]
    return {"image": identity.name, "against": earlier.name if earlier else None, "changes": listed}


def _earlier(composition: Composition, target: Target, identity: Identity, name: str, against: str) -> _Earlier | None:
    if not against:
        return _last_built(composition, target, identity)
    if Path(against).is_file():
        return _saved(Path(against), target)
    image = _tag_or_digest(against, identity)
    if image:
        return _labelled(composition, target, identity, image)
    try:
        return _revision(target, identity, name, against)
    except InputError as no_revision:
        # A tag_format makes tags that look like anything.
        try:
            return _labelled(composition, target, identity, against)
        except (InputMissing, InvalidReference):
            raise SpecError(
                f"explain: {against} is no tag, digest, file or git revision", path="against", hint=str(no_revision)
            ) from no_revision


def _tag_or_digest(against: str, identity: Identity) -> str:
    """Return the tag or digest that is meant beyond doubt, "" when it may be something else.

    What ``build`` prints, with the image's name in front, is meant too.
    """
    for prefix in (str(identity.reference.repository), identity.name.rpartition(":")[0]):
        if against.startswith((f"{prefix}:", f"{prefix}@")):
            against = against[len(prefix) + 1 :]
            return against.rpartition("@")[2]
    return against if _TAG_OR_DIGEST.fullmatch(against) else ""


def _last_built(composition: Composition, target: Target, identity: Identity) -> _Earlier | None:
    repository = identity.reference.repository
    known = composition.ledger.entries(repository)
    if known:
        return _Earlier(name=f"{known[0].tag}, built here", tag=known[0].tag, record=known[0].record)
    if identity.is_local:
        return None
    tags = HttpRegistryAdmin(composition.http).tags(repository)[-_MAX_TAGS_READ:]
    images = [one for tag in tags if (one := _image(composition, target, Reference(repository, tag))) is not None]
    timed = [one for one in images if one.created]
    if timed:
        return max(timed, key=lambda one: one.created)
    # Images have no times of their own, so that equal plans have equal bytes: the likeliest to be the last is the one
    # that differs least.
    record = record_of(identity.plan)
    nearest = min(images, key=lambda one: len(difference(one.record, record)), default=None)
    return replace(nearest, name=f"{nearest.tag}, the nearest of {len(images)}") if nearest is not None else None


def _labelled(composition: Composition, target: Target, identity: Identity, tag: str) -> _Earlier:
    for entry in composition.ledger.entries(identity.reference.repository):
        if entry.tag == tag:
            return _Earlier(name=tag, tag=tag, record=entry.record)
    separator = "@" if ":" in tag else ":"
    reference = Reference.parse(f"{identity.reference.repository}{separator}{tag}")
    if composition.registry_of(target.declaration).resolve(reference) is None:
        raise InputMissing(f"explain: {reference} is not in the registry", path=tag, hint="imagespec exists says why")
    image = _image(composition, target, reference)
    if image is None:
        raise SpecError(
            f"explain: {reference} carries no record of how it was built",
            path=tag,
            hint="compare with an image that imagespec built, a saved plan or a git revision",
        )
    return image


def _image(composition: Composition, target: Target, reference: Reference) -> _Earlier | None:
    """Return what an image in the registry says of how it was built, None when it says nothing.

    A record that was too large for a label is looked for beside the image.
    """
    registry = composition.registry_of(target.declaration)
    facts = facts_of(registry, reference)
    if facts is None or LABEL_RECORD not in facts.labels:
        return None
    record, created = json.loads(facts.labels[LABEL_RECORD]), ""
    is_short = is_shortened(record)
    found = registry.resolve(reference) if is_short or composition.settings.pushes_records else None
    if found is not None:
        admin = HttpRegistryAdmin(composition.http)
        kept = pull_record(registry, admin, reference.repository, found.digest)
        record, created = (kept.record, kept.created) if kept is not None else (record, created)
    tag = reference.tag or facts.labels.get(LABEL_FINGERPRINT, "")
    return _Earlier(name=reference.tag or str(reference), tag=tag, record=record, created=created)


def _saved(path: Path, target: Target) -> _Earlier:
    """Return the target's plan from a saved file: the one of the same origin, where it holds several."""
    try:
        plans = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        value = next((one for one in plans if one["origin"] == target.origin), plans[0] if len(plans) == 1 else None)
        if value is None:
            raise SpecError(
                f"explain: {path} holds no plan of {target.origin}", path=str(path), hint="save the plan of this target"
            )
        return _Earlier(name=str(path), tag=value["tag"], record=value["record"])
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        hint = "write it with: imagespec plan TARGET --format json > FILE"
        raise SpecError(f"explain: {path} is not a saved plan", path=str(path), hint=hint) from error


def _revision(target: Target, identity: Identity, name: str, revision: str) -> _Earlier:
    """Return the same target as a git revision had it; raise InputError when there is no such revision."""
    with checked_out(Path.cwd(), revision) as here:
        program = [sys.executable, "-m", "imagespec", "plan", name, "--offline", "--format", "json"]
        done = subprocess.run(program, cwd=here, capture_output=True, text=True, check=False)
    if done.returncode:
        say(done.stderr.strip())
        raise SpecError(
            f"explain: {name} could not be planned as of {revision}", path=revision, hint="compare with another one"
        )
    for line in done.stdout.splitlines():
        value = json.loads(line)
        if value["origin"] == target.origin:
            return _Earlier(name=revision, tag=value["tag"], record=value["record"])
    raise SpecError(
        f"explain: {identity.name} was not there as of {revision}", path=revision, hint="compare with another one"
    )
