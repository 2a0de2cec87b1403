"""Lines of ignore files, one by one: what git's and Docker's documentation say, where it differs from a guess."""

from __future__ import annotations

import pytest

from imagespec.errors import SpecError
from imagespec.sources import dockerignore
from imagespec.sources.gitignore import NO_GITIGNORE
from imagespec.sources.ignore import STANDARD_NAMES, is_standard


def git_ignores(lines: str, path: str, *, folder: str = "") -> bool:
    """Return whether the path (a folder when it ends with '/') is excluded, its parents being looked at first."""
    rules = NO_GITIGNORE.extended(lines.encode(), folder.encode())
    parts = path.rstrip("/").split("/")
    for count in range(1, len(parts) + 1):
        whole, name = "/".join(parts[:count]).encode(), parts[count - 1].encode()
        is_folder = count < len(parts) or path.endswith("/")
        if rules.ignores(whole, name, is_folder):
            above = b"/".join(whole.split(b"/")[:-1])
            assert rules.candidates(above + b"/" if above else b"", [name]) == {name}
            return True
    return False


@pytest.mark.parametrize(
    ("lines", "ignored", "kept"),
    [
        ("foo", ["foo", "a/foo", "foo/x"], ["foobar", "Foo"]),
        ("/foo", ["foo", "foo/x"], ["a/foo"]),
        ("a/foo", ["a/foo"], ["b/a/foo", "foo"]),
        ("foo/", ["foo/", "foo/x", "a/foo/x"], ["foo"]),
        ("**/foo", ["foo", "a/b/foo"], ["afoo"]),
        ("a/**", ["a/x", "a/b/c"], ["a/", "b/a/x"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["ab", "a/xb"]),
        ("*.py[cod]", ["x.pyc", "a/x.pyd"], ["x.py", "x.pyx"]),
        ("a?c", ["abc"], ["a/c", "ac", "aéc"]),
        ("*", ["x", ".x", "a/b"], []),
        ("a*/x", ["ab/x", "a/x"], ["a/b/x"]),
        ("*.log\n!keep.log", ["a.log"], ["keep.log", "a/keep.log"]),
        ("logs/\n!logs/keep", ["logs/keep"], []),
        ("logs/*\n!logs/keep", ["logs/x"], ["logs/keep"]),
        ("# no\n\\#yes\n\\!really", ["#yes", "!really"], ["# no"]),
        ("trailing  \nkept\\ ", ["trailing", "kept "], ["trailing  ", "kept"]),
        ("dos\r\nend", ["dos", "end"], ["dos\r"]),
        ("\ufeffbom", ["bom"], []),
        ("[!a]x\n[^b]y", ["bx", "ay"], ["ax", "by"]),
        ("[]-]", ["]", "-"], ["a"]),
        ("[[:digit:][:upper:]_]z", ["1z", "Az", "_z"], ["az"]),
        ("[z-a]\n[abc\n[[:nope:]]\nend\\", [], ["a", "[abc", "end\\"]),
        ("a\\*b", ["a*b"], ["axb"]),
        ("/", [], ["a"]),
        ("a//b", [], ["a/b"]),
    ],
)
def test_gitignore_lines(lines: str, ignored: list[str], kept: list[str]) -> None:
    assert [path for path in ignored if not git_ignores(lines, path)] == []
    assert [path for path in kept if git_ignores(lines, path)] == []


def test_a_nested_gitignore_speaks_about_its_folder_alone() -> None:
    assert git_ignores("/x", "sub/x", folder="sub/")
    assert git_ignores("y/z", "sub/y/z", folder="sub/")
    assert not git_ignores("/x", "x", folder="sub/")


def docker_ignores(lines: str, path: str) -> bool:
    docker, parts, matched = dockerignore.parse(lines), path.split("/"), ()
    left_out = False
    for count in range(1, len(parts) + 1):
        whole = "/".join(parts[:count])
        above = whole.rpartition("/")
        is_candidate = parts[count - 1] in docker.candidates(above[0] + above[1], [parts[count - 1]], matched)
        left_out, matched = docker.matched(whole, matched)
        assert is_candidate or not left_out
    return left_out


@pytest.mark.parametrize(
    ("lines", "left_out", "kept"),
    [
        ("foo", ["foo", "foo/x"], ["a/foo", "Foo", "foobar"]),
        ("/foo/", ["foo", "foo/x"], ["a/foo"]),
        ("*/foo", ["a/foo"], ["foo", "a/b/foo"]),
        ("**/foo", ["foo", "a/b/foo", "a/foo/x"], ["xfoo"]),
        ("**/*.py", ["x.py", "a/b/x.py"], ["x.pyc"]),
        ("**foo", ["foo", "xfoo", "a/xfoo"], ["foox"]),
        ("foo/**", ["foo/x"], ["foo", "xfoo/x"]),
        ("foo**", ["foo", "foox", "foo/x"], ["xfoo"]),
        ("a/**/b", ["a/b", "a/x/y/b"], ["b"]),
        ("*.md\n!README.md", ["a.md"], ["README.md", "a/b.md"]),
        ("docs\n!docs/x\ndocs/x/y", ["docs/a", "docs/x/y"], ["docs/x", "docs/x/z"]),
        ("a?c", ["abc", "aéc"], ["a/c"]),
        ("[a-c]x", ["bx"], ["dx"]),
        ("[^a]x", ["bx"], ["ax"]),
        ("a\\*b", ["a*b"], ["axb"]),
        (" \tspaced \t\n#comment\n\n", ["spaced"], ["#comment"]),
        ("./a/../b", ["b"], ["a"]),
        ("! a\nb", ["b"], ["a"]),
        ("\ufeffbom", ["bom"], []),
        ("**", ["a", "a/b"], []),
        (".\n..\n/", [], ["a"]),
        ("a.b", ["a.b"], ["axb"]),
        ("a{b}+$(c)|d", ["a{b}+$(c)|d"], ["ab"]),
        ("[[:digit:]]", ["7"], ["a"]),
        ("\\d", ["7"], ["d"]),
    ],
)
def test_dockerignore_lines(lines: str, left_out: list[str], kept: list[str]) -> None:
    assert [path for path in left_out if not docker_ignores(lines, path)] == []
    assert [path for path in kept if docker_ignores(lines, path)] == []


@pytest.mark.parametrize("line", ["a[", "[]a]", "[a-]", "!", "a\\", "[z-a]", "\\y", "[[:nope:]]"])
def test_patterns_that_docker_refuses(line: str) -> None:
    with pytest.raises(SpecError, match=r"^\.dockerignore:2: ") as caught:
        dockerignore.parse(f"ok\n{line}")
    assert caught.value.hint


def test_folders_without_an_exception_below_them_are_pruned() -> None:
    docker = dockerignore.parse("a\nb\n!b/c/*\n")
    assert not docker.may_keep_below("a")
    assert docker.may_keep_below("b")
    assert not docker.may_keep_below("b/x")
    assert dockerignore.parse("a\n!*/c").may_keep_below("a")


def test_the_standard_list_holds_flytekits_and_version_control() -> None:
    for name in (b"__pycache__", b".cache", b"x.pyc", b".git", b".DS_Store", b".venv", b"x.egg-info", b"x~"):
        assert is_standard(name)
    for name in (b"venv", b"build", b"dist", b"cache", b".env", b"node_modules", b"x.py", b".gitignore", b".github"):
        assert not is_standard(name)
    assert all(isinstance(name, bytes) for name in STANDARD_NAMES)
