"""Images for several platforms, made on one of them without running anything, and run on each (under emulation)."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagespec.names import Reference
from imagespec.oci import Platform
from imagespec.registry.http import HttpRegistry
from imagespec.validator import check_image
from tests.integration.conftest import Command
from tests.integration.daemonless.places import OWNED, Bed

pytestmark = pytest.mark.integration

MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
# markupsafe has a part in C, tabulate a console script.
SPEC = """\
name: both
base_image: {base}
platform: linux/amd64,linux/arm64
packages: [markupsafe==3.0.3, tabulate==0.9.0]
copy: [app.py]
env: {{GREETING: "hello $USER"}}
entrypoint: [python, app.py]
"""
# Little is imported and nothing else started: under emulation that takes its time.
APP = """\
import markupsafe._speedups, os, pwd, shutil, tabulate
print(os.uname().machine, markupsafe.escape("<"), markupsafe._speedups.__file__.rpartition(".cpython-")[2])
print(pwd.getpwuid(os.getuid()).pw_name, os.getcwd(), os.environ["GREETING"], tabulate.__version__)
print(open(shutil.which("tabulate")).readline().strip())
"""


@pytest.fixture
def two_platforms(testbed: Bed) -> str:
    """Return the reference of a base for both platforms."""
    if testbed["two_platforms"] is None:
        pytest.skip("arm64 programs do not run here: `bed.py up` says why")
    return f"{testbed['registry']}/{testbed['two_platforms']}"


def test_the_images_of_an_index_run(imagespec: Command, two_platforms: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "image.yaml").write_text(SPEC.format(base=two_platforms))
    words = ("--registry", imagespec.registry, "--builder", "daemonless")
    said = imagespec("build", "image.yaml", *words, cwd=tmp_path).stdout.strip()
    reference = Reference.parse(said)
    with HttpRegistry() as registry:
        check_image(registry, reference, base_layers=1, changed=OWNED)
        assert registry.resolve(reference, tuple(map(Platform.parse, MACHINES))) is not None
    for platform, machine in MACHINES.items():
        run = ("run", "--rm", "--quiet", "--pull", "always", "--platform", platform)
        assert imagespec.docker(*run, said).splitlines() == [
            f"{machine} &lt; 313-{machine}-linux-gnu.so",
            "flytekit /root hello $USER 0.9.0",
            "#!/opt/venv/bin/python",
        ]


def test_an_edit_of_sources_makes_a_layer_a_platform(imagespec: Command, two_platforms: str, tmp_path: Path) -> None:
    (tmp_path / "image.yaml").write_text(SPEC.format(base=two_platforms))
    words = ("--registry", imagespec.registry, "--builder", "daemonless")
    layers = []
    with HttpRegistry() as registry:
        for text in (APP, f"{APP}print('edited')\n"):
            (tmp_path / "app.py").write_text(text)
            reference = Reference.parse(imagespec("build", "image.yaml", *words, cwd=tmp_path).stdout.strip())
            index = registry.read_manifest(reference)
            assert index is not None
            images = [
                registry.read_manifest(Reference(reference.repository, None, one.digest)) for one in index.manifests
            ]
            layers.append([[layer.digest for layer in image.layers] for image in images if image is not None])
    for before, after in zip(*layers, strict=True):
        assert before[:-1] == after[:-1]
        assert before[-1] != after[-1]
