"""A spec on a spec without any registry: both are kept by the local engine."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.integration.conftest import Command

pytestmark = pytest.mark.integration


def test_a_child_is_built_on_a_parent_that_only_the_engine_has(imagespec: Command, tmp_path: Path) -> None:
    unique = uuid.uuid4().hex[:8]
    (tmp_path / "image.yaml").write_text(
        f"name: child-{unique}\nenv: {{ROLE: child}}\ncommands: ['echo from the child > /opt/said']\n"
        f"base_image: {{name: parent-{unique}, commands: ['echo from the parent > /opt/parent']}}\n"
    )
    name = imagespec("tag", "image.yaml", cwd=tmp_path).stdout.strip()
    assert name.startswith(f"child-{unique}:x1-")
    try:
        imagespec("build", "image.yaml", cwd=tmp_path)
        said = imagespec.docker("run", "--rm", name, "sh", "-c", "cat /opt/parent /opt/said; echo $ROLE")
        assert said == "from the parent\nfrom the child\nchild\n"
        assert "reused" in imagespec("build", "image.yaml", cwd=tmp_path).stderr
    finally:
        for reference in imagespec.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split():
            if unique in reference:
                imagespec.docker("rmi", "--force", reference)
