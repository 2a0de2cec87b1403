"""An image on another one's environment keeps its versions and leaves none twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagespec.builders import BuildOptions
from imagespec.builders.daemonless import DaemonlessBuilder
from imagespec.events import discard
from imagespec.fingerprint import fingerprint_of
from imagespec.plan import Parent
from imagespec.planner import make_plan
from imagespec.snapshot import Snapshot, Tree
from imagespec.spec import Declaration
from imagespec.validator import check_image
from tests.integration.daemonless.places import OWNED, SOURCES, Place

pytestmark = pytest.mark.integration


def test_a_child_keeps_the_parent_s_versions_and_leaves_none_twice(place: Place, cache: Path) -> None:
    base = Declaration(name="parent", base_image=place.base, packages=["urllib3==1.26.20", "requests==2.30.0"])
    child = Declaration(name="child", base_image=base, packages=["requests>=2.31", "requests-toolbelt"])
    parent_plan = make_plan(base, Snapshot())
    parent = Parent(plan=parent_plan, fingerprint=fingerprint_of(parent_plan).digest)
    trees = (Tree(field="source_root", entries=SOURCES.entries),)
    plan = make_plan(child, Snapshot(trees=trees), parent)
    builder = DaemonlessBuilder(cache_dir=cache, registry=place.registry)
    under = builder.build(parent_plan, SOURCES, place.reference("parent"), options=BuildOptions(), emit=discard)
    bound = BuildOptions(base=place.reference("parent").with_digest(under.digest))
    builder.prepare(plan, bound)
    builder.build(plan, SOURCES, place.reference("child"), options=bound, emit=discard)
    check_image(place.registry, place.reference("child"), base_layers=1, changed=OWNED)
    script = (
        "pip check; pip list --format=freeze; ls -d /opt/venv/lib/python3.11/site-packages/requests-*; "
        "python -c 'import requests, urllib3; print(urllib3.__version__)'"
    )
    out = place.run("child", "sh", "-c", script)
    assert "No broken requirements found." in out
    assert "urllib3==1.26.20" in out
    assert out.count("site-packages/requests-") == 1
    assert "requests==2.30.0" not in out
    assert out.endswith("1.26.20\n")
