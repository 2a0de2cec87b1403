"""Which digests may go, and when a tag was first seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagespec.names import Digest, Repository
from imagespec.pruning import verdicts
from imagespec.sightings import Sightings

A, B = (Digest("sha256", letter * 64) for letter in "ab")
DAY_S = 86_400.0
X, Y, Z = (f"x1-{letter * 32}" for letter in "012")
ENV = f"env-{Y}"


@pytest.mark.parametrize(
    ("needed", "ours", "ages_s", "reason"),
    [
        ({X}, {A}, {X: 9e9, ENV: 9e9}, f"needed as {X}"),
        ({ENV}, {A}, {X: 9e9, ENV: 9e9}, f"needed as {ENV}"),
        (set(), set(), {X: 9e9, ENV: 9e9}, "not made by imagespec"),
        (set(), {A}, {X: 9e9}, "its age is not known"),
        (set(), {A}, {X: 9e9, ENV: DAY_S}, "only 1.0 days old"),
    ],
)
def test_a_digest_stays_when_one_of_its_tags_has_a_reason(
    needed: set[str], ours: set[Digest], ages_s: dict[str, float], reason: str
) -> None:
    (verdict,) = verdicts({X: A, ENV: A}, needed=needed, ours=ours, ages_s=ages_s, keep_s=2 * DAY_S)
    assert (verdict.may_go, verdict.reason) == (False, reason)


def test_a_digest_goes_when_nobody_needs_any_of_its_tags_and_all_are_old() -> None:
    found = verdicts({X: A, Y: B, Z: A}, needed={Y}, ours={A, B}, ages_s={X: 9e5, Z: 3e5}, keep_s=2e5)
    assert [(one.digest, one.tags, one.may_go) for one in found] == [(A, (X, Z), True), (B, (Y,), False)]
    assert found[0].reason == "nobody needs it, 3.5 days old"


def test_a_tag_that_is_not_ours_and_an_index_keep_what_they_name() -> None:
    ages_s = {X: 9e9, Y: 9e9, "release": 9e9}
    found = verdicts({X: A, "release": A, Y: B}, needed=set(), ours={A, B}, ages_s=ages_s, keep_s=0, parts={B: "multi"})
    assert [(one.may_go, one.reason) for one in found] == [
        (False, "tagged release by somebody else"),
        (False, "part of multi"),
    ]


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
