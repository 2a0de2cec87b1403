"""YAML and TOML, and what is said about files that are not."""

from __future__ import annotations

from typing import Any

import pytest

from imagespec.data_file import parse
from imagespec.errors import SpecError


@pytest.mark.parametrize(
    ("name", "data", "value"),
    [
        ("a.yaml", b"name: demo\npackages: [a]\n", {"name": "demo", "packages": ["a"]}),
        ("a.yml", b"\xef\xbb\xbf- name: one\n- name: two\n", [{"name": "one"}, {"name": "two"}]),
        ("a.yaml", b"", None),
        ("a.yaml", b"base: &b {x: 1}\nother: {<<: *b, y: 2}\n", {"base": {"x": 1}, "other": {"x": 1, "y": 2}}),
        ("a.toml", b'name = "demo"\n[env]\nA = "b"\n', {"name": "demo", "env": {"A": "b"}}),
    ],
)
def test_data(name: str, data: bytes, value: Any) -> None:
    assert parse(name, data) == value


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.yaml", b"a: 1\nb: 2\na: 3\n", "read a.yaml: line 3: the key 'a' is there twice"),
        ("a.yaml", b"env:\n  A: b\n  A: c\n", "read a.yaml: line 3: the key 'A' is there twice"),
        ("a.yaml", b"a: [1\n", "read a.yaml: line 2: not YAML: expected ',' or ']', but got '<stream end>'"),
        (
            "a.yaml",
            b"a: !!python/object:os.system x\n",
            "read a.yaml: line 1: not YAML: could not determine a constructor",
        ),
        ("a.yaml", b"a: 1\n---\nb: 2\n", "read a.yaml: line 2: holds a second document"),
        ("a.yaml", b"a: \x00\n", "read a.yaml: not YAML: "),
        ("a.yaml", b"a: 1\nb: \xff\n", "read a.yaml: line 2 is not UTF-8 text"),
        ("a.yaml", b"[" * 5_000, "read a.yaml: is nested too deeply"),
        ("a.yaml", b"a: 2024-99-99\n", "read a.yaml: not YAML: "),
        ("a.toml", b"a = b\n", "read a.toml: not TOML: invalid value (at line 1, column 5)"),
        ("a.toml", b'a = "1"\na = "2"\n', "read a.toml: not TOML: cannot overwrite a value"),
    ],
)
def test_what_is_none(name: str, data: bytes, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(name, data)
    assert str(caught.value).startswith(message)
    assert str(caught.value).isprintable()
    assert caught.value.hint
