"""The plugin's answers to flytekit, in flytekit's own process: names, existence, settings, other builders."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.flyte.conftest import ANY, Commands
from tests.flyte.door import Door

pytestmark = pytest.mark.integration

HEAD = """
import json, os
from flytekit import ImageSpec
from flytekit.configuration import ImageConfig, SerializationSettings
from flytekit.core.python_auto_container import get_registerable_container_image, update_image_spec_copy_handling
from flytekit.image_spec.image_spec import ImageBuildEngine
"""


def say(flyte: Commands, cwd: Path, text: str, expect: int = 0, **env: str) -> Any:
    """Run a script that ends in a value, and return it."""
    *before, last = textwrap.dedent(text).strip().splitlines()
    script = "\n".join([HEAD, *before, f"print('ANSWER', json.dumps({last}))"])
    printed = flyte.script(script, cwd=cwd, expect=expect, **env)
    answers = [line.removeprefix("ANSWER ") for line in printed.splitlines() if line.startswith("ANSWER ")]
    return json.loads(answers[0]) if answers else printed


def test_our_builder_is_the_usual_one_and_others_stay(flyte: Commands, tmp_path: Path) -> None:
    built = say(
        flyte,
        tmp_path,
        "[ImageSpec().builder, ImageSpec(builder='default').builder, sorted(ImageBuildEngine.get_registry())]",
    )
    assert built == ["imagespec", "default", ["default", "imagespec", "noop"]]


def test_the_tag_is_ours_and_the_same_as_the_commands(flyte: Commands, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("tabulate==0.9.0\n")
    declared = (
        "ImageSpec(name='Etl', registry='ghcr.io/team', requirements='requirements.txt', env={'b': '1', 'a': '2'}, "
        "apt_packages=['jq'], python_version='3.12', pip_extra_args='--no-deps', commands=['true'], "
        "tag_format='{spec_hash}-dev')"
    )
    (tmp_path / "images.py").write_text(f"from flytekit import ImageSpec\nimage = {declared}\n")
    name = say(flyte, tmp_path, f"{declared}.image_name()")
    assert name.startswith("ghcr.io/team/etl:x1-")
    assert name.endswith("-dev")
    assert flyte.imagespec("tag", "images.py:image", cwd=tmp_path).strip() == name


def test_flytekit_is_added_where_it_is_missing_and_is_part_of_the_tag(flyte: Commands, tmp_path: Path) -> None:
    (tmp_path / "with.txt").write_text("flytekit[x]>=1.10\n")
    (tmp_path / "without.txt").write_text("flytekitplugins-papermill\n")
    answers = say(
        flyte,
        tmp_path,
        """
        from imagespec.flyte.conversion import target_of
        from imagespec.workspace import Workspace
        def packages(**fields):
            target = target_of(ImageSpec(**fields), Workspace(cwd=os.getcwd()))
            return [*(target.declaration.packages or ()), *target.declaration.added_packages]
        import flytekit
        asked = [{}, {"packages": ["Flytekit~=1.2"]}, {"packages": ["flytekitplugins-x"]}]
        asked += [{"requirements": "with.txt"}, {"requirements": "without.txt"}, {"base_image": ImageSpec()}]
        [*(packages(**fields) for fields in asked), f"flytekit=={flytekit.__version__}"]
        """,
    )
    added = answers.pop()
    assert answers == [[added], ["flytekit~=1.2"], ["flytekitplugins-x", added], [], [added], []]


def test_the_users_spec_is_not_touched(flyte: Commands, tmp_path: Path) -> None:
    same = say(
        flyte,
        tmp_path,
        """
        import copy, dataclasses
        spec = ImageSpec(name="a", packages=["b"], env={"c": "d"}, base_image=ImageSpec(name="base"))
        before = {**vars(copy.deepcopy(spec))}
        spec.image_name(), spec.id, spec.tag
        vars(spec) == before
        """,
    )
    assert same is True


def test_the_id_is_the_declared_one_also_after_serialization_wrote_into_the_spec(
    flyte: Commands, tmp_path: Path
) -> None:
    """The image's process declares the spec anew, without our plugin: that id is the one to have."""
    ids = say(
        flyte,
        tmp_path,
        """
        base = ImageSpec(name="base")
        made = [ImageSpec(name="a", base_image=base), ImageSpec(name="b", source_root="src"), base]
        plain = ImageSpec.id.func
        before = [plain(spec) for spec in made]
        settings = SerializationSettings(image_config=ImageConfig(), source_root=os.getcwd())
        for spec in made: update_image_spec_copy_handling(spec, settings)
        [before, [spec.id for spec in made], [plain(spec) for spec in made]]
        """,
    )
    before, ours, theirs = ids
    assert ours == before
    assert theirs != before


def test_what_cannot_be_looked_up_is_an_error_unless_the_user_says_otherwise(flyte: Commands, tmp_path: Path) -> None:
    ask = """
    spec = ImageSpec(name="a", registry="127.0.0.1:9")
    get_registerable_container_image(spec, ImageConfig())
    """
    printed = say(flyte, tmp_path, ask, expect=1)
    assert "RegistryUnreachable: look up 127.0.0.1:9/a:x1-" in printed
    assert "hint: check the name, the network" in printed
    assert say(flyte, tmp_path, ask, expect=1, FLYTE_IMG_FAST_FAIL="true") != ""
    assert say(flyte, tmp_path, ask, FLYTE_IMG_FAST_FAIL="false").startswith("127.0.0.1:9/a:x1-")


def test_nothing_is_looked_up_or_built_in_an_execution(flyte: Commands, tmp_path: Path) -> None:
    name = say(
        flyte,
        tmp_path,
        """
        from flytekit.core.context_manager import ExecutionState, FlyteContextManager
        spec = ImageSpec(name="a", registry="127.0.0.1:9")
        context = FlyteContextManager.current_context()
        state = context.execution_state.with_params(mode=ExecutionState.Mode.TASK_EXECUTION)
        with FlyteContextManager.with_context(context.with_execution_state(state)): ImageBuildEngine.build(spec)
        spec.image_name()
        """,
    )
    assert name.startswith("127.0.0.1:9/a:x1-")


def test_push_off_keeps_the_image_here_and_force_builds_once_a_run(flyte: Commands, door: Door, tmp_path: Path) -> None:
    spec = f'ImageSpec(name="slim", registry="{flyte.registry}", packages=["flytekit"], pip_extra_args="--no-deps")'
    ask = f"{HEAD}\nprint([get_registerable_container_image(one, ImageConfig()) for one in ({spec}, {spec})])"
    name = flyte.script(f"{HEAD}\nprint({spec}.image_name())", cwd=tmp_path).split()[-1]

    kept = flyte.script(ask, cwd=tmp_path, FLYTE_PUSH_IMAGE_SPEC="0")
    assert kept.splitlines()[-1] == str([name, name])
    assert flyte.engine("image", "inspect", "--format", "{{.Config.User}}", name) == "flytekit\n"
    flyte.engine("image", "rm", "--force", name)
    assert "absent" in flyte.imagespec("exists", name, cwd=tmp_path, expect=1)

    def pushed(**env: str) -> int:
        before = len(door.seen)
        flyte.script(ask, cwd=tmp_path, **env)
        place = f"/slim/manifests/{name.rpartition(':')[2]}"
        return sum(one.startswith("PUT ") and one.endswith(place) for one in door.seen[before:])

    assert pushed() == 1
    assert "present" in flyte.imagespec("exists", name, cwd=tmp_path)
    assert pushed() == 0
    assert pushed(FLYTE_FORCE_PUSH_IMAGE_SPEC="true") == 1


def test_a_forced_spec_is_built_once_also_beside_an_equal_one(flyte: Commands, door: Door, tmp_path: Path) -> None:
    """flytekit asks once per declaration, and takes the forced one for the other."""
    before = len(door.seen)
    flyte.script(
        f"""{HEAD}
spec = ImageSpec(name="forced", registry="{flyte.registry}", packages=["flytekit"], pip_extra_args="--no-deps")
for one in (spec, spec, spec.force_push(), spec, spec.force_push()):
    get_registerable_container_image(one, ImageConfig())
""",
        cwd=tmp_path,
    )
    made = [one for one in door.seen[before:] if one.startswith("PUT ") and "/forced/manifests/x1-" in one]
    assert len(made) == 1, "it was absent when it was first asked for: that build is the run's"
    before = len(door.seen)
    flyte.script(
        f"""{HEAD}
spec = ImageSpec(name="forced", registry="{flyte.registry}", packages=["flytekit"], pip_extra_args="--no-deps")
for one in (spec, spec.force_push(), spec.force_push()):
    get_registerable_container_image(one, ImageConfig())
""",
        cwd=tmp_path,
    )
    made = [one for one in door.seen[before:] if one.startswith("PUT ") and "/forced/manifests/x1-" in one]
    assert len(made) == 1


def test_an_edit_is_noticed_in_the_same_process(flyte: Commands, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("tabulate==0.9.0\n")
    names = say(
        flyte,
        tmp_path,
        """
        import time
        spec = ImageSpec(name="a", registry="127.0.0.1:9", requirements="requirements.txt")
        first = [get_registerable_container_image(spec, ImageConfig()) for _ in range(2)]
        open("requirements.txt", "a").write("six\\n")
        time.sleep(1.2)
        [*first, get_registerable_container_image(spec, ImageConfig()), spec.image_name()]
        """,
        FLYTE_IMG_FAST_FAIL="false",
    )
    assert names[0] == names[1]
    assert names[2] == names[3]
    assert names[2] != names[0]


def test_a_base_of_another_builder_is_made_by_it_and_named_as_it_says(flyte: Commands, tmp_path: Path) -> None:
    answers = say(
        flyte,
        tmp_path,
        """
        from flytekit.image_spec.image_spec import ImageSpecBuilder
        from imagespec.flyte import images_of_process
        asked = []
        class Other(ImageSpecBuilder):
            def should_build(self, spec): return True
            def build_image(self, spec):
                asked.append(spec.name)
                return "other.test/name:1"
        ImageBuildEngine.register("other", Other(), priority=3)
        bases = [ImageSpec(name="n", builder="noop", base_image="ghcr.io/x/y:1"), ImageSpec(name="o", builder="other")]
        specs = [ImageSpec(name="a", registry="127.0.0.1:9", base_image=base) for base in bases]
        names = [get_registerable_container_image(spec, ImageConfig()) for spec in specs]
        again = [get_registerable_container_image(spec, ImageConfig()) for spec in specs]
        used = [images_of_process().image_of(spec).identity.plan.base for spec in specs]
        [names, again, asked, [str(base.reference) for base in used]]
        """,
        FLYTE_IMG_FAST_FAIL="false",
    )
    names, again, asked, used = answers
    assert asked == ["o"]
    assert used == ["ghcr.io/x/y:1", "other.test/name:1"]
    assert names == again
    assert names[0] != names[1]


def test_each_spec_is_built_by_the_builder_that_it_names(flyte: Commands, tmp_path: Path) -> None:
    answers = say(
        flyte,
        tmp_path,
        """
        from flytekit.image_spec.image_spec import ImageSpecBuilder
        asked = []
        class Other(ImageSpecBuilder):
            def should_build(self, spec): return True
            def build_image(self, spec):
                asked.append(spec.name)
                return "other/name:1"
        ImageBuildEngine.register("other", Other(), priority=3)
        noop = ImageSpec(name="n", builder="noop", base_image="ghcr.io/x/y:1")
        other = ImageSpec(name="o", builder="other")
        default = ImageSpec(name="d", builder="default")
        names = [get_registerable_container_image(spec, ImageConfig()) for spec in (noop, other)]
        [*names, asked, default.tag.startswith("x1-"), ImageSpec(name="d").tag.startswith("x1-")]
        """,
    )
    assert answers == ["ghcr.io/x/y:1", "other/name:1", ["o"], False, True]


def test_the_interpreter_is_left_as_it_was(flyte: Commands, tmp_path: Path) -> None:
    answers = say(
        flyte,
        tmp_path,
        """
        import gc, sys
        def after(name):
            get_registerable_container_image(ImageSpec(name=name, registry="127.0.0.1:9"), ImageConfig())
            return [gc.isenabled(), gc.get_freeze_count() > 0, sys.getswitchinterval()]
        intervals = [sys.getswitchinterval()]
        states = [after("a")]
        gc.freeze()
        gc.disable()
        sys.setswitchinterval(0.000123)
        intervals.append(sys.getswitchinterval())
        states.append(after("b"))
        [states, intervals]
        """,
        FLYTE_IMG_FAST_FAIL="false",
    )
    states, intervals = answers
    assert states == [[True, False, intervals[0]], [False, True, intervals[1]]]


def test_other_builders_still_build_what_names_them(flyte: Commands, tmp_path: Path) -> None:
    """flytekit's own and envd's. Their real code runs; ``docker`` and ``envd`` only note what they are asked for."""
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", sys.executable]
    packages = [f"flytekitplugins-envd=={version('flytekit')}", "envd"]
    subprocess.run([*uv, "--no-deps", "--target", str(tmp_path / "plugin"), *packages], check=True, timeout=300)
    (tmp_path / "bin").mkdir()
    for name in ("docker", "envd"):
        stub = tmp_path / "bin" / name
        stub.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/{name}.asked\n')
        stub.chmod(0o755)
    package = tmp_path / "root" / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "flow.py").write_text(
        "from flytekit import ImageSpec, task\n"
        f"slim = dict(registry='{flyte.registry}', packages=['flytekit'], pip_extra_args='--no-deps')\n"
        "images = [ImageSpec(name='mine', **slim), ImageSpec(name='theirs', builder='default', **slim),\n"
        "    ImageSpec(name='none', builder='noop', base_image='ghcr.io/x/y:1'),\n"
        "    ImageSpec(name='envds', builder='envd', **slim)]\n"
        "@task(container_image=images[0])\ndef mine() -> None: ...\n"
        "@task(container_image=images[1])\ndef theirs() -> None: ...\n"
        "@task(container_image=images[2])\ndef none() -> None: ...\n"
        "@task(container_image=images[3])\ndef envds() -> None: ...\n"
    )
    env = {"PATH": f"{tmp_path / 'bin'}:{flyte.env['PATH']}", "PYTHONPATH": str(tmp_path / "plugin")}
    images = {name: one.container.image for name, one in flyte.package(cwd=package.parent, **env).items()}
    (asked,) = (tmp_path / "docker.asked").read_text().splitlines()
    assert f"--tag {images['shop.flow.theirs']} --platform linux/amd64 --push" in asked
    by_envd = (tmp_path / "envd.asked").read_text().splitlines()[-1]
    assert by_envd.startswith("build ")
    assert by_envd.endswith(f"--output type=image,name={images['shop.flow.envds']},push=true")
    assert "x1-" not in images["shop.flow.theirs"] + images["shop.flow.envds"]
    assert images["shop.flow.none"] == "ghcr.io/x/y:1"
    assert "present" in flyte.imagespec("exists", images["shop.flow.mine"], cwd=tmp_path)


def test_every_launcher_asks_for_the_same_images(flyte: Commands, door: Door, tmp_path: Path) -> None:
    package = tmp_path / "root" / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("NUMBER = 1\n")
    (package / "flow.py").write_text(
        "from flytekit import ImageSpec, task, workflow\n"
        "from shop.helper import NUMBER\n"
        f"image = ImageSpec(name='all', registry='{flyte.registry}/never', builder='imagespec')\n"
        "@task(container_image=image)\n"
        "def one() -> int:\n    return NUMBER\n"
        "@workflow\n"
        "def flow() -> int:\n    return one()\n"
    )

    def asked(name: str, *arguments: str) -> set[str]:
        before = len(door.seen)
        # The registry is read only from here: what would be built is said, and not built.
        flyte.pyflyte(
            *arguments, cwd=package.parent, expect=ANY, DOCKER_HOST="unix:///nowhere", IMAGESPEC_BUILDER="buildkit"
        )
        found = {request for request in door.seen[before:] if "/never/" in request}
        assert found, name
        return found

    output = str(tmp_path / "out.tgz")
    baked = asked("package", "--pkgs", "shop", "package", "-i", "x/y:z", "-o", output)
    assert asked("build", "build", "shop/flow.py", "flow") == baked
    common = ("--project", "p", "--domain", "d", "--version", "v", "--dry-run", "shop")
    assert asked("register", "register", "--copy", "none", *common) == baked
    fast = asked("package --copy", "--pkgs", "shop", "package", "-i", "x/y:z", "-o", output, "--copy", "all")
    assert fast != baked
    assert asked("build --fast", "build", "--fast", "shop/flow.py", "flow") == fast
    named = flyte.imagespec("tag", "shop/flow.py:image", "--short", cwd=package.parent).strip()
    assert {request.rpartition("/")[2] for request in fast} == {named}


def test_an_image_that_flytekit_made_is_used_where_the_setting_asks_for_it(flyte: Commands, tmp_path: Path) -> None:
    declared = f"name='moved', registry='{flyte.registry}', python_version='3.11'"
    asked = f"get_registerable_container_image(ImageSpec({declared}), ImageConfig())"
    theirs: str = say(flyte, tmp_path, f"ImageSpec({declared}, builder='default').image_name()")
    ours: str = say(flyte, tmp_path, f"ImageSpec({declared}).image_name()")
    (tmp_path / "images.py").write_text(f"from flytekit import ImageSpec\nimage = ImageSpec({declared})\n")
    assert flyte.imagespec("tag", "--flyte", "images.py:image", cwd=tmp_path).strip() == theirs

    (tmp_path / "seed.yaml").write_text("name: seed\npython_version: '3.11'\n")
    seed = flyte.imagespec("build", "seed.yaml", "--registry", flyte.registry, cwd=tmp_path).strip()
    for arguments in (("pull", "--quiet", seed), ("tag", seed, theirs), ("push", "--quiet", theirs)):
        flyte.docker(*arguments)

    reuse = {"IMAGESPEC_REUSE_FLYTE_TAGS": "1"}
    assert say(flyte, tmp_path, asked, **reuse) == theirs
    assert "absent" in flyte.imagespec("exists", ours, cwd=tmp_path, expect=1), "nothing was built"
    child = f"ImageSpec(name='child', registry='{flyte.registry}', base_image=ImageSpec({declared}), env={{'A': 'b'}})"
    named = say(flyte, tmp_path, f"get_registerable_container_image({child}, ImageConfig())", **reuse)
    assert "/child:x1-" in named
    assert "present" in flyte.imagespec("exists", ours, cwd=tmp_path), "a child is built on an image of our own"
