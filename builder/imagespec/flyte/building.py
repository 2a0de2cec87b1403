"""Builds what is absent. Apart, for most serializations find every image there and need none of this."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from imagespec.batch import ensure_all
from imagespec.compose import Composition
from imagespec.endings import Ending
from imagespec.ensure import BuildRequest
from imagespec.identity import Target
from imagespec.report import PlainReport
from imagespec.resources import default_jobs
from imagespec.settings import Settings

__all__ = ["build_all"]


def build_all(settings: Settings, wanted: Sequence[tuple[Target, bool]]) -> tuple[Ending, ...]:
    """Return what became of each target (with whether it is forced), several built at a time."""
    emit = PlainReport(sys.stderr)
    composition = Composition(settings, emit=emit)
    requests = [_request(composition, target, is_forced) for target, is_forced in wanted]
    return ensure_all(
        requests,
        composition.workspace,
        emit=emit,
        clock=time.monotonic,
        jobs=default_jobs(),
        locks=composition.locks,
        cancellation=composition.cancellation,
    )


def _request(composition: Composition, target: Target, is_forced: bool) -> BuildRequest:
    request = composition.request(target, is_forced=is_forced)
    return request if composition.settings.pushes_for_flyte else _kept_local(composition, request)


def _kept_local(composition: Composition, request: BuildRequest) -> BuildRequest:
    """Return the request with the image, and what it is based on, in the local engine under the same names."""
    return replace(
        request,
        images=composition.local_images,
        builder=composition.builder(composition.settings.builder, composition.registry, is_loading=True),
        options=replace(request.options, load=True),
        parent=_kept_local(composition, request.parent) if request.parent else None,
        registry=None,
    )
