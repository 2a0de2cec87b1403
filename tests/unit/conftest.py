"""Fixtures of the unit tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.projects import write


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = write(tmp_path / "project", {"main.py": "print(1)", "pkg/__init__.py": "", "pkg/mod.py": "x = 1"})
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    return root
