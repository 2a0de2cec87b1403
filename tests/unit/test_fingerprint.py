"""The encoding, the parts and the text of a fingerprint."""

from __future__ import annotations

import dataclasses
import re

import pytest

from imagespec.errors import InvalidReference
from imagespec.fingerprint import encode, fingerprint_of, tag_of
from imagespec.plan import BuildPlan, CopyFiles, ImageConfig
from imagespec.planner import make_plan
from imagespec.snapshot import ContextEntry, EntryKind, Snapshot, Tree
from imagespec.spec import Declaration

FILE = ContextEntry("a", EntryKind.FILE, False, 1, b"\1" * 32)
PLAN = make_plan(
    Declaration(packages=["a"], commands=["x"], env={"A": "b"}),
    Snapshot(trees=(Tree(field="copy[0]", entries=(FILE,)),)),
)


def test_the_text_is_a_tag_and_a_label_wherever_case_is_lost() -> None:
    text = fingerprint_of(PLAN).text
    assert re.fullmatch(r"x1-[0-9a-v]{32}", text)
    assert tag_of(fingerprint_of(PLAN), None) == text
    assert tag_of(fingerprint_of(PLAN), "v1-{spec_hash}-{spec_hash}") == f"v1-{text}-{text}"
    with pytest.raises(InvalidReference):
        tag_of(fingerprint_of(PLAN), "-{spec_hash}")


def test_every_field_of_a_plan_has_its_part() -> None:
    names = [name for name, _ in fingerprint_of(PLAN).parts]
    fields = [one.name for one in dataclasses.fields(BuildPlan)]
    for field in fields:
        assert any(name == field or name.startswith((f"{field}[", f"{field}.")) for name in names), field
    for field in (one.name for one in dataclasses.fields(ImageConfig)):
        assert f"config.{field}" in names
    assert len(names) == len(set(names))


def test_only_the_part_that_changed_differs() -> None:
    changed = dataclasses.replace(PLAN, config=dataclasses.replace(PLAN.config, env=(("A", "c"),)))
    before, after = dict(fingerprint_of(PLAN).parts), dict(fingerprint_of(changed).parts)
    assert [name for name in before if before[name] != after[name]] == ["config.env"]


def test_the_order_of_steps_counts() -> None:
    turned = dataclasses.replace(PLAN, steps=PLAN.steps[::-1])
    assert fingerprint_of(turned).digest != fingerprint_of(PLAN).digest


def test_a_field_of_every_step_counts() -> None:
    """Whatever a step says, one after the other: a field that escaped would show here."""
    original = fingerprint_of(PLAN).digest
    tried = 0
    for index, step in enumerate(PLAN.steps):
        for field in dataclasses.fields(step):
            value = getattr(step, field.name)
            other: object
            if isinstance(value, bool):
                other = not value
            elif isinstance(value, str):
                other = value + "x"
            elif isinstance(value, tuple):
                other = (*value, FILE._replace(path="z") if isinstance(step, CopyFiles) else "x")
            else:
                other = "x"
            steps = (*PLAN.steps[:index], dataclasses.replace(step, **{field.name: other}), *PLAN.steps[index + 1 :])
            assert fingerprint_of(dataclasses.replace(PLAN, steps=steps)).digest != original, field.name
            tried += 1
    assert tried >= 20


def test_the_encoding_is_pinned() -> None:
    """A change here re-tags everybody's images, and wants a higher recipe."""
    pinned = {
        None: b"N0:",
        True: b"B1:1",
        12: b"I2:12",
        "é": b"S2:\xc3\xa9",
        b"\0": b"Y1:\0",
        ("a", ()): b"L7:S1:aL0:",
        EntryKind.LINK: b"E23:L19:S9:EntryKindS4:LINK",
        FILE: b"F%d:f1:a0:%s" % (38, b"\1" * 32),
    }
    assert {value: encode(value) for value in pinned} == pinned
    assert encode({"b": 1, "a": 2}) == b"M16:S1:aI1:2S1:bI1:1"
    with pytest.raises(TypeError, match="no encoding for float"):
        encode(1.5)
