"""Whatever is typed in a field is refused by name, or the Dockerfile says what a tame value would make it say."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from imagespec.builders.commands import context_texts
from imagespec.dockerfile import render
from imagespec.errors import SpecError
from imagespec.fingerprint import fingerprint_of, tag_of
from imagespec.plan import BuildPlan
from imagespec.planner import make_plan
from imagespec.snapshot import LockFiles, Snapshot, TextFile
from imagespec.spec import Declaration
from tests.property.dockerfile_reader import Meaning, NotReadable, meaning, parse
from tests.property.nasty import around, nasty

TEMPLATE = (Path(__file__).resolve().parents[2] / "templates" / "Dockerfile.j2").read_text()

LOCK = LockFiles(kind="uv.lock", files=(TextFile(path="uv.lock", data=b""),))

Put = Callable[[str], dict[str, Any]]

# How a text is put in a field, and a tame text for it.
FIELDS: Mapping[str, tuple[Put, str]] = {
    "env": (lambda v: {"env": {"TAME": v}}, "tamevalue"),
    "env name": (lambda v: {"env": {v: "x"}}, "tamevalue"),
    "commands": (lambda v: {"commands": [v]}, "tamevalue"),
    "entrypoint": (lambda v: {"entrypoint": ["x", v]}, "tamevalue"),
    "apt_packages": (lambda v: {"apt_packages": [v]}, "tamevalue"),
    "packages": (lambda v: {"packages": [v]}, "tamevalue"),
    "conda_packages": (lambda v: {"conda_packages": [v]}, "tamevalue"),
    "conda_channels": (lambda v: {"conda_packages": ["x"], "conda_channels": [v]}, "tamevalue"),
    "python_version": (lambda v: {"python_version": v, "base_image": "x"}, "3.91"),
    "python_exec": (lambda v: {"python_exec": v}, "tamevalue"),
    "base_image": (lambda v: {"base_image": v}, "tamevalue:1"),
    "platform": (lambda v: {"platform": v}, "linux/arm64"),
    "pip_index": (lambda v: {"pip_index": v, "packages": ["x"]}, "https://tame.example/"),
    "pip_extra_index_url": (lambda v: {"pip_extra_index_url": [v]}, "https://tame.example/"),
    "pip_extra_args": (lambda v: {"pip_extra_args": shlex.quote(v), "packages": ["x"]}, "tamevalue"),
    "name": (lambda v: {"name": v}, "tamevalue"),
    "registry": (lambda v: {"registry": v}, "tamevalue"),
    "tag_format": (lambda v: {"tag_format": v}, "{spec_hash}-tamevalue"),
    "labels": (lambda v: {"builder_options": {"labels": {"tame": v}}}, "tamevalue"),
    "label name": (lambda v: {"builder_options": {"labels": {v: "x"}}}, "tamevalue"),
    "user": (lambda v: {"builder_options": {"user": v}}, "tamevalue"),
    "workdir": (lambda v: {"builder_options": {"workdir": v}}, "/tamevalue"),
    "extras": (lambda v: {"builder_options": {"extras": [v]}}, "tamevalue"),
    "groups": (lambda v: {"builder_options": {"groups": [v]}}, "tamevalue"),
    "build argument": (lambda v: {"builder_options": {"build_args": {v: "x"}}}, "tamevalue"),
    "build argument's value": (lambda v: {"builder_options": {"build_args": {"TAME": v}}}, "tamevalue"),
    "uv_image": (lambda v: {"builder_config": {"uv_image": v}}, "tamevalue:1"),
    "micromamba_image": (
        lambda v: {"builder_config": {"micromamba_image": v}, "conda_packages": ["x"]},
        "tamevalue:1",
    ),
    "secret target": (lambda v: {"pip_secret_mounts": [["/x", v]]}, "/tamevalue"),
}
# Any text is a value of these.
FREE = ("env", "commands", "entrypoint", "labels")
EXAMPLES = {name: 250 if name in FREE else 75 for name in FIELDS}


def planned(put: Put, text: str) -> tuple[BuildPlan, list[str]]:
    """Return the plan and the paths of secrets; raise SpecError."""
    declaration = Declaration(**put(text))
    with_extras = not {"extras", "groups"}.isdisjoint(declaration.builder_options or {})
    plan = make_plan(declaration, Snapshot(requirements=LOCK if with_extras else None), image_id="the-id")
    tag_of(fingerprint_of(plan), declaration.tag_format)
    return plan, [target for _, target in declaration.pip_secret_mounts or ()]


def said(plan: BuildPlan, secrets: list[str]) -> list[Meaning]:
    """Return what the plan's Dockerfile means, without the names of caches, which follow from the base."""
    rendering = render(plan, TEMPLATE, secrets)
    found = meaning(rendering.dockerfile, dict(rendering.arguments))
    return [tuple(re.sub(r"(id=imagespec-apt-\w+)-[0-9a-f]{12}", r"\1", part) for part in one) for one in found]


def texts(value: object) -> Iterator[str]:
    """Yield every text in a plan, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from texts(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for one in dataclasses.fields(value):
            yield from texts(getattr(value, one.name))


def expected(name: str, tame: tuple[BuildPlan, list[str]], got: tuple[BuildPlan, list[str]]) -> list[Meaning]:
    """Return what the tame plan says, with the tame texts replaced by those of the other plan, quoted in scripts."""
    pairs = {old: new for old, new in zip(texts(list(tame)), texts(list(got)), strict=True) if old != new}
    pattern = re.compile("|".join(re.escape(old) for old in pairs) or "(?!)")

    def replaced(part: str, in_script: bool) -> str:
        is_quoted = in_script and name != "commands"
        return pattern.sub(lambda m: shlex.quote(pairs[m[0]]) if is_quoted else pairs[m[0]], part)

    return [tuple(replaced(part, one[0] == "RUN" and "\n" in part) for part in one) for one in said(*tame)]


@pytest.mark.parametrize("name", FIELDS)
def test_a_text_is_refused_or_stays_a_text(name: str) -> None:
    put, tame = FIELDS[name]
    tame_plan = planned(put, tame)

    @settings(
        max_examples=EXAMPLES[name],
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(around(tame))
    def check(text: str) -> None:
        try:
            plan = planned(put, text)
        except SpecError as error:
            refused = error
        else:
            refused = None
        if refused is not None:
            assert refused.exit_code == 2
            assert str(refused).isprintable(), "a message cannot be forged"
            return
        if name == "env name" and text in ("PATH", "PYTHONPATH"):
            return
        if name == "platform":
            assert said(*plan) == said(*tame_plan)
            return
        assert sorted(said(*plan)) == sorted(expected(name, tame_plan, plan))
        for file in context_texts(plan[0]):
            assert file.path.isprintable()

    check()


def test_thousands_of_values_are_tried() -> None:
    assert sum(EXAMPLES.values()) >= 2_000


@pytest.mark.parametrize("name", ["env", "commands"])
def test_nearly_every_printable_value_is_accepted(name: str) -> None:
    random, put, accepted = Random(2), FIELDS[name][0], 0
    for _ in range(1_000):
        length = random.choice((1, 3, 10, 60))
        text = "".join(
            chr(random.choice((*range(32, 127), *range(161, 0x2FF), 0x540D, 0x1F600))) for _ in range(length)
        )
        try:
            planned(put, text)
            accepted += 1
        except SpecError:
            assert not text.strip()
    assert accepted >= 950


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(nasty)
def test_free_fields_refuse_only_what_no_system_can_hold(text: str) -> None:
    can_be_held = "\0" not in text and "\ud800" not in text
    for name in FREE:
        try:
            planned(FIELDS[name][0], text)
            was_accepted = True
        except SpecError:
            was_accepted = False
        assert was_accepted == (can_be_held and (bool(text.strip()) or name != "commands"))


def test_long_values_are_carried_or_refused() -> None:
    limit = 130_000 - len("TAME")
    for size in (31_999, 32_001, 65_535, 65_536, limit):
        plan = planned(FIELDS["env"][0], '"$' * (size // 2))
        assert said(*plan) == expected("env", planned(*FIELDS["env"]), plan)
    for size in (64_999, 65_536, 131_072, 1_000_000):
        command = "echo " + "é" * (size // 2)
        plan, _ = planned(FIELDS["commands"][0], command)
        files = {file.path: file.data for file in context_texts(plan)}
        script = said(plan, [])[-3][-1]
        held = script if command in script else files["step-1/command.sh"].decode()
        assert held.endswith(f"{command}\n")
    with pytest.raises(SpecError, match=r"^env\.TAME: is longer than 130,000 bytes$"):
        planned(FIELDS["env"][0], "x" * (limit + 1))
    with pytest.raises(SpecError, match="longer than 500,000 bytes in all"):
        Declaration(env={f"N{number}": "x" * 100_000 for number in range(6)})
    too_long, _ = planned(FIELDS["entrypoint"][0], "x" * 70_000)
    with pytest.raises(SpecError, match="too long for BuildKit"):
        render(too_long, TEMPLATE)


def test_variables_that_no_build_can_carry_are_refused() -> None:
    spec = Declaration(env={"LONG": "x" * 100_000}, commands=["true"] * 20)
    with pytest.raises(SpecError, match=r"^env: too long for a build of 22 steps, each of which gets all variables$"):
        render(make_plan(spec, Snapshot()), TEMPLATE)


@pytest.mark.parametrize(
    "text",
    [
        "# syntax=evil\nFROM x",
        "FROM x \\",
        "FROM x\nRUN <<'A'\nno end",
        "FROM x\nEVIL y",
        'FROM x\nENV A="b" c',
        'FROM x\nENV A="b"c',
        "FROM x\nENV A=$B",
        "FROM x\nRUN " + "y" * 65_535,
    ],
)
def test_the_reader_refuses_what_it_should(text: str) -> None:
    with pytest.raises(NotReadable):
        meaning(text, {})


def test_the_reader_reads_as_buildkit_does() -> None:
    text = (
        'FROM x \\\n  # a comment\n\n AS y\nRUN --mount=a \\\n  <<\'E\'\nENV \\\n# kept\nE\r\nENV N="a\\$b\\"\\\\ $M"\n'
    )
    text += 'COPY ["a b", "c"]\n'
    first = parse(text)[0]
    assert (first.name, first.flags, first.rest) == ("FROM", (), "x  AS y")
    assert meaning(text, {})[1:] == [
        ("RUN", "--mount=a", "ENV \\\n# kept\n"),
        ("ENV", "N", 'a$b"\\ '),
        ("COPY", "a b", "c"),
    ]
