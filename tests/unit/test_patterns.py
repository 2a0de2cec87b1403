"""Patterns that are compiled when first used."""

from __future__ import annotations

import re

import pytest

from imagespec.patterns import lazy_pattern


def test_it_matches_as_a_compiled_one_does() -> None:
    made = lazy_pattern(r"(?P<word>[a-z]+)-(\d+)", re.IGNORECASE)
    found = made.fullmatch("Ab-12")
    assert found is not None
    assert found["word"] == "Ab"
    assert made.sub(r"\2", "x-1, y-2") == "1, 2"
    assert made.fullmatch is made.fullmatch
    assert (made.pattern, made.groups) == (r"(?P<word>[a-z]+)-(\d+)", 2)


def test_bytes_and_what_is_wrong_with_a_pattern() -> None:
    assert lazy_pattern(rb"a+").match(b"aab") is not None
    wrong = lazy_pattern("(")
    with pytest.raises(re.error):
        wrong.match("x")
