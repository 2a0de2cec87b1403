"""One plan has one tag whichever builder makes it, so its images must behave the same: this is what that means."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from imagespec.wheels.pins import is_lock_label
from tests.integration.conftest import Command

pytestmark = pytest.mark.integration

BUILDERS = ("buildkit", "daemonless")

SPEC = """\
name: same
packages: [humanize==4.12.3, rich==13.9.4]
requirements: requirements.txt
copy: [app, "a name with spaces.txt"]
env: {B: 'two $HOME "quoted"', A: one}
entrypoint: [python, app/main.py]
builder_options: {labels: {team: data}}
"""

LOOK = """\
id; pwd; env | grep -v ^HOSTNAME= | sort
command -v python pip markdown-it
python -c 'import sys; print(sys.version_info[:2], sys.prefix)'
pip list --format freeze; pip check
find /root /home/flytekit -printf '%M %U:%G %p %l\\n' | sort
stat -c '%a %U %n' / /tmp /root /home /home/flytekit /opt/venv /opt/venv/lib /var/mail /run
python -c 'import humanize, importlib.metadata as m; print(humanize.naturalsize(1e6), m.version("rich"))'
markdown-it --version
touch /root/new /opt/venv/new && echo writable
getent passwd flytekit; getent group flytekit
"""


@pytest.fixture(scope="module")
def images(shared_imagespec: Command, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    project = tmp_path_factory.mktemp("project")
    (project / "app" / "bin").mkdir(parents=True)
    (project / "app" / "main.py").write_text("import humanize\nprint(humanize.intcomma(1234567))\n")
    (project / "app" / "bin" / "run.sh").write_text("#!/bin/sh\n")
    (project / "app" / "bin" / "run.sh").chmod(0o755)
    (project / "app" / "link").symlink_to("main.py")
    (project / "app" / "empty").mkdir()
    (project / "a name with spaces.txt").write_text("text")
    (project / "requirements.txt").write_text("tabulate==0.9.0\n")
    (project / "image.yaml").write_text(SPEC)
    made = {}
    for builder in BUILDERS:
        registry = f"{shared_imagespec.registry}/{builder}"
        arguments = ("build", "image.yaml", "--registry", registry, "--builder", builder)
        made[builder] = shared_imagespec(*arguments, cwd=project).stdout.strip()
    shutil.rmtree(project)
    return made


def inspected(command: Command, reference: str) -> dict[str, Any]:
    command.docker("pull", "--quiet", reference)
    value: dict[str, Any] = json.loads(command.docker("inspect", reference))[0]
    return value


def test_both_builders_give_the_same_tag(images: dict[str, str]) -> None:
    tags = {reference.partition("@")[0].rpartition(":")[2] for reference in images.values()}
    assert len(tags) == 1


def test_the_containers_look_the_same_from_inside(shared_imagespec: Command, images: dict[str, str]) -> None:
    seen = {}
    for builder, reference in images.items():
        arguments = ("run", "--rm", "--quiet", "--entrypoint", "sh", reference, "-euc", LOOK)
        seen[builder] = shared_imagespec.docker(*arguments).splitlines()
    assert seen["daemonless"] == seen["buildkit"]
    assert {"No broken requirements found.", "1.0 MB 13.9.4", "writable"} <= set(seen["daemonless"])


def test_the_entrypoint_runs(shared_imagespec: Command, images: dict[str, str]) -> None:
    for reference in images.values():
        assert shared_imagespec.docker("run", "--rm", "--quiet", reference) == "1,234,567\n"


def test_the_configs_say_the_same(shared_imagespec: Command, images: dict[str, str]) -> None:
    configs = {}
    for builder, reference in images.items():
        image = inspected(shared_imagespec, reference)
        config = image["Config"]
        kept = {key: config.get(key) or None for key in ("Env", "Entrypoint", "Cmd", "User", "WorkingDir")}
        labels = {key: value for key, value in config["Labels"].items() if not is_lock_label(key)}
        configs[builder] = {**kept, "labels": labels, "platform": (image["Os"], image["Architecture"])}
    assert configs["daemonless"] == configs["buildkit"]
    assert configs["daemonless"]["labels"]["team"] == "data"
