"""The static import closure: what the text says, found without the host's parser."""

from __future__ import annotations

import ast
import sysconfig
from pathlib import Path

import pytest

from imagespec.sources.closure import Import, import_closure, imports_of


def closure(files: dict[str, str], *modules: str) -> dict[str, str]:
    def read(path: str) -> bytes | None:
        return files[path].encode() if path in files else None

    return dict(import_closure(modules, read))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import a", [Import("a")]),
        ("import a.b as c, d ,e", [Import("a.b"), Import("d"), Import("e")]),
        ("from a import b, c as d", [Import("a", ("b", "c"))]),
        ("from a import (b, # why\n  c,\n)", [Import("a", ("b", "c"))]),
        ("from a import *", [Import("a", ("*",))]),
        ("from . import x", [Import("", ("x",), 1)]),
        ("from .. a import x", [Import("a", ("x",), 2)]),
        ("from ...a.b import x", [Import("a.b", ("x",), 3)]),
        ("def f():\n    import a; import b", [Import("a"), Import("b")]),
        ("if TYPE_CHECKING: import a", [Import("a")]),
        ("from a import \\\n   b", [Import("a", ("b",))]),
        ("import_module('a.b')", [Import("a.b")]),
        ('x = __import__("a")', [Import("a")]),
        ("'''\nimport a\n'''\n# import b\nx = 'import c'", []),
        ('"""\nfrom a import b\n"""\nimport c', [Import("c")]),
        ("important = 1\nfrom_ = 2\nx.import_ = 3", []),
        ("raise X from error\nyield from things", []),
        ("f'{x[\"a\"]}'\nimport b", [Import("b")]),
    ],
)
def test_imports_in_a_text(text: str, found: list[Import]) -> None:
    assert list(imports_of(text)) == found


def test_same_imports_as_the_parser_for_the_standard_library() -> None:
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("[a-z]*.py"))
    assert len(files) > 100
    for file in files:
        text = file.read_text("utf-8", "replace")
        missing = by_the_parser(text) - set(imports_of(text))
        assert not missing, file


def by_the_parser(text: str) -> set[Import]:
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {Import(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(Import(node.module or "", tuple(dict.fromkeys(a.name for a in node.names)), node.level))
    return found


PROJECT = {
    "wf.py": "from lib.a import thing\nimport os",
    "lib/__init__.py": "",
    "lib/a.py": "from . import b\nfrom .deep import c",
    "lib/b.py": "import shared",
    "lib/unused.py": "import wf",
    "lib/deep/__init__.py": "from .. import a",
    "lib/deep/c.py": "",
    "shared.py": "import lib.b",
    "lib/data.json": "",
}


def test_closure_follows_imports_and_says_why() -> None:
    assert closure(PROJECT, "wf.py") == {
        "wf.py": "",
        "lib/__init__.py": "wf.py",
        "lib/a.py": "wf.py",
        "lib/b.py": "lib/a.py",
        "lib/deep/__init__.py": "lib/a.py",
        "lib/deep/c.py": "lib/a.py",
        "shared.py": "lib/b.py",
    }


def test_the_order_and_the_spelling_of_the_targets_say_nothing() -> None:
    expected = set(closure(PROJECT, "wf.py", "lib/unused.py"))
    assert set(closure(PROJECT, "lib/unused.py", "./wf.py", "wf.py")) == expected


def test_namespace_packages_and_submodules_named_in_from() -> None:
    files = {"m.py": "from ns.inner import mod, value\nimport ns2.x.y", "ns/inner/mod.py": "", "ns2/x/y.py": ""}
    assert set(closure(files, "m.py")) == set(files)


def test_a_script_in_a_folder_finds_what_lies_beside_it() -> None:
    files = {"jobs/run.py": "import helper", "jobs/helper.py": "", "other/helper.py": ""}
    assert set(closure(files, "jobs/run.py")) == {"jobs/run.py", "jobs/helper.py"}


def test_a_module_in_a_package_finds_what_lies_beside_the_package() -> None:
    files = {"src/p/__init__.py": "", "src/p/m.py": "import p.n, q", "src/p/n.py": "", "src/q.py": ""}
    assert set(closure(files, "src/p/m.py")) == set(files)


def test_a_target_outside_the_root_is_followed_but_not_taken() -> None:
    assert set(closure({"../main.py": "import a", "a.py": "", "../b.py": ""}, "../main.py")) == {"a.py"}


def test_relative_imports_above_the_root_lead_nowhere() -> None:
    assert set(closure({"a.py": "from ... import b", "b.py": ""}, "a.py")) == {"a.py"}


def test_what_files_name_is_kept_for_the_next_closure_of_the_same_files() -> None:
    asked: list[str] = []

    def read(path: str) -> bytes | None:
        asked.append(path)
        return PROJECT[path].encode() if path in PROJECT else None

    known: dict[str, tuple[str, ...]] = {}
    for modules in (["lib/b.py"], ["wf.py"], ["lib/unused.py"]):
        assert dict(import_closure(modules, read, known)) == closure(PROJECT, *modules)
    asked.clear()
    assert dict(import_closure(["wf.py"], read, known)) == closure(PROJECT, "wf.py")
    # Each file's bytes, and no candidate of any import.
    assert sorted(asked) == sorted(closure(PROJECT, "wf.py"))


def test_missing_targets_are_left_out() -> None:
    assert closure({}, "nothing.py") == {}
