"""What one process knows of its images: identified when first seen, looked up all together, built in parallel."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from imagespec.batch import ensure_all
from imagespec.compose import Composition
from imagespec.ensure import BuildRequest
from imagespec.errors import ImageSpecError
from imagespec.events import Emit
from imagespec.flyte.conversion import target_of
from imagespec.flyte.declared import defining_file, with_declared_base
from imagespec.flyte.entities import current_settings, modules_using, serialized_specs
from imagespec.identity import Identity, Target
from imagespec.names import Reference
from imagespec.registry import Resolver
from imagespec.registry.many import resolve_many
from imagespec.report import PlainReport
from imagespec.settings import Settings

__all__ = ["Image", "Images"]

_JOBS: Final = 4


@dataclass(slots=True, kw_only=True)
class Image:
    """One image that serialization needs. ``is_there`` is None before anybody has looked, and when it is unknown."""

    target: Target
    identity: Identity
    is_there: bool | None = None
    error: ImageSpecError | None = None
    is_forced: bool = False

    @property
    def name(self) -> str:
        """The image's full name, with its tag."""
        return self.identity.name

    @property
    def must_build(self) -> bool:
        """Whether it is absent, or is to be built all the same."""
        return self.is_there is False or (self.is_there is True and self.is_forced)


class Images:
    """The images of one process. Every answer is found once; threads may ask at the same time."""

    def __init__(self, composition: Callable[[Emit], Composition] | None = None, emit: Emit | None = None) -> None:
        """``composition`` assembles the run when the first image is asked for; importing flytekit costs nothing."""
        self._compose = composition or (lambda emit: Composition(Settings.load(), emit=emit))
        self._emit = emit or PlainReport(sys.stderr)
        self._composition: Composition | None = None
        self._known: dict[tuple[str, tuple[str, ...]], Image] = {}
        self._lock = threading.RLock()

    @property
    def settings(self) -> Settings:
        """The settings of this run."""
        return self._run.settings

    def tag_of(self, spec: Any) -> str:
        """Return the tag of the spec's image without asking anybody; raise SpecError or InputError."""
        return self.image_of(spec).identity.reference.tag or ""

    def image_of(self, spec: Any) -> Image:
        """Return what is known of the spec's image; raise SpecError or InputError."""
        with self._lock:
            modules = modules_using(spec) or tuple(filter(None, (defining_file(spec),)))
            key = (repr(with_declared_base(spec)), modules)
            image = self._known.get(key)
            if image is None:
                target = target_of(spec, self._run.workspace, modules)
                forced = target.declaration.is_forced
                image = Image(target=target, identity=self._run.identify(target), is_forced=forced)
                self._known[key] = image
            return image

    def look_up(self, spec: Any) -> Image:
        """Return the spec's image with whether it is there.

        The first question is asked for everything that is loaded, all together; the rest is answered from memory.
        """
        with self._lock:
            image = self.image_of(spec)
            if image.is_there is None and image.error is None:
                self._look_up([image, *self._loaded(spec)])
            return image

    def build(self, spec: Any) -> Image:
        """Build every image that is known to be absent, several at a time, and return the spec's.

        Raise what its own build, or that of an image that it is based on, raised.
        """
        with self._lock:
            image = self.look_up(spec)
            self._build([one for one in _distinct(self._known.values()) if one.must_build])
            if image.error is not None:
                raise image.error
            return image

    @property
    def _run(self) -> Composition:
        if self._composition is None:
            self._composition = self._compose(self._emit)
        return self._composition

    def _loaded(self, spec: Any) -> list[Image]:
        """Return the images of everything that is loaded; what is wrong with one is said when it is asked for."""
        images = []
        for other in serialized_specs(current_settings(spec)):
            try:
                images.append(self.image_of(other))
            except ImageSpecError:
                continue
        return images

    def _look_up(self, images: Iterable[Image]) -> None:
        by_resolver: dict[int, tuple[Resolver, dict[Reference, list[Image]]]] = {}
        for image in images:
            resolver = self._where(image)
            _, wanted = by_resolver.setdefault(id(resolver), (resolver, {}))
            wanted.setdefault(image.identity.reference, []).append(image)
        for resolver, wanted in by_resolver.values():
            for answer in resolve_many(resolver, wanted):
                for image in wanted[answer.reference]:
                    image.error = answer.error
                    image.is_there = None if answer.error else answer.descriptor is not None

    def _where(self, image: Image) -> Resolver:
        if not self.settings.pushes_for_flyte:
            return self._run.local_images
        return self._run.images_of(image.target.declaration, image.identity)

    def _build(self, images: Sequence[Image]) -> None:
        requests = [self._request(image) for image in images]
        run = self._run
        endings = ensure_all(
            requests,
            run.workspace,
            emit=self._emit,
            clock=time.monotonic,
            jobs=_JOBS,
            cancellation=run.cancellation,
        )
        for image, ending in zip(images, endings, strict=True):
            image.is_there = ending.result is not None
            image.error = ending.error
            if ending.result is not None:
                # Forced means built once in this run, not at every question.
                image.is_forced = False

    def _request(self, image: Image) -> BuildRequest:
        request = self._run.request(image.target, is_forced=image.is_forced)
        return request if self.settings.pushes_for_flyte else self._kept_local(request)

    def _kept_local(self, request: BuildRequest) -> BuildRequest:
        run = self._run
        return replace(
            request,
            images=run.local_images,
            builder=run.builder(run.settings.builder, run.registry, is_loading=True),
            options=replace(request.options, load=True),
            parent=self._kept_local(request.parent) if request.parent else None,
            registry=None,
        )


def _distinct(images: Iterable[Image]) -> list[Image]:
    return list({image.identity.reference: image for image in images}.values())
