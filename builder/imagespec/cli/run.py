"""One run over many targets: load, identify, look up, build; what ``build`` and ``warm`` have in common."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from imagespec.batch import ensure_all, look_up_all
from imagespec.builders import Builder, Cancellation
from imagespec.builders.cache_export import CacheExportingBuilder
from imagespec.builders.instances import InstancePool, SpreadBuilder, instance_answers
from imagespec.cli.archiving import archive, check_archive
from imagespec.cli.naming import found, say, with_copy_mode
from imagespec.cli.session import composed, stoppable
from imagespec.cli.summary import exit_code, headline, record, result_line, tell
from imagespec.compose import Composition
from imagespec.endings import Ending
from imagespec.ensure import BuildRequest
from imagespec.errors import ImageSpecError
from imagespec.events import Emit
from imagespec.flyte_tags.stand_ins import look_up_stand_ins
from imagespec.identity import Target
from imagespec.names import Reference
from imagespec.push_sizes import PushSizes, push_sizes
from imagespec.registry.many import LookUp
from imagespec.report import error_lines, reporting
from imagespec.report.jsonlines import JsonLinesReport
from imagespec.report.recorder import Recorder
from imagespec.report.run_record import last_run, run_record
from imagespec.resources import default_jobs
from imagespec.settings import Settings
from imagespec.values import dataclass, replace

__all__ = ["Run", "Wishes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the command line asks for besides the targets. ``events`` is "" for talk, or ``json-lines``.

    ``cache_to`` and ``cache_from`` are repositories for the layer cache; ``builder_instances`` buildx builders.
    ``archive`` is a file that the one image is written to.
    """

    registry: str = ""
    builder: str = ""
    force: bool = False
    jobs: int | None = None
    no_stat_cache: bool = False
    events: str = ""
    copy: str = ""
    cache_to: str = ""
    cache_from: tuple[str, ...] = ()
    builder_instances: tuple[str, ...] = ()
    archive: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A target without an image: where it is, and why."""

    origin: str
    error: ImageSpecError

    @property
    def record(self) -> dict[str, Any]:
        """The problem as plain data, like the record of an image."""
        error = {"type": type(self.error).__name__, "message": str(self.error), "hint": self.error.hint}
        return {
            "origin": self.origin,
            "image": "",
            "outcome": "problem",
            "reason": str(self.error),
            "error": error,
        }


class Run:
    """The targets of one command line and what became of them. No target's problem stops the others."""

    def __init__(self, names: tuple[str, ...], wishes: Wishes) -> None:
        self.settings = Settings.load()
        self.problems: list[Problem] = []
        self.targets: list[Target] = []
        self.endings: tuple[Ending, ...] = ()
        self.recorder = Recorder(lambda event: None, clock=time.monotonic)
        self.sizes: PushSizes | None = None
        self.total_s = 0.0
        self.jobs = wishes.jobs or default_jobs()
        names_of_instances = wishes.builder_instances
        self.pool = (
            InstancePool(names_of_instances, partial(instance_answers, "docker")) if names_of_instances else None
        )
        self._names = names
        self._wishes = wishes
        self._lines: JsonLinesReport | None = None

    def ensure(self) -> None:
        """Make sure that every image is there; what went wrong is in ``problems`` and ``endings``."""
        with self._composed() as (composition, emit):
            requests = list(self._requests(composition))
            if self._wishes.archive is not None:
                check_archive(self._wishes.archive, requests)
            self.endings = ensure_all(
                requests,
                composition.workspace,
                emit=emit,
                clock=time.monotonic,
                jobs=self.jobs,
                locks=composition.locks,
                cancellation=composition.cancellation,
            )
            self.sizes = push_sizes(
                self.endings,
                self.recorder.images,
                earlier=partial(_earlier, composition),
                locate=composition.locate,
            )
            if self._wishes.archive is not None:
                archive(self._wishes.archive, self.endings)
        self._keep()

    def run_record(self) -> dict[str, Any]:
        """Return the whole run as plain data."""
        return run_record(
            self.records(),
            self.endings,
            self.recorder.images,
            total_s=self.total_s,
            jobs=self.jobs,
            sizes=self.sizes.record if self.sizes is not None else None,
        )

    def _keep(self) -> None:
        """Leave the run where ``imagespec report`` looks for the last one; a full disk is no reason to fail."""
        path = last_run(self.settings)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(f".{os.getpid()}")
            temporary.write_text(json.dumps(self.run_record()), encoding="utf-8")
            temporary.replace(path)

    def look(self) -> list[LookUp]:
        """Return the answer for each request, in the order of the targets; nothing is built."""
        with self._composed() as (composition, emit):
            requests = list(self._requests(composition))
            answers = {answer.reference: answer for answer in look_up_all(requests)}
            absent = (one for one in requests if answers[one.reference] == LookUp(reference=one.reference))
            stand_ins = [one.stand_in for one in absent if one.stand_in is not None]
            answers |= look_up_stand_ins(stand_ins, emit)
            return [answers[request.reference] for request in requests]

    @contextmanager
    def _composed(self) -> Iterator[tuple[Composition, Emit]]:
        """Give what the work needs, with the talk going on beside it and Ctrl-C stopping it."""
        started = time.monotonic()
        cancellation = Cancellation()
        findings = found(self._names, self.settings, self._wishes.registry)
        self.problems += [Problem(origin=str(getattr(one, "path", "")), error=one) for one in findings.problems]
        self.targets = [with_copy_mode(target, self._wishes.copy) for target in findings.targets]
        with stoppable(cancellation), self._talk() as emit:
            self.recorder = Recorder(emit, clock=time.monotonic)
            yield composed(self.settings, emit, self._wishes.no_stat_cache, cancellation), self.recorder
            self.total_s = time.monotonic() - started

    @contextmanager
    def _talk(self) -> Iterator[Emit]:
        if self._wishes.events:
            self._lines = JsonLinesReport(sys.stderr, clock=time.monotonic)
            yield self._lines
            return
        live = sys.stderr.isatty() and not self.settings.ci
        with reporting(sys.stderr, live=live, no_color=self.settings.no_color) as emit:
            yield emit

    def _requests(self, composition: Composition) -> Iterator[BuildRequest]:
        """Yield the requests of the targets that have one; the others become problems."""
        identified = []
        made = composition.requests(self.targets, builder=self._wishes.builder, is_forced=self._wishes.force)
        for target, request in made:
            if isinstance(request, ImageSpecError):
                self.problems.append(Problem(origin=target.origin, error=request))
                continue
            identified.append(target)
            yield _with_options(request, self._wishes, self.pool)
        self.targets = identified

    def tell(self) -> None:
        """Say on stderr what became of everything."""
        if self._lines is not None:
            for record in self.records():
                self._lines.write({"type": "image", **record})
            sizes = self.sizes.record if self.sizes is not None else None
            summary = {"headline": headline(self.endings), "seconds": round(self.total_s, 3), "sizes": sizes}
            self._lines.write({"type": "summary", **summary})
            return
        tell(self.endings, self.total_s)
        if self.sizes is not None:
            say(self.sizes.line)
        for name, dropped in self.pool.lost if self.pool is not None else ():
            say(f"warning: builder instance {name} stopped answering; {dropped} of its builds went to another")
        self.tell_problems()

    def tell_problems(self) -> None:
        """Say what could not be loaded or identified."""
        for problem in self.problems:
            for line in error_lines(problem.error):
                say(line)
        if len(self.problems) > 1:
            say(f"{len(self.problems)} targets have no image: they cannot be read, or are refused")

    def records(self) -> list[dict[str, Any]]:
        """Return a record of each image, in the order of the targets, and of each problem."""
        images = [record(target.origin, ending) for target, ending in zip(self.targets, self.endings, strict=True)]
        return images + self.problem_records()

    def problem_records(self) -> list[dict[str, Any]]:
        """Return a record of each target that could not be loaded or identified."""
        return [problem.record for problem in self.problems]

    def result_lines(self, form: str) -> Iterator[str]:
        """Yield what stdout carries, one line an image, in the order of the targets."""
        for target, ending in zip(self.targets, self.endings, strict=True):
            line = result_line(target.origin, ending, form)
            if line:
                yield line

    @property
    def exit_code(self) -> int:
        """The highest exit code of what went wrong, 0 when all images are there."""
        return max(exit_code(self.endings), *(problem.error.exit_code for problem in self.problems), 0)


def _earlier(composition: Composition, request: BuildRequest) -> list[Reference]:
    """Return the images of the request's name that were built on this machine before, the newest first."""
    repository = request.reference.repository
    tags = (entry.tag for entry in composition.ledger.entries(repository))
    return [Reference(repository, tag) for tag in tags if tag and tag != request.reference.tag]


def _with_options(request: BuildRequest, wishes: Wishes, pool: InstancePool | None) -> BuildRequest:
    """Return the request, and its parents', with what the command line says of how to build."""
    changes: dict[str, Any] = {}
    name = request.reference.repository.path.replace("/", "-")
    if wishes.cache_to:
        changes["cache_to"] = _cache(wishes.cache_to, name) + ",mode=max"
    if wishes.cache_from:
        sources = tuple(_cache(source, name) for source in wishes.cache_from)
        changes["cache_from"] = (*request.options.cache_from, *sources)
    parent = _with_options(request.parent, wishes, pool) if request.parent is not None else None
    builder: Builder = CacheExportingBuilder(request.builder) if wishes.cache_to else request.builder
    builder = SpreadBuilder(builder, pool) if pool is not None else builder
    return replace(request, parent=parent, builder=builder, options=replace(request.options, **changes))


def _cache(place: str, name: str) -> str:
    """Return buildx's words for a repository that keeps the cache of each image under its name; others stay."""
    return place if "=" in place else f"type=registry,ref={place}:{name}"
