"""One run over many targets: load, identify, look up, build; what ``build`` and ``warm`` have in common."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from imagespec.batch import Ending, ensure_all
from imagespec.builders import Cancellation
from imagespec.cli.session import composed, found, say, stoppable
from imagespec.cli.summary import exit_code, result_line, tell
from imagespec.compose import Composition, Target
from imagespec.ensure import BuildRequest
from imagespec.errors import ImageSpecError
from imagespec.report import error_lines, reporting
from imagespec.resources import default_jobs
from imagespec.settings import Settings

__all__ = ["Run"]


class Run:
    """The targets of one command line and what became of them. No target's problem stops the others."""

    def __init__(
        self,
        names: tuple[str, ...],
        *,
        registry: str,
        builder: str,
        force: bool = False,
        jobs: int | None = None,
        no_stat_cache: bool = False,
    ) -> None:
        self.settings = Settings.load()
        self.problems: list[ImageSpecError] = []
        self.targets: list[Target] = []
        self.endings: tuple[Ending, ...] = ()
        self.total_s = 0.0
        self._names = names
        self._registry = registry
        self._builder = builder
        self._force = force
        self._jobs = jobs or default_jobs()
        self._no_stat_cache = no_stat_cache

    def carry_out(self) -> None:
        """Make sure that every image is there; what went wrong is in ``problems`` and ``endings``."""
        started = time.monotonic()
        cancellation = Cancellation()
        findings = found(self._names, self.settings, self._registry)
        self.problems += findings.problems
        live = sys.stderr.isatty() and not self.settings.ci
        with stoppable(cancellation), reporting(sys.stderr, live=live, no_color=self.settings.no_color) as emit:
            composition = composed(self.settings, emit, self._no_stat_cache, cancellation)
            requests = list(self._requests(composition, findings.targets))
            self.endings = ensure_all(
                requests,
                composition.workspace,
                emit=emit,
                clock=time.monotonic,
                jobs=self._jobs,
                locks=composition.locks,
                cancellation=cancellation,
            )
        self.total_s = time.monotonic() - started

    def _requests(self, composition: Composition, targets: tuple[Target, ...]) -> Iterator[BuildRequest]:
        for target in targets:
            try:
                request = composition.request(target, builder=self._builder, is_forced=self._force)
            except ImageSpecError as error:
                if len(targets) > 1:
                    error.args = (f"{target.origin}: {error}",)
                self.problems.append(error)
                continue
            self.targets.append(target)
            yield request

    def tell(self) -> None:
        """Say on stderr what became of everything."""
        tell(self.endings, self.total_s)
        for problem in self.problems:
            for line in error_lines(problem):
                say(line)

    def result_lines(self, form: str) -> Iterator[str]:
        """Yield what stdout carries, one line an image, in the order of the targets."""
        for target, ending in zip(self.targets, self.endings, strict=True):
            line = result_line(target.origin, ending, form)
            if line:
                yield line

    @property
    def exit_code(self) -> int:
        """The highest exit code of what went wrong, 0 when all images are there."""
        return max(exit_code(self.endings), *(problem.exit_code for problem in self.problems), 0)
