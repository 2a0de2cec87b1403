"""Which digests may go, and when a tag was first seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagespec.names import Digest, Repository
from imagespec.pruning import verdicts
from imagespec.sightings import Sightings

A, B = (Digest("sha256", letter * 64) for letter in "ab")
DAY_S = 86_400.0


@pytest.mark.parametrize(
    ("needed", "ours", "ages_s", "reason"),
    [
        ({"x"}, {A}, {"x": 9e9, "env-y": 9e9}, "needed as x"),
        ({"env-y"}, {A}, {"x": 9e9, "env-y": 9e9}, "needed as env-y"),
        (set(), set(), {"x": 9e9, "env-y": 9e9}, "not made by imagespec"),
        (set(), {A}, {"x": 9e9}, "its age is not known"),
        (set(), {A}, {"x": 9e9, "env-y": DAY_S}, "only 1.0 days old"),
    ],
)
def test_a_digest_stays_when_one_of_its_tags_has_a_reason(
    needed: set[str], ours: set[Digest], ages_s: dict[str, float], reason: str
) -> None:
    (verdict,) = verdicts({"x": A, "env-y": A}, needed=needed, ours=ours, ages_s=ages_s, keep_s=2 * DAY_S)
    assert (verdict.may_go, verdict.reason) == (False, reason)


def test_a_digest_goes_when_nobody_needs_any_of_its_tags_and_all_are_old() -> None:
    found = verdicts({"x": A, "y": B, "z": A}, needed={"y"}, ours={A, B}, ages_s={"x": 9e5, "z": 3e5}, keep_s=2e5)
    assert [(one.digest, one.tags, one.may_go) for one in found] == [(A, ("x", "z"), True), (B, ("y",), False)]
    assert found[0].reason == "nobody needs it, 3.5 days old"


def test_a_tag_has_an_age_only_from_the_second_look_on(tmp_path: Path) -> None:
    sightings, place = Sightings(tmp_path), Repository.parse("r.test/x")
    assert sightings.first_seen(place, ["a", "b"], 100.0, {"b": 40.0}) == {"b": 40.0}
    assert sightings.first_seen(place, ["a", "c"], 200.0, {}) == {"a": 100.0}
    assert sightings.first_seen(place, ["a", "b", "c"], 300.0, {}) == {"a": 100.0, "c": 200.0}
    assert sightings.first_seen(Repository.parse("r.test/y"), ["a"], 400.0, {}) == {}


def test_a_damaged_note_counts_as_none(tmp_path: Path) -> None:
    sightings, place = Sightings(tmp_path), Repository.parse("r.test/x")
    sightings.first_seen(place, ["a"], 100.0, {})
    (file,) = tmp_path.iterdir()
    file.write_text("[")
    assert sightings.first_seen(place, ["a"], 200.0, {}) == {}
