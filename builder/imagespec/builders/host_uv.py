"""The ``uv`` program of this machine: the one that came with this package."""

from __future__ import annotations

import os
import threading

__all__ = ["host_uv"]

_finding = threading.Lock()


def host_uv() -> str:
    """Return its path; raise FileNotFoundError when the package was installed without it.

    One thread at a time: uv asks ``sysconfig``, which up to Python 3.12 gives other threads a half-filled answer while
    the first one still makes it.
    """
    with _finding:
        import uv

        return os.fsdecode(uv.find_uv_bin())
