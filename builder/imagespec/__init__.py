"""Turn a declared ImageSpec into a container image in a registry, and never build the same thing twice.

Public names are imported when they are first used: importing the package itself costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagespec.errors import ImageSpecError
    from imagespec.image_spec import ImageSpec
    from imagespec.spec import CopyFileDetection

__all__ = ["CopyFileDetection", "ImageSpec", "ImageSpecError"]

_HOMES = {
    "CopyFileDetection": "imagespec.spec",
    "ImageSpec": "imagespec.image_spec",
    "ImageSpecError": "imagespec.errors",
}


def __getattr__(name: str) -> Any:
    """Return a public name from the module that defines it (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'imagespec' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
