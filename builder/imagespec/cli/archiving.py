"""``imagespec build --archive``: the image as one file that ``docker load``, ``podman load`` and ``ctr`` take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imagespec.builders.assembly.archive import write_archive
from imagespec.cli.naming import say
from imagespec.cli.writing import whole
from imagespec.endings import Ending
from imagespec.ensure import BuildRequest
from imagespec.errors import InputError, SpecError, Unsupported
from imagespec.registry import Registry
from imagespec.registry.layout import LayoutRegistry

__all__ = ["archive", "check_archive"]


def check_archive(path: Path, requests: Sequence[BuildRequest]) -> None:
    """Raise, before anything is built, what keeps these images from being written to ``path``."""
    if not requests:
        return  # the target itself is wrong, which is said in its place
    if len(requests) > 1:
        raise SpecError(
            f"--archive: takes one image, {len(requests)} are named", path="--archive", hint="name one target"
        )
    if len(requests[0].plan.platforms) > 1:
        raise Unsupported(
            "--archive: the image has several platforms, an archive has one",
            builder=requests[0].builder.name,
            field="platform",
            hint="build it for one platform, or push it to a registry",
        )
    if not path.parent.is_dir() or path.is_dir():
        raise InputError(f"--archive: {path} cannot be written: {_why(path)}", path=str(path))
    _source(requests[0])


def archive(path: Path, endings: Sequence[Ending]) -> None:
    """Write the image of the one ending that has one to ``path``, whole or not at all; raise SettingsError."""
    ending = next((one for one in endings if one.result is not None), None)
    if ending is None or ending.result is None:
        return
    reference = ending.result.reference
    with whole(path) as file:
        write_archive(_source(ending.request), reference, file)
    size = f", {path.stat().st_size / 1e6:.1f} MB" if path.is_file() else ""
    say(f"archive: {path}{size}: docker load --input {path}")


def _source(request: BuildRequest) -> Registry:
    if request.registry is not None:
        return request.registry
    if isinstance(request.images, LayoutRegistry):
        return request.images
    raise SpecError(
        "--archive: an image without a registry is in the local engine",
        path="--archive",
        hint="docker save writes it to a file; or give --registry",
    )


def _why(path: Path) -> str:
    return "it is a folder" if path.is_dir() else f"there is no folder {path.parent}"
