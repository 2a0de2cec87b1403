"""Our dataclasses beside the standard library's: the same behaviour, seen from outside."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, ClassVar

import pytest

from imagespec import values

PACKAGE = Path(values.__file__).parent


def made(library: Any, **options: bool) -> type[Any]:
    """Return one class as a library's decorator makes it."""

    @library.dataclass(**options)
    class Thing:
        kind: ClassVar[str] = "thing"
        name: str
        size: int = 3
        tags: list[str] = library.field(default_factory=list)
        secret: str = library.field(default="", repr=False)
        note: str = library.field(default="", compare=False, kw_only=True)

        @property
        def doubled(self) -> int:
            return self.size * 2

    return Thing


@values.dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """At module level, where pickle finds it."""

    x: int
    y: int = 0


@values.dataclass(frozen=True, slots=True)
class Below:
    a: int
    b: str = "b"


@values.dataclass(frozen=True, slots=True)
class Above(Below):
    c: int = 5

    def __post_init__(self) -> None:
        object.__setattr__(self, "c", self.c + self.a)


OPTIONS: list[dict[str, bool]] = [
    {},
    {"frozen": True},
    {"slots": True},
    {"frozen": True, "slots": True},
    {"frozen": True, "slots": True, "kw_only": True},
    {"frozen": True, "slots": True, "order": True},
]


def outcome(act: Any) -> Any:
    """Return what an act gives, or the type of what it raises."""
    try:
        return act()
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_class_behaves_as_the_standard_one(options: dict[str, bool]) -> None:
    def seen(library: Any) -> list[Any]:
        cls = made(library, **options)
        one = cls(name="a", tags=["t"], secret="s", note="n")
        same, other = cls(name="a", tags=["t"], secret="s", note="other"), cls(name="b")
        acts = [
            lambda: repr(one).replace(cls.__qualname__, "Thing"),
            lambda: (one == same, one == other, one == 3, one != other),
            lambda: hash(cls(name="a", tags=())) == hash(cls(name="a", tags=(), note="n")),  # type: ignore[arg-type]
            lambda: hash(one),
            lambda: (one < other, one <= other, one > other, one >= other),
            lambda: cls("positional"),
            lambda: cls(name="a", unknown=1),
            lambda: cls(),
            lambda: setattr(one, "name", "changed"),
            lambda: delattr(one, "name"),
            lambda: isinstance(outcome(lambda: setattr(one, "unknown", 1)), type),  # of which type, differs
            lambda: hasattr(one, "__dict__"),
            lambda: (cls.kind, one.doubled, cls.__match_args__, cls.__module__, cls.__name__),
            lambda: (one.tags is not other.tags, other.tags, other.size),
            lambda: getattr(cls, "size", None) if "slots" not in options else None,
            lambda: str(inspect.signature(cls)).replace("typing.", "").replace("<factory>", ""),
            lambda: [(f.name, f.type, f.compare, f.repr, f.kw_only) for f in dataclasses.fields(cls)],
            lambda: dataclasses.replace(other, size=9).size,
            lambda: dataclasses.asdict(other),
            lambda: dataclasses.is_dataclass(cls),
            lambda: copy.deepcopy(other) == other,
        ]
        results = [outcome(act) for act in acts]
        return [type(one).__name__ if isinstance(one, cls) else one for one in results]

    ours, theirs = seen(values), seen(dataclasses)
    position = 15  # the default of a factory is shown as an object of each library's own
    assert ours[position].startswith(theirs[position].partition("tags")[0])
    assert ours[:position] + ours[position + 1 :] == theirs[:position] + theirs[position + 1 :]


def test_fields_of_a_class_above_come_first_and_post_init_is_called() -> None:
    assert Above(1, "x") == Above(a=1, b="x", c=5)
    assert Above(1).c == 6
    assert [one.name for one in values.fields(Above)] == ["a", "b", "c"]
    assert not hasattr(Above(1), "__dict__")
    assert Above(1) != Below(1)


def test_replace_makes_the_instance_anew() -> None:
    assert values.replace(Above(1), a=2) == Above(2, c=6)
    with pytest.raises(TypeError):
        values.replace(Above(1), d=2)  # type: ignore[call-arg]


def test_a_standard_class_may_stand_above_ours() -> None:
    @dataclasses.dataclass(frozen=True)
    class Theirs(Below):
        d: int = 7

    assert Theirs(1) == Theirs(a=1, b="b", d=7)


def test_instances_are_pickled_and_copied() -> None:
    assert pickle.loads(pickle.dumps(Point(x=1, y=2))) == Point(x=1, y=2)
    assert copy.copy(Point(x=1)) == Point(x=1)


def test_methods_of_the_class_itself_stay() -> None:
    @values.dataclass(frozen=True, slots=True)
    class Own:
        a: int

        def __eq__(self, other: object) -> bool:
            return True

        def __repr__(self) -> str:
            return "own"

    assert Own(1) == 2
    assert repr(Own(1)) == "own"
    assert hash(Own(1)) == hash(Own(1))
    assert values.is_dataclass(Own)
    assert not values.is_dataclass(3)


def test_the_first_instances_may_be_made_by_several_threads() -> None:
    for _ in range(50):
        cls = made(values, frozen=True, slots=True)
        found: list[Any] = []
        threads = [threading.Thread(target=lambda: found.append(cls("a"))) for _ in range(4)]  # noqa: B023
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [cls("a")] * 4


def test_defining_classes_loads_nothing_heavy() -> None:
    code = (
        "import sys; before = set(sys.modules); import imagespec.plan, imagespec.spec;"
        "print(sorted({'dataclasses', 'inspect'} & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_module_that_every_command_loads_uses_the_standard_ones() -> None:
    apart = ("flyte", "task")  # loaded beside flytekit, or to serialize
    found = [
        str(file.relative_to(PACKAGE))
        for file in sorted(PACKAGE.rglob("*.py"))
        if file.relative_to(PACKAGE).parts[0] not in apart and file.name != "values.py"
        if re.search(r"(?m)^(from|import) dataclasses\b", file.read_text(encoding="utf-8"))
    ]
    assert found == [], "import dataclass, field, fields and replace from imagespec.values"


@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [
        (("a",), {}),
        (("a", 1, ["t"], "s"), {"note": "n"}),
        ((), {"name": "a", "secret": "s"}),
        ((), {}),
        ((), {"size": 1}),
        (("a",), {"name": "b"}),
        (("a",), {"unknown": 1}),
        (("a", 1, ["t"], "s", "n"), {}),
    ],
    ids=str,
)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_first_and_the_second_instance_are_made_alike(
    arguments: tuple[Any, ...], keywords: dict[str, Any], options: dict[str, bool]
) -> None:
    def shown(cls: type[Any]) -> str:
        try:
            return repr(cls(*arguments, **keywords))
        except TypeError as error:
            return str(error)

    ours, theirs = made(values, **options), made(dataclasses, **options)
    assert [shown(ours), shown(ours)] == [shown(theirs)] * 2


def test_post_init_of_a_first_instance_is_called() -> None:
    @values.dataclass(frozen=True, slots=True)
    class Checked:
        a: int

        def __post_init__(self) -> None:
            object.__setattr__(self, "a", self.a + 1)

    assert [Checked(1).a, Checked(a=1).a, Checked(1).a] == [2, 2, 2]
