"""Whether exporting the layer cache was worth it: what the export took against what it can save."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from imagespec.report.recorder import ImageRecord

__all__ = ["cache_balance"]


def cache_balance(images: Mapping[str, ImageRecord], cache_to: str) -> Iterator[str]:
    """Yield what to say of a run that exported its layer cache to ``cache_to``; nothing when none was exported.

    The export saves at most what the steps of this run took; when it took longer than that, it is not worth it.
    """
    export_s = sum(image.ran_s(_is_export) for image in images.values())
    if not cache_to or not export_s:
        return
    steps_s = sum(image.ran_s(_is_step) for image in images.values())
    said = f"layer cache: its export took {export_s:.1f} s, the steps that it can save took {steps_s:.1f} s"
    yield said if export_s <= steps_s else f"warning: {said}; without --cache-to this job would be faster"


def _is_export(title: str) -> bool:
    return title.startswith("exporting cache")


def _is_step(title: str) -> bool:
    return not title.startswith(("exporting", "importing", "pushing"))
