"""The command ``explain``: why a tag is not another tag."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from imagespec.cli import options
from imagespec.cli.naming import loaded, say
from imagespec.cli.session import composed
from imagespec.compose import LABEL_FINGERPRINT, LABEL_RECORD, Composition
from imagespec.errors import InputMissing, SpecError
from imagespec.identity import Identity, Target
from imagespec.names import Reference
from imagespec.record import Change, Record, difference, record_of
from imagespec.registry.admin import HttpRegistryAdmin
from imagespec.registry.facts import facts_of
from imagespec.report import PlainReport
from imagespec.settings import Settings
from imagespec.values import dataclass

__all__ = ["explain"]

_MAX_TAGS_READ = 50
_TAG_OR_DIGEST = re.compile(r"x1-[0-9a-v]{32}.*|sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Earlier:
    """What the target is compared with: its name for people, its tag ("" when unknown) and its record."""

    name: str
    tag: str
    record: Record


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
        return _saved(Path(against))
    if _TAG_OR_DIGEST.fullmatch(against):
        return _labelled(composition, target, identity, against)
    return _revision(composition, target, identity, name, against)


def _last_built(composition: Composition, target: Target, identity: Identity) -> _Earlier | None:
    repository = identity.reference.repository
    known = composition.ledger.entries(repository)
    if known:
        return _Earlier(name=f"{known[0].tag}, built here", tag=known[0].tag, record=known[0].record)
    if identity.is_local:
        return None
    tags = HttpRegistryAdmin(composition.http).tags(repository)[-_MAX_TAGS_READ:]
    newest: tuple[str, _Earlier] | None = None
    for tag in tags:
        facts = facts_of(composition.registry_of(target.declaration), Reference(repository, tag))
        if facts is None or LABEL_RECORD not in facts.labels or (newest and facts.created <= newest[0]):
            continue
        newest = (facts.created, _Earlier(name=tag, tag=tag, record=json.loads(facts.labels[LABEL_RECORD])))
    return newest[1] if newest else None


def _labelled(composition: Composition, target: Target, identity: Identity, tag: str) -> _Earlier:
    for entry in composition.ledger.entries(identity.reference.repository):
        if entry.tag == tag:
            return _Earlier(name=tag, tag=tag, record=entry.record)
    separator = "@" if ":" in tag else ":"
    reference = Reference.parse(f"{identity.reference.repository}{separator}{tag}")
    facts = facts_of(composition.registry_of(target.declaration), reference)
    if facts is None:
        raise InputMissing(f"explain: {reference} is not in the registry", path=tag, hint="imagespec exists says why")
    if LABEL_RECORD not in facts.labels:
        raise SpecError(f"explain: {reference} carries no record of how it was built", path=tag)
    return _Earlier(
        name=str(reference), tag=facts.labels.get(LABEL_FINGERPRINT, ""), record=json.loads(facts.labels[LABEL_RECORD])
    )


def _saved(path: Path) -> _Earlier:
    try:
        value = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
        return _Earlier(name=str(path), tag=value["tag"], record=value["record"])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        hint = "write it with: imagespec plan TARGET --format json > FILE"
        raise SpecError(f"explain: {path} is not a saved plan", path=str(path), hint=hint) from error


def _revision(composition: Composition, target: Target, identity: Identity, name: str, revision: str) -> _Earlier:
    """Return the same target as a git revision had it, from a copy of that tree in a temporary folder."""
    top = Path(_git(revision, "rev-parse", "--show-toplevel").strip())
    commit = _git(revision, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}").strip()
    with tempfile.TemporaryDirectory(prefix="imagespec-explain-") as folder:
        archive = Path(folder, "tree.tar")
        _git(revision, "-C", str(top), "archive", "--format=tar", f"--output={archive}", commit)
        tree = Path(folder, "tree")
        tree.mkdir()
        subprocess.run(["tar", "-xf", str(archive), "-C", str(tree)], check=True)
        here = tree / Path.cwd().resolve().relative_to(top.resolve())
        program = [sys.executable, "-m", "imagespec", "plan", name, "--offline", "--format", "json"]
        done = subprocess.run(program, cwd=here, capture_output=True, text=True, check=False)
        if done.returncode:
            say(done.stderr.strip())
            raise SpecError(f"explain: {name} could not be planned as of {revision}", path=revision)
        for line in done.stdout.splitlines():
            value = json.loads(line)
            if value["origin"] == target.origin:
                return _Earlier(name=f"{revision} ({commit[:10]})", tag=value["tag"], record=value["record"])
    raise SpecError(f"explain: {identity.name} was not there as of {revision}", path=revision)


def _git(revision: str, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise SpecError("explain: git is not on the PATH", path="against") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise SpecError(
            f"explain: {revision} is no tag, digest, file or git revision",
            path="against",
            hint=said[-1] if said else "",
        )
    return done.stdout
