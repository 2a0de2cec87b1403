"""How many builds at once: by CPUs, less where memory is short, never none."""

from __future__ import annotations

import pytest

from imagespec.resources import default_jobs

GIB = 1 << 30


@pytest.mark.parametrize(
    ("cpus", "available_bytes", "jobs"),
    [(2, 16 * GIB, 4), (2, 3 * GIB, 3), (2, GIB // 2, 1), (16, 64 * GIB, 32), (16, 5 * GIB, 5), (4, 0, 4)],
)
def test_two_builds_a_cpu_but_no_more_than_memory_allows(cpus: int, available_bytes: int, jobs: int) -> None:
    assert default_jobs(cpus, available_bytes) == jobs


def test_this_machine_has_a_number() -> None:
    assert default_jobs() >= 1
