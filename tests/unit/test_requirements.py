"""requirements.txt as pip reads it, made into values; what no image can have is refused with its line."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from imagespec.errors import InputMissing, InputOutsideRoot, SpecError
from imagespec.requirements.locks import kind_of, lock_files
from imagespec.requirements.requirements_txt import requirement_lines
from imagespec.snapshot import LocalProject, LockFiles, RequirementLines

ONE_HASH, OTHER_HASH = "b" * 64, "c" * 64
BOTH_HASHES = f"a==1 --hash=sha256:{ONE_HASH} --hash=sha256:{OTHER_HASH}"


def parsed(text: str, **others: str) -> RequirementLines:
    return read({"r.txt": text, **{name.replace("_", "."): other for name, other in others.items()}})


def read(files: Mapping[str, str | bytes], name: str = "r.txt") -> RequirementLines:
    def reader(path: str) -> bytes:
        if path not in files:
            raise InputMissing(f"{path} is not there", path=path)
        text = files[path]
        return text if isinstance(text, bytes) else text.encode()

    return requirement_lines(name, reader)


@pytest.mark.parametrize(
    ("line", "normal"),
    [
        ("Foo_Bar.baz", "foo-bar-baz"),
        ("numpy >= 1.26 , <2", "numpy<2,>=1.26"),
        ("numpy (>=1.26)", "numpy>=1.26"),
        ("a[Z,b_c] == 1.0", "a[b-c,z]==1.0"),
        ("a ; python_version<'3.12'", 'a ; python_version < "3.12"'),
        ("a @ https://h.example/a-1.whl", "a @ https://h.example/a-1.whl"),
        (
            "a @ git+https://h.example/a.git@v1 ; os_name=='posix'",
            'a @ git+https://h.example/a.git@v1 ; os_name == "posix"',
        ),
        ("git+ssh://git@h.example/a.git@v1#egg=a", "git+ssh://git@h.example/a.git@v1#egg=a"),
        ("https://h.example/a-1.0.tar.gz#sha256=00", "https://h.example/a-1.0.tar.gz#sha256=00"),
        ("-e git+https://h.example/a.git#egg=a", "git+https://h.example/a.git#egg=a"),
        (f"a==1 --hash=sha256:{ONE_HASH.upper()} --hash sha256:{OTHER_HASH}", BOTH_HASHES),
        (f"a==1 \\\n  --hash=sha256:{OTHER_HASH} \\\n  --hash=sha256:{ONE_HASH}", BOTH_HASHES),
        ("a==1  # a comment", "a==1"),
        ("a \\\n# in the middle\n", "a"),
        ("a==1;  platform_machine  ==  'x86_64'", 'a==1 ; platform_machine == "x86_64"'),
    ],
)
def test_one_requirement_in_its_normal_form(line: str, normal: str) -> None:
    assert parsed(line).lines == (normal,)


def test_order_blank_lines_comments_and_line_ends_say_nothing() -> None:
    one = parsed("b\na==1\n")
    assert one == parsed("# head\r\n\r\na == 1   # why\r\n  B\r\n") == parsed("\ufeffA==1\rb\rb")
    assert one.lines == ("a==1", "b")


def test_nested_files_are_relative_to_the_file_that_names_them() -> None:
    files = {
        "r.txt": "-r sub/b.txt\n-c=limits.txt\na",
        "sub/b.txt": "--requirement ../c.txt\n--constraint=limits.txt\nb",
        "c.txt": "c\n-r r.txt",
        "limits.txt": "z<1",
        "sub/limits.txt": "-r more.txt\ny<1",
        "sub/more.txt": "x<1",
    }
    assert read(files) == RequirementLines(lines=("a", "b", "c"), constraints=("x<1", "y<1", "z<1"))


def test_options_keep_their_order_and_come_once() -> None:
    text = "-i https://h.example/a\n--extra-index-url=https://h.example/b\n--pre\n--no-binary :all:\n--pre\na"
    assert parsed(text).options == (
        "--index-url https://h.example/a",
        "--extra-index-url https://h.example/b",
        "--pre",
        "--no-binary :all:",
    )


def test_local_projects() -> None:
    text = "-e .\n./libs/a[x,Y] ; python_version>'3.8'\n-e libs/b\ndist/c-1.0-py3-none-any.whl\nd.zip\n-r sub/s.txt\n"
    assert read({"r.txt": text, "sub/s.txt": "-e ./e"}).projects == (
        LocalProject(path=".", editable=True),
        LocalProject(path="d.zip"),
        LocalProject(path="dist/c-1.0-py3-none-any.whl"),
        LocalProject(path="libs/a", extras=("x", "y"), marker='python_version > "3.8"'),
        LocalProject(path="libs/b", editable=True),
        LocalProject(path="sub/e", editable=True),
    )


@pytest.mark.parametrize(
    "line",
    [
        "a @ https://user:s3cret@h.example/a.whl",
        "https://s3cret@h.example/a.whl",
        "git+https://oauth2:s3cret@h.example/a.git",
        "git+ssh://git:s3cret@h.example/a.git",
        "--index-url https://user:s3cret@h.example/simple",
        "-i https://s3cret@h.example/simple",
        "-f https://x:s3cret@h.example/links",
        "https://h.example/a.whl?token=s3cret",
        "https://h.example/a.whl?x=1&sig=s3cret",
        "--extra-index-url https://${S3CRET}@h.example/simple",
        "a @ https://h.example/${S3CRET}/a.whl",
    ],
)
def test_credentials_are_refused_and_not_shown(line: str) -> None:
    with pytest.raises(SpecError) as caught:
        parsed(f"ok\n{line}\n")
    assert "r.txt:2" in str(caught.value)
    assert "s3cret" not in f"{caught.value} {caught.value.hint}".lower()
    assert "pip_secret_mounts" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ok\n\n==1", "r.txt:3 is not a requirement"),
        ("a b c", "r.txt:1 is not a requirement"),
        ("--frobnicate", "r.txt:1 has an option"),
        ("--index-url", "r.txt:1 has an option"),
        ("a --global-option=x", "r.txt:1 has an option"),
        ("-r https://h.example/r.txt", "r.txt:1 includes a file from the network"),
        ("--find-links ./wheels", "r.txt:1 names a folder"),
        ("/abs/pkg", "r.txt:1 names a path that is not relative"),
        ("-e ~/pkg", "r.txt:1 names a path that is not relative"),
        ("a @ file:///x/a.whl", "r.txt:1 names a file of this machine"),
        ("./p ; nonsense == 'x'", "r.txt:1 has a marker"),
        ("\\\na\\\n==", "r.txt:1 is not a requirement"),
        ("a==1 --hash=sha256:abc", "r.txt:1 has a --hash of sha256 with 3 digits"),
        (f"a==1 --hash=sha1:{'a' * 40}", "r.txt:1 has a --hash of sha1 with 40 digits"),
    ],
)
def test_what_is_refused_is_named_with_its_line(text: str, said: str) -> None:
    with pytest.raises(SpecError, match=r"^requirements: ") as caught:
        parsed(text)
    assert said in str(caught.value)
    assert caught.value.path == "requirements"


@pytest.mark.parametrize(
    "line",
    ["machine h.example login u password s3cret", "/s3cret", "./p ; s3cret", "KEY = s3cret", "a @ file:///s3cret"],
)
def test_a_file_that_was_named_by_mistake_is_not_shown(line: str) -> None:
    with pytest.raises(SpecError) as caught:
        read({"r.txt": "-r other", "other": line})
    assert "other:1" in str(caught.value)
    assert "s3cret" not in f"{caught.value} {caught.value.hint}"


def test_control_characters_are_not_echoed() -> None:
    with pytest.raises(SpecError) as caught:
        parsed("a==\x1b[31m")
    assert str(caught.value).isprintable()


def test_text_that_is_not_utf_8() -> None:
    with pytest.raises(SpecError, match="UTF-8"):
        read({"r.txt": b"caf\xe9"})


# --- locks


def lock(name: str, **files: str) -> LockFiles:
    by_path = {path.replace("__", "/").replace("_", "."): text for path, text in files.items()}

    def reader(path: str) -> bytes:
        if path not in by_path:
            raise InputMissing(f"{path} is not there", path=path)
        return by_path[path].encode()

    kind = kind_of(name)
    assert kind is not None
    return lock_files(name, kind, reader)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("uv.lock", "uv.lock"),
        ("poetry.lock", "poetry.lock"),
        ("pylock.toml", "pylock.toml"),
        ("pylock.dev.toml", "pylock.toml"),
        ("pylock.a.b.toml", None),
        ("environment.yml", "environment.yml"),
        ("environment.yaml", "environment.yml"),
        ("pyproject.toml", "pyproject.toml"),
        ("requirements.txt", None),
        ("uv.lock.txt", None),
    ],
)
def test_kinds(name: str, kind: str | None) -> None:
    assert kind_of(name) == kind


def test_conda_environments_bring_the_files_that_pip_reads() -> None:
    environment = "dependencies:\n  - python\n  - pip:\n    - -r reqs/a.txt\n    - x\n"
    found = lock("environment.yml", environment_yml=environment, reqs__a_txt="-c b.txt\n", reqs__b_txt="x<1")
    assert [file.path for file in found.files] == ["environment.yml", "reqs/a.txt", "reqs/b.txt"]
    with pytest.raises(InputOutsideRoot):
        lock("environment.yml", environment_yml="- pip:\n  - -r ../a.txt")


@pytest.mark.parametrize(
    ("name", "files", "said"),
    [
        ("uv.lock", {"uv_lock": ""}, "needs pyproject.toml beside it"),
        ("poetry.lock", {"poetry_lock": ""}, "needs pyproject.toml beside it"),
        ("uv.lock", {"uv_lock": "[", "pyproject_toml": ""}, "not valid TOML"),
        ("pyproject.toml", {"pyproject_toml": "[tool]"}, "no [project] table"),
        ("pyproject.toml", {"pyproject_toml": "[project]\ndynamic=['dependencies']"}, "computes its dependencies"),
        ("pylock.toml", {"pylock_toml": "\nurl='https://u:s3cret@h.example/x'"}, "pylock.toml:2 holds credentials"),
        (
            "uv.lock",
            {"uv_lock": "[[package]]\nname='a'\nsource={directory='../a'}", "pyproject_toml": ""},
            "outside its folder",
        ),
    ],
)
def test_locks_that_cannot_be_used(name: str, files: dict[str, str], said: str) -> None:
    with pytest.raises((SpecError, InputMissing)) as caught:
        lock(name, **files)
    assert said in str(caught.value)
    assert "s3cret" not in str(caught.value)
