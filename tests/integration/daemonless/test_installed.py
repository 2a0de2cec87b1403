"""What wheels bring works inside a container as if pip had installed it, beside what the base has."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from imagespec.builders import BuildOptions
from imagespec.builders.daemonless import DaemonlessBuilder
from imagespec.events import discard
from imagespec.names import Reference
from imagespec.oci import OCI_CONFIG, OCI_LAYER_GZIP, Manifest, canonical_json, digest_of
from imagespec.tarball import tar_bytes
from imagespec.validator import check_image
from tests.fakes.bases import Content, file, folder
from tests.fakes.images import body, described
from tests.fakes.package_index import make_wheel, serving
from tests.integration.daemonless.places import OWNED, Place
from tests.integration.sources import Sources, plan_of

pytestmark = pytest.mark.integration

SITE = "usr/lib/python3/dist-packages"
CODE = """\
import sys
def main():
    print("did", *sys.argv[1:])
def plug():
    return "plugged"
"""
LOOK = """\
import importlib.metadata as m, importlib.resources, json, pathlib, subprocess, sys
import basepkg, both, ns.one, ns.two, from_pth
names = [dist.metadata["Name"] for dist in m.distributions() if "venv" in str(dist.locate_file(""))]
(point,) = m.entry_points(group="tests.plugins")
print(json.dumps({
    "base": [basepkg.WHO, m.version("basepkg")],
    "both": [both.WHO, m.version("both")],
    "twice": sorted({name for name in names if names.count(name) > 1}),
    "namespace": [ns.one.X, ns.two.X, len(ns.__path__)],
    "pth": from_pth.X,
    "point": point.load()(),
    "script": subprocess.run(["rich-do", "word"], capture_output=True, text=True).stdout,
    "data": pathlib.Path(sys.prefix, "share/rich/data.txt").read_text(),
    "resource": importlib.resources.files("rich_files").joinpath("in.txt").read_text(),
    "installer": m.distribution("richer").read_text("INSTALLER").strip(),
    "files": all(file.locate().is_file() for file in m.files("richer")),
}))
"""


def info(name: str, version: str) -> list[Content]:
    """Return an installed package as a base of Debian's has it: a module and its metadata."""
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    return [
        file(f"{SITE}/{name}.py", f"WHO = '{name} {version} of the base'\n".encode()),
        file(f"{SITE}/{name}-{version}.dist-info/METADATA", metadata.encode()),
        file(f"{SITE}/{name}-{version}.dist-info/RECORD"),
    ]


def with_layer(place: Place, entries: list[Content]) -> Reference:
    """Write an image with one layer over the test-bed's base."""
    base = Reference.parse(place.base)
    manifest = place.registry.read_manifest(base)
    assert manifest is not None
    with place.registry.read_blob(base.repository, manifest.config.digest) as stream:
        config = json.load(stream)
    for layer in manifest.layers:
        assert place.registry.mount(place.repository, layer.digest, base.repository)
    data = tar_bytes(entries)
    packed = gzip.compress(data, mtime=0)
    config["rootfs"]["diff_ids"].append(str(digest_of(data)))
    config.pop("history", None)
    text = canonical_json(config)
    described_layer, described_config = described(packed, OCI_LAYER_GZIP), described(text, OCI_CONFIG)
    place.registry.write_blob(place.repository, described_layer, body(packed))
    place.registry.write_blob(place.repository, described_config, body(text))
    made = Manifest.image(config=described_config, layers=(*manifest.layers, described_layer))
    place.registry.write_manifest(place.reference("with-packages"), made)
    return place.reference("with-packages")


def test_packages_of_the_base_and_of_wheels_live_together(place: Place, cache: Path, tmp_path: Path) -> None:
    base = with_layer(place, [folder(SITE), *info("basepkg", "1.0"), *info("both", "1.0")])
    make_wheel(tmp_path, "both", "2.0")
    make_wheel(tmp_path, "ns_one", files={"ns/one.py": "X = 1\n"})
    make_wheel(tmp_path, "ns_two", files={"ns/two.py": "X = 2\n"})
    make_wheel(tmp_path, "pth", files={"pth_files/from_pth.py": "X = 3\n", "pth.pth": "pth_files\n"})
    points = "[console_scripts]\nrich-do = richer_code:main\n[tests.plugins]\nplug = richer_code:plug\n"
    make_wheel(
        tmp_path,
        "richer",
        files={
            "richer_code.py": CODE,
            "rich_files/__init__.py": "",
            "rich_files/in.txt": "resource",
            "richer-1.0.data/data/share/rich/data.txt": "data",
            "richer-1.0.dist-info/entry_points.txt": points,
        },
        is_deflated=True,
    )
    make_wheel(tmp_path, "pip", "26.3")
    with serving(tmp_path) as index:
        plan = plan_of(
            base_image=str(base),
            packages=["both>=2", "ns_one", "ns_two", "pth", "richer"],
            pip_index=index.url,
        )
        builder = DaemonlessBuilder(cache_dir=cache, registry=place.registry)
        builder.build(plan, Sources({}), place.reference("installed"), options=BuildOptions(), emit=discard)
    check_image(place.registry, place.reference("installed"), base_layers=2, changed=OWNED)
    found = json.loads(place.run("installed", "python", "-c", LOOK))
    assert found == {
        "base": ["basepkg 1.0 of the base", "1.0"],
        "both": ["both 2.0", "2.0"],
        "twice": [],
        "namespace": [1, 2, 1],
        "pth": 3,
        "point": "plugged",
        "script": "did word\n",
        "data": "data",
        "resource": "resource",
        "installer": "imagespec",
        "files": True,
    }
