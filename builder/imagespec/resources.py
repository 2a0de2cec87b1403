"""How many builds this machine takes at once."""

from __future__ import annotations

import os
from typing import Final

__all__ = ["default_jobs"]

_BYTES_A_BUILD: Final = 1 << 30
_BUILDS_A_CPU: Final = 2


def default_jobs(cpus: int | None = None, available_bytes: int | None = None) -> int:
    """Return two builds a CPU (they wait for networks and disks), but no more than 1 GiB of free memory each allows."""
    cpus = cpus or os.cpu_count() or 1
    memory = _available_bytes() if available_bytes is None else available_bytes
    by_memory = memory // _BYTES_A_BUILD if memory else cpus
    return max(1, min(cpus * _BUILDS_A_CPU, by_memory))


def _available_bytes() -> int:
    """Return the memory that is free or can be freed, 0 where the system does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            fields = dict(line.split(":", 1) for line in lines)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 0
