"""Image specs of tasks to the names of images that are there: looked up and built all together."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from imagespec.batch import ensure_all
from imagespec.compose import Composition
from imagespec.ensure import name_there
from imagespec.errors import SpecError
from imagespec.events import Emit, discard
from imagespec.identity import Target
from imagespec.names import Reference
from imagespec.settings import Settings
from imagespec.spec import Declaration
from imagespec.targets import named as targets

__all__ = ["TaskImages", "built_from_file"]

_JOBS: Final = 4


class TaskImages:
    """The images of one serialization: each is looked up once, and built when it is absent."""

    def __init__(self, composition: Callable[[], Composition] | None = None, emit: Emit = discard) -> None:
        """``composition`` assembles the run when the first image is asked for; ``emit`` hears of builds."""
        self._compose = composition or (lambda: Composition(Settings.load(), emit=emit))
        self._emit = emit
        self._composition: Composition | None = None
        self._there: dict[Reference, str] = {}

    def name_of(self, declaration: Declaration, module: str = "") -> str:
        """Return the full name of an image that is there, building it if it is absent; raise ImageSpecError.

        ``module`` is the Python file that needs the image, for what LOADED_MODULES copies.
        """
        target = _target(declaration, module)
        identity = self._run.identify(target)
        if identity.reference not in self._there:
            self.make_sure([target])
        return self._there[identity.reference]

    def make_sure(self, targets: Iterable[Target]) -> None:
        """Look all of them up together and build what is absent, several at a time; raise the first error."""
        run = self._run
        requests = [run.request(target) for target in targets]
        endings = ensure_all(
            requests, run.workspace, emit=self._emit, clock=time.monotonic, jobs=_JOBS, cancellation=run.cancellation
        )
        for ending in endings:
            if ending.error is not None:
                raise ending.error
            if ending.result is not None:
                self._there[ending.request.reference] = name_there(ending.request, ending.result)

    @property
    def _run(self) -> Composition:
        if self._composition is None:
            self._composition = self._compose()
        return self._composition


def _target(declaration: Declaration, module: str) -> Target:
    return Target(declaration=declaration, modules=(os.path.abspath(module),) if module else ())


def built_from_file(file: str) -> str:
    """Return the full name of the image of a YAML or TOML file, built if it is absent; raise SpecError for several."""
    found = targets.load(file, Path.cwd())
    if len(found) != 1:
        raise SpecError(f"{file}: declares {len(found)} images, not one", path=file)
    return TaskImages().name_of(found[0].declaration)
