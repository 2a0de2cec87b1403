"""Targets: folders, globs and modules; specs wherever they hide; user code that raises, hangs or crashes."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from imagespec.errors import ImportFailed, InputMissing, SpecError
from imagespec.spec import CopyFileDetection, Declaration
from imagespec.targets.folders import files_in
from imagespec.targets.hiding_places import attribute_of, specs_of_module
from imagespec.targets.interchange import Written, declaration_from, plain_from
from imagespec.targets.named import find, load, reference_of

SPEC = "from imagespec import ImageSpec\n"


def write(root: Path, **files: str) -> None:
    """Write files; in their names ``__`` stands for a slash, ``_py`` for the ending, PACKAGE for __init__."""
    for name, text in files.items():
        stem, _, ending = name.rpartition("_")
        file = root / (stem.replace("__", "/").replace("PACKAGE", "__init__") + f".{ending}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def module(**values: object) -> ModuleType:
    made = ModuleType("made")
    vars(made).update(values)
    return made


class Holder:
    def __init__(self, **values: object) -> None:
        vars(self).update(values)


def test_specs_are_found_wherever_they_hide_each_once() -> None:
    a, b, c, d, e, f = (Declaration(name=name) for name in "abcdef")
    container = Holder(image=d)
    template = Holder(pod_spec=Holder(containers=[container], init_containers=None))

    class Images:
        nested = f

    Images.__module__ = "made"
    found = specs_of_module(
        module(
            listed=[a, {"gpu": (b,)}],
            task=Holder(container_image=c, pod_template=template),
            again=a,
            wrapped=Holder(_container_image=e),
            Images=Images,
            text="x",
            number=1,
            itself=specs_of_module,
        ),
        lambda value: isinstance(value, Declaration),
    )
    assert {path: spec.name for path, spec in found if isinstance(spec, Declaration)} == {
        "again": "a",
        "listed[1]['gpu'][0]": "b",
        "task.container_image": "c",
        "task.pod_template.pod_spec.containers[0].image": "d",
        "wrapped._container_image": "e",
        "Images.nested": "f",
    }


def test_what_holds_itself_and_what_raises_end() -> None:
    class Rude:
        @property
        def image(self) -> object:
            raise ZeroDivisionError

    loop: list[object] = []
    loop += [loop, Rude(), Declaration(name="x")]
    found = list(specs_of_module(module(loop=loop), lambda value: isinstance(value, Declaration)))
    assert [path for path, _ in found] == ["loop[2]"]


@pytest.mark.parametrize("path", ["deep.list[1]", "deep.map['k']", 'deep.map["k"]'])
def test_a_path_leads_to_where_it_was_found(path: str) -> None:
    assert attribute_of(module(deep=Holder(list=[0, "here"], map={"k": "here"})), path) == "here"


@pytest.mark.parametrize("path", ["deep.none", "deep.list[9]", "deep.map['x']", "deep list"])
def test_a_path_that_leads_nowhere_is_an_error(path: str) -> None:
    with pytest.raises((AttributeError, LookupError)):
        attribute_of(module(deep=Holder(list=[0], map={"k": 1})), path)


def test_a_declaration_comes_back_equal_from_plain_data() -> None:
    base = Declaration(name="base", packages=["six"], folder="/f")
    given = Declaration(
        name="x",
        base_image=base,
        env={"A": "1"},
        source_root=".",
        source_copy_mode=CopyFileDetection.ALL,
        builder_options={"labels": {"a": "b"}, "cache_from": ["x"]},
        pip_secret_mounts=[("a", "/b")],
        is_forced=True,
        image_id="id",
    )
    again = declaration_from(plain_from(given, {}), [])
    assert again == given
    assert (again.is_forced, again.image_id) == (True, "id")
    assert isinstance(again.base_image, Declaration)
    assert again.base_image.folder == "/f"


def test_what_two_declarations_are_based_on_is_one_object_on_the_other_side_too() -> None:
    base = Declaration(name="base")
    written: Written = {}
    sent = [plain_from(one, written) for one in (Declaration(base_image=base), base, Declaration(base_image=base))]
    read: list[Declaration] = []
    first, second, third = (declaration_from(json.loads(json.dumps(one)), read) for one in sent)
    assert first.base_image is second is third.base_image
    assert second == base


def test_a_folder_gives_what_looks_like_a_spec_and_runs_nothing_else(tmp_path: Path) -> None:
    write(
        tmp_path,
        a__flow_py=SPEC + "one = ImageSpec(name='one')\n",
        a__uses_py="from flow import one\nmine = [one]\n",
        a__script_py="raise SystemExit('this must not run')\n",
        venv__pyvenv_cfg="",
        venv__x_py=SPEC + "raise ZeroDivisionError\n",
        i__image_yaml="name: two\npackages: [six]\n",
        i__k8s_yaml="kind: Deployment\nname: x\n",
        i__conda_yaml="name: x\nchannels: [c]\ndependencies: [python]\n",
        i__workflow_yaml="name: x\non: push\nenv: {A: b}\njobs: {}\n",
        i__list_yaml="- {name: three, python_version: '3.12'}\n- {name: four, env: {A: b}}\n",
        i__broken_yaml="{",
        top_toml="[project]\nname = 'x'\n",
    )
    names = [str(file.relative_to(tmp_path)) for file in files_in(tmp_path) if file.suffix == ".py"]
    assert names == ["a/flow.py", "a/uses.py"]
    found = find(["."], tmp_path)
    assert found.problems == ()
    assert {target.origin: target.declaration.name for target in found.targets} == {
        "a/flow.py:one": "one",
        "i/image.yaml": "two",
        "i/list.yaml[0]": "three",
        "i/list.yaml[1]": "four",
    }


@pytest.mark.parametrize("rest", ["python_version: '3.12'\n", ""])
def test_a_file_that_is_nearly_a_spec_is_an_error_in_a_folder_too(tmp_path: Path, rest: str) -> None:
    write(tmp_path, x_yaml=f"name: x\n{rest}packagess: [six]\n")
    (problem,) = find(["."], tmp_path).problems
    assert "packagess is not a field" in str(problem)


def test_globs_and_modules_are_targets_and_paths_may_be_asked_for(tmp_path: Path) -> None:
    write(
        tmp_path,
        pkg__PACKAGE_py="",
        pkg__images_py=SPEC + "from . import names\nall = {n: ImageSpec(name=n) for n in names.N}\n",
        pkg__names_py="N = ['a', 'b']\n",
    )
    assert [one.origin for one in load("pkg/*.py", tmp_path)] == ["pkg/images.py:all['a']", "pkg/images.py:all['b']"]
    assert [one.declaration.name for one in load("pkg.images", tmp_path)] == ["a", "b"]
    assert [one.declaration.name for one in load("pkg.images:all['b']", tmp_path)] == ["b"]
    assert [one.declaration.name for one in load("pkg/images.py:all", tmp_path)] == ["a", "b"]


def test_files_of_one_name_in_two_folders_do_not_meet(tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path, **{f"{name}__helper_py": f"NAME = '{name}'\n"})
        write(tmp_path, **{f"{name}__etl_py": SPEC + "from helper import NAME\nx = ImageSpec(name=NAME)\n"})
    assert [one.declaration.name for one in find(["a/etl.py", "b/etl.py"], tmp_path).targets] == ["a", "b"]


def test_a_module_named_like_one_of_pythons_is_the_users(tmp_path: Path) -> None:
    write(tmp_path, flows__statistics_py=SPEC + "x = ImageSpec(name='mine')\n")
    assert [one.declaration.name for one in load("flows/statistics.py", tmp_path)] == ["mine"]


def test_code_that_raises_hangs_exits_or_crashes_is_reported_and_the_others_go_on(tmp_path: Path) -> None:
    write(
        tmp_path,
        raises_py=SPEC + "def f():\n    return 1 / 0\nf()\n",
        hangs_py=SPEC + "import time\ntime.sleep(60)\n",
        leaves_py=SPEC + "raise SystemExit(3)\n",
        crashes_py=SPEC + "import os\nos._exit(7)\n",
        right_py=SPEC + "print('noise')\nx = ImageSpec(name='x')\n",
    )
    names = ["raises.py", "hangs.py", "leaves.py", "crashes.py", "right.py"]
    found = find(names, tmp_path, import_limit_s=3.0)
    assert [one.origin for one in found.targets] == ["right.py:x"]
    assert [str(problem) for problem in found.problems] == [
        "import raises.py: ZeroDivisionError: division by zero",
        "import hangs.py: it was not done after 3 s",
        "import leaves.py: SystemExit: 3",
        "import crashes.py: the process ended with exit code 7",
    ]
    raised = found.problems[0]
    assert isinstance(raised, ImportFailed)
    assert raised.traceback[0] == "Traceback (most recent call last):"
    assert "return 1 / 0" in "\n".join(raised.traceback)
    assert "discovery.py" not in "\n".join(raised.traceback)


@pytest.mark.parametrize(
    ("target", "error", "text"),
    [
        ("nothing.py", InputMissing, "there is no such file"),
        ("nothing:x", InputMissing, "there is no such module"),
        ("no such thing", SpecError, "is not a YAML, TOML or Python file"),
        ("empty", SpecError, "holds no ImageSpec"),
        ("*.nothing", SpecError, "holds no ImageSpec"),
        ("plain.py", SpecError, "has no ImageSpec"),
        ("plain.py:TEXT", SpecError, "is a str, not an ImageSpec"),
        ("plain.py:OTHER", SpecError, "has no attribute 'OTHER'"),
    ],
)
def test_what_is_not_a_target_says_so(tmp_path: Path, target: str, error: type[Exception], text: str) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path, plain_py="TEXT = 'x'\n")
    with pytest.raises(error, match=text):
        load(target, tmp_path)


def test_a_reference_is_told_from_a_module_without_importing_it(tmp_path: Path) -> None:
    write(tmp_path, flows__PACKAGE_py="raise ZeroDivisionError\n", flows__etl_py="raise ZeroDivisionError\n")
    assert reference_of("flows.etl:image", tmp_path) is None
    assert reference_of("flows", tmp_path) is None
    assert str(reference_of("ghcr.io/team/etl:v1", tmp_path)) == "ghcr.io/team/etl:v1"
