"""``imagespec prune``: deletes images that no target needs any more."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Final

import click

from imagespec.cli import options
from imagespec.cli.naming import say, with_copy_mode
from imagespec.cli.session import composed
from imagespec.compose import LABEL_FINGERPRINT, Composition
from imagespec.errors import ImageSpecError, SpecError
from imagespec.fingerprint import environment_reference
from imagespec.identity import Identity, Target
from imagespec.names import Digest, Reference, Repository
from imagespec.oci import DOCKER_INDEX, OCI_INDEX
from imagespec.pruning import Verdict, verdicts
from imagespec.registry.admin import HttpRegistryAdmin
from imagespec.registry.facts import facts_of
from imagespec.registry.many import resolve_many
from imagespec.registry.records import delete_with_records
from imagespec.registry.referrers import is_fallback
from imagespec.report import error_lines
from imagespec.settings import Settings
from imagespec.sightings import Sightings
from imagespec.targets import named as targets
from imagespec.targets.revisions import checked_out
from imagespec.values import replace
from imagespec.workers import results

__all__ = ["prune"]

_DAY_S: Final = 86_400.0
_AT_ONCE: Final = 8


@click.command(epilog="Example: imagespec prune workflows --revision main --revision v1.4 --keep-days 30")
@options.target
@options.registry
@click.option("--revision", multiple=True, metavar="REV", help="A git revision whose images are needed, too.")
@click.option("--repository", multiple=True, metavar="REPO", help="Look here instead of where the targets' images go.")
@click.option("--keep-days", type=click.FloatRange(min=0), default=14.0, show_default=True, metavar="N")
@options.copy
@click.option("--yes", is_flag=True, help="Delete. Without it nothing is changed, only listed.")
@options.format
def prune(
    target: tuple[str, ...],
    registry: str,
    revision: tuple[str, ...],
    repository: tuple[str, ...],
    keep_days: float,
    copy: str,
    yes: bool,
    form: str,
) -> None:
    """Delete the images of a repository that no TARGET needs, neither here nor at the given git revisions.

    Only images that imagespec made go, only those older than --keep-days, and a digest only when none of its tags is
    needed, or was given by somebody else. Targets are taken as build and warm take them: give the same --registry and
    --copy. Ages are counted from when this machine built or first saw a tag: a tag seen for the first time stays.
    stdout: a line a digest: deleted, would delete, or kept with the reason.
    """
    settings = Settings.load()
    composition = composed(settings)
    needed = set(_needed(settings, target, registry, copy, revision))
    repositories = sorted({Repository.parse(name) for name in repository} or {one.repository for one in needed})
    count = 0
    for place in repositories:
        for verdict in _judged(composition, place, needed, keep_days * _DAY_S):
            count += verdict.may_go
            _carry_out(composition, place, verdict, yes, form)
    if count and not yes:
        say(f"{count} would be deleted: nothing was changed; add --yes to delete")
    elif not count:
        say("nothing to delete")


def _needed(
    settings: Settings, names: tuple[str, ...], registry: str, copy: str, revisions: tuple[str, ...]
) -> Iterator[Reference]:
    """Yield every reference that the targets need, here and at the revisions.

    Raise SpecError when one of them cannot be loaded: what it needs would be deleted.
    """
    cwd = Path.cwd()
    for revision in ("", *revisions):
        with checked_out(cwd, revision) if revision else nullcontext(cwd) as folder:
            findings = targets.find(names, folder, settings.import_limit_s)
            composition = Composition(settings, cwd=str(folder))
            problems: list[ImageSpecError] = list(findings.problems)
            for found in findings.targets:
                moved = with_copy_mode(_moved(found, registry), copy)
                try:
                    yield from _references(composition.identify(moved))
                except ImageSpecError as error:
                    problems.append(error)
            _refuse(problems, revision)


def _moved(target: Target, registry: str) -> Target:
    return replace(target, declaration=target.declaration.replaced(registry=registry)) if registry else target


def _refuse(problems: list[ImageSpecError], revision: str) -> None:
    for problem in problems:
        for line in error_lines(problem):
            say(line)
    if problems:
        where = f"at revision {revision}" if revision else "here"
        raise SpecError(
            f"prune: {len(problems)} targets cannot be loaded {where}, so it is not known what they need",
            path="target",
            hint="mend them, or name other targets; nothing was deleted",
        )


def _references(identity: Identity) -> Iterator[Reference]:
    """Yield the image's reference, its environment's, and those of everything it is based on; nothing of local ones."""
    if identity.is_local:
        return
    yield identity.reference
    environment = environment_reference(identity.plan, identity.reference)
    if environment is not None:
        yield environment
    if identity.parent is not None:
        yield from _references(identity.parent)


def _judged(
    composition: Composition, repository: Repository, needed: set[Reference], keep_s: float
) -> tuple[Verdict, ...]:
    now_s = time.time()
    listed = [tag for tag in HttpRegistryAdmin(composition.http).tags(repository) if not is_fallback(tag)]
    tags: dict[str, Digest] = {}
    parts: dict[Digest, str] = {}
    for answer in resolve_many(composition.registry, [Reference(repository, tag) for tag in listed]):
        if answer.error is not None:
            raise answer.error
        if answer.descriptor is not None and answer.reference.tag is not None:
            tags[answer.reference.tag] = answer.descriptor.digest
            if answer.descriptor.media_type in (OCI_INDEX, DOCKER_INDEX):
                parts |= dict.fromkeys(_parts(composition, answer.reference), answer.reference.tag)
    wanted = {one.tag for one in needed if one.repository == repository and one.tag is not None}
    idle = {digest for tag, digest in tags.items() if tag not in wanted}
    answers = results([partial(_is_ours, composition, repository, digest) for digest in idle], _AT_ONCE)
    ours = {digest for digest, is_ours in zip(idle, answers, strict=True) if is_ours}
    built = {entry.tag: entry.time_s for entry in composition.ledger.entries(repository)}
    seen = Sightings(composition.settings.cache_dir / "sightings").first_seen(repository, tags, now_s, built)
    ages_s = {tag: now_s - time_s for tag, time_s in seen.items()}
    return verdicts(tags, needed=wanted, ours=ours, ages_s=ages_s, keep_s=keep_s, parts=parts)


def _parts(composition: Composition, index: Reference) -> Iterator[Digest]:
    """Yield the images that an index lists: deleting one would leave the index with a hole."""
    manifest = composition.registry.read_manifest(index)
    if manifest is not None and manifest.is_index:
        yield from (child.digest for child in manifest.manifests)


def _is_ours(composition: Composition, repository: Repository, digest: Digest) -> bool:
    facts = facts_of(composition.registry, Reference(repository, None, digest))
    return facts is not None and LABEL_FINGERPRINT in facts.labels


def _carry_out(composition: Composition, repository: Repository, verdict: Verdict, yes: bool, form: str) -> None:
    state = "kept"
    if verdict.may_go:
        state = "would delete"
        if yes:
            admin = HttpRegistryAdmin(composition.http)
            delete_with_records(composition.http, admin, repository, verdict.digest)
            state = "deleted"
    name = f"{repository}@{verdict.digest}"
    if form == "json":
        record = {"state": state, "image": name, "tags": verdict.tags, "reason": verdict.reason}
        click.echo(json.dumps(record))
    else:
        click.echo(f"{state}\t{repository}:{','.join(verdict.tags)}\t{verdict.reason}")
    sys.stdout.flush()
