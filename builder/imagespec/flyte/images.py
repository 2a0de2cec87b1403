"""What one process knows of its images: identified when first seen, looked up all together, built in parallel."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from importlib import import_module
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import click

from imagespec.clients import Clients
from imagespec.errors import ImageSpecError
from imagespec.events import Event, Warned
from imagespec.flyte.conversion import target_of
from imagespec.flyte.declared import defining_file, foreign_bases, is_forced, key_of
from imagespec.flyte.entities import TaskFiles, current_settings, serialized_specs
from imagespec.identity import Identity, Known, Target, identify, workspace_of
from imagespec.names import Reference
from imagespec.registry import Resolver
from imagespec.registry.many import resolve_many
from imagespec.settings import Settings
from imagespec.spec import Declaration
from imagespec.values import dataclass
from imagespec.workspace import Workspace

if TYPE_CHECKING:
    from imagespec.endings import Ending

__all__ = ["Image", "Images"]

_PAUSE_S: Final = 1.0


@dataclass(slots=True, kw_only=True)
class Image:
    """One image that serialization needs. ``is_there`` is None before anybody has looked, and when it is unknown."""

    target: Target
    identity: Identity
    is_there: bool | None = None
    error: ImageSpecError | None = None
    is_forced: bool = False
    stand_in: Reference | None = None

    @property
    def name(self) -> str:
        """The image's full name, with its tag: flytekit's own where an image under that is used instead."""
        if self.stand_in is None:
            return self.identity.name
        return self.stand_in.familiar if self.identity.is_local else str(self.stand_in)

    def stands_under(self, reference: Reference) -> None:
        """Note that the image is there, under its own tag or another one."""
        tag = reference.tag or ""
        self.stand_in = reference.with_tag(tag) if tag != self.identity.reference.tag else None

    @property
    def is_unknown(self) -> bool:
        """Whether nobody has looked yet."""
        return self.is_there is None and self.error is None

    @property
    def must_build(self) -> bool:
        """Whether it is absent, or is to be built all the same."""
        return self.is_there is False or (self.is_there is True and self.is_forced)


class Images:
    """The images of one process. Threads may ask at the same time.

    Within a serialization, whose questions follow one another closely, every answer is found once. After a pause the
    disk is read anew, for in a notebook the same process serializes again when files have been edited; what is known to
    exist is not looked up again.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Read nothing yet: settings, clients and the disk are looked at when the first image is asked for."""
        self._known: dict[tuple[Any, ...], Image] = {}
        self._bases: dict[str, Declaration] = {}
        self._identified: Known = {}
        self._there: set[Reference] = set()
        self._made_anew: set[Reference] = set()
        self._clock = clock
        self._answered_at = clock()
        self._files = TaskFiles()
        self._lock = threading.RLock()

    @cached_property
    def settings(self) -> Settings:
        """The settings of this process."""
        return Settings.load()

    @cached_property
    def _clients(self) -> Clients:
        return Clients(self.settings, os.getcwd())

    @cached_property
    def _workspace(self) -> Workspace:
        return workspace_of(self.settings, os.getcwd(), _warn)

    def tag_of(self, spec: Any) -> str:
        """Return the tag of the spec's image without asking anybody; raise SpecError or InputError."""
        return self.image_of(spec).identity.reference.tag or ""

    def image_of(self, spec: Any) -> Image:
        """Return what is known of the spec's image; raise SpecError or InputError."""
        with self._lock:
            if self._clock() - self._answered_at > _PAUSE_S:
                self._forget_the_disk()
            image = self._image_of(spec)
            self._answered_at = self._clock()
            return image

    def _forget_the_disk(self) -> None:
        self._known.clear()
        self._bases.clear()
        self._identified.clear()
        self.__dict__.pop("_workspace", None)

    def _image_of(self, spec: Any) -> Image:
        declared = key_of(spec)
        modules = self._files.of(declared) or tuple(filter(None, (defining_file(spec),)))
        mode = getattr(spec, "source_copy_mode", None)
        key = (declared, spec.source_root, mode, is_forced(spec), foreign_bases(spec), modules)
        image = self._known.get(key)
        if image is None:
            target = target_of(spec, self._workspace, modules, self._bases)
            identity = identify(target, self._workspace, self._identified)
            image = Image(target=target, identity=identity)
            image.is_there = True if identity.reference in self._there else None
            image.is_forced = target.declaration.is_forced and identity.reference not in self._made_anew
            self._known[key] = image
        return image

    def look_up(self, spec: Any) -> Image:
        """Return the spec's image with whether it is there.

        The first question is asked for everything that is loaded, all together; the rest is answered from memory.
        """
        with self._lock:
            image = self.image_of(spec)
            if image.is_unknown:
                self._look_up(one for one in chain((image,), self._loaded(spec)) if one.is_unknown)
                self._answered_at = self._clock()
            return image

    def build(self, spec: Any) -> Image:
        """Build every image that is known to be absent, several at a time, and return the spec's.

        Raise what its own build, or that of an image that it is based on, raised.
        """
        with self._lock:
            image = self.look_up(spec)
            self._build([one for one in _distinct(self._known.values()) if one.must_build])
            self._answered_at = self._clock()
            if image.error is not None:
                raise image.error
            return image

    def _loaded(self, spec: Any) -> Iterator[Image]:
        """Yield the images of everything that is loaded; what is wrong with one is said when it is asked for."""
        for other in serialized_specs(current_settings(spec)):
            if foreign_bases(other):
                continue  # flytekit has the other builder make its base before it asks for this one
            try:
                yield self.image_of(other)
            except ImageSpecError:
                continue

    def _look_up(self, images: Iterable[Image]) -> None:
        """Ask for the images while they are identified; for those of another resolver when the first has answered."""
        asked: list[Image] = []
        left = iter(images)
        while (first := next(left, None)) is not None:
            others: list[Image] = []
            asked += self._ask(self._where(first), chain((first,), left), others)
            left = iter(others)
        if self.settings.reuses_flyte_tags:
            self._look_up_stand_ins(asked)

    def _ask(self, resolver: Resolver, images: Iterable[Image], others: list[Image]) -> list[Image]:
        """Return the images that this resolver has answered for; those that another one knows go to ``others``."""
        wanted: dict[Reference, list[Image]] = {}

        def references() -> Iterator[Reference]:
            for image in images:
                if self._where(image) is resolver:
                    wanted.setdefault(image.identity.reference, []).append(image)
                    yield image.identity.reference
                else:
                    others.append(image)

        for answer in resolve_many(resolver, references()):
            for image in wanted[answer.reference]:
                image.error = answer.error
                image.is_there = None if answer.error else answer.descriptor is not None
            if answer.descriptor is not None:
                self._there.add(answer.reference)
        return [image for same in wanted.values() for image in same]

    def _look_up_stand_ins(self, images: Iterable[Image]) -> None:
        absent: dict[Reference, list[Image]] = {}
        for image in images:
            if image.is_there is False and not image.is_forced:
                absent.setdefault(image.identity.reference, []).append(image)
        names = import_module("imagespec.flyte_tags.names")
        stand_ins = [
            names.stand_in_of(image.target, image.identity, self._where(image), self._workspace)
            for image, *_ in absent.values()
        ]
        found = names.look_up_stand_ins(stand_ins, _warn)
        for own, answer in found.items():
            for image in absent[own]:
                image.error = answer.error
                image.is_there = None if answer.error else True
                image.stands_under(own if answer.error else answer.reference)

    def _where(self, image: Image) -> Resolver:
        if not self.settings.pushes_for_flyte:
            return self._clients.local_images
        return self._clients.images_of(image.target.declaration, image.identity)

    def _build(self, images: Sequence[Image]) -> None:
        # Imported here: what builds is large, and most serializations find every image there.
        building = import_module("imagespec.flyte.building")
        wanted = [(image.target, image.is_forced) for image in images]
        endings: tuple[Ending, ...] = building.build_all(self.settings, wanted)
        became = {image.identity.reference: ending for image, ending in zip(images, endings, strict=True)}
        for image in self._known.values():
            ending = became.get(image.identity.reference)
            if ending is not None:
                image.is_there, image.error = ending.result is not None, ending.error
                if ending.result is not None:
                    image.stands_under(ending.result.reference)
                    self._there.update(() if image.stand_in else (image.identity.reference,))
                    self._made_anew.add(image.identity.reference)
                # Forced means built once in this run, not at every question.
                image.is_forced = image.is_forced and ending.result is None


def _warn(event: Event) -> None:
    if isinstance(event, Warned):
        click.echo(f"warning: {event.message}" + (f" ({event.hint})" if event.hint else ""), err=True)


def _distinct(images: Iterable[Image]) -> list[Image]:
    """Return one image of each name, the forced one where there is one."""
    return list({one.identity.reference: one for one in sorted(images, key=lambda one: one.is_forced)}.values())
