"""The builder that flytekit calls."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click
from flytekit.core.context_manager import FlyteContextManager
from flytekit.image_spec.image_spec import ImageBuildEngine, ImageSpecBuilder

from imagespec.errors import ImageSpecError
from imagespec.flyte.declared import foreign_bases, is_ours

if TYPE_CHECKING:
    from imagespec.flyte.images import Image, Images

__all__ = ["ImageSpecImageBuilder", "answer_always"]

_SWITCH_S: Final = 0.0003
# Python keeps whole microseconds of an interval, and rounds down what it is given.
_ROUNDING_S: Final = 0.0000001


class ImageSpecImageBuilder(ImageSpecBuilder):
    """Answers flytekit's two questions: is the image to be built, and under which name does it stand then."""

    def __init__(self, images: Callable[[], Images]) -> None:
        self._images = images

    def should_build(self, image_spec: Any) -> bool:
        """Return whether the image is absent, or forced; raise RegistryError when that cannot be told.

        With FLYTE_IMG_FAST_FAIL set to false, an image that cannot be looked up counts as there, as flytekit has it.
        """
        with _undisturbed():
            image = self._images().look_up(image_spec)
        if image.error is not None:
            if not self._images().settings.assumes_unknown_exists:
                _tell(image.error)
                raise image.error.with_traceback(None) from None
            _say(f"{image.name}: taken to exist, as FLYTE_IMG_FAST_FAIL=false says: {image.error}")
            return False
        if not image.must_build:
            _announce(image_spec, image)
        return image.must_build

    def build_image(self, image_spec: Any) -> str:
        """Build this image and whatever else is missing; return its full name. Raise EngineError or RegistryError."""
        try:
            image = self._images().build(image_spec)
        except ImageSpecError as error:
            _tell(error)
            raise error.with_traceback(None) from None
        _announce(image_spec, image)
        return image.name


def answer_always(builder: ImageSpecImageBuilder) -> None:
    """Let flytekit ask the builder each time: its own memory of what it has asked outlives edits and misses force.

    Specs that another builder makes, or makes the base of, go flytekit's way; so does all that is asked in executions,
    where nothing is built.
    """
    usual = ImageBuildEngine.build

    def build(image_spec: Any) -> None:
        state = FlyteContextManager.current_context().execution_state
        if (state and state.mode is not None) or not is_ours(image_spec) or foreign_bases(image_spec):
            usual(image_spec)
        elif builder.should_build(image_spec):
            builder.build_image(image_spec)

    ImageBuildEngine.build = build


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let no collection of garbage walk through all that flytekit has loaded while much is made that stays.

    And let the threads that ask the registry do so while the next image is identified, not 5 ms later, as is usual.
    """
    was_enabled, interval_s = gc.isenabled(), sys.getswitchinterval()
    gc.disable()
    sys.setswitchinterval(min(interval_s, _SWITCH_S))
    try:
        yield
    finally:
        sys.setswitchinterval(interval_s + _ROUNDING_S)
        if was_enabled:
            if not gc.get_freeze_count():
                # What was made joins what is collected last, so that no collection follows at once.
                gc.freeze()
                gc.unfreeze()
            gc.enable()


def _announce(spec: Any, image: Image) -> None:
    """Let flytekit use our name where its own for the same spec differs."""
    own = image.identity.name if hasattr(type(spec), "tag") else spec._image_name()
    if own != image.name:
        ImageBuildEngine._IMAGE_NAME_TO_REAL_NAME[own] = image.name
    else:
        ImageBuildEngine._IMAGE_NAME_TO_REAL_NAME.pop(own, None)


def _tell(error: ImageSpecError) -> None:
    """Print an error's last lines and its way out: flytekit shows tracebacks and messages only."""
    for line in getattr(error, "log_tail", ()):
        _say(f"  | {line}")
    if error.hint:
        _say(f"hint: {error.hint}")


def _say(line: str) -> None:
    click.echo(line, err=True)
