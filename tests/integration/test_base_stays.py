"""What a build leaves of the base as it was, and what it does not add: certificates, package lists, caches, traces."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Bed, Command
from tests.integration.images import entries, layers, origins

pytestmark = pytest.mark.integration

CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
CAT = ("cat", CERTIFICATES)
CA_VARIABLES = "SSL_CERT_FILE|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|PIP_CERT|GIT_SSL_CAINFO|NODE_EXTRA_CA_CERTS"

# What steps fetch, and say of it: in no layer, not even as an empty folder that the base had not.
TRACES = re.compile(
    r"var/lib/apt/lists/.+|var/cache/apt/.+|var/log/(apt/.+|dpkg\.log|alternatives\.log)|var/cache/ldconfig/aux-cache|"
    r"run/imagespec.*|run/buildkit.*|etc/apt/apt\.conf\.d/docker-clean|etc/ssl/certs/ca-certificates\.crt|"
    r"root/\.cache.*|home/[^/]+/\.cache.*|tmp/.+|var/tmp/.+|usr/bin/uv|proc/.+|sys/.+|dev/.+"
)


def build(imagespec: Command, folder: Path, *arguments: str, **fields: Any) -> str:
    (folder / "image.yaml").write_text(json.dumps({"registry": imagespec.registry, **fields}))
    return imagespec("build", "image.yaml", *arguments, cwd=folder).stdout.strip()


def inside(imagespec: Command, reference: str, script: str) -> str:
    return imagespec.docker("run", "--rm", "--quiet", "--entrypoint", "sh", reference, "-c", script)


@pytest.mark.parametrize(
    ("name", "base", "fields"),
    [
        ("daemonless", "python3.13", {"packages": ["humanize==4.12.3"], "copy": ["app.py"]}),
        ("packages", "python3.11", {"packages": ["humanize==4.12.3"], "commands": ["true"]}),
        ("apt", "python3.11", {"apt_packages": ["jq"]}),
        # Its interpreter comes from apt, over the site's CA, and it has no certificates of its own.
        ("none-there", "debian", {"python_version": "3.11", "packages": ["humanize==4.12.3"]}),
    ],
)
def test_the_bases_certificates_stay_as_they_are(
    testbed: Bed, shared_imagespec: Command, tmp_path: Path, name: str, base: str, fields: dict[str, Any]
) -> None:
    """Also when steps are given a site's own bundle, which is what makes tools overwrite or keep it."""
    original = f"{testbed['registry']}/{testbed['bases'][base]}"
    (tmp_path / "app.py").write_text("print()\n")
    bundle = tmp_path / "site.pem"
    site = Path(testbed["ca"]).read_bytes() if testbed["ca"] else b""
    public = shared_imagespec.docker("run", "--rm", f"{testbed['registry']}/{testbed['bases']['python3.13']}", *CAT)
    bundle.write_bytes(public.encode() + site)
    ours = Command(env={**shared_imagespec.env, "IMAGESPEC_CA_BUNDLE": str(bundle)}, registry=shared_imagespec.registry)
    reference = build(ours, tmp_path, name=f"certificates-{name}", base_image=testbed["bases"][base], **fields)
    look = f"cat {CERTIFICATES} /etc/ssl/cert.pem 2>&1 | sha256sum; ls -la /etc/ssl/certs | grep -v total | sha256sum"
    assert inside(shared_imagespec, reference, look) == inside(shared_imagespec, original, look)
    assert inside(shared_imagespec, reference, f"env | grep -E '^({CA_VARIABLES})='; true") == ""


def test_caches_lists_and_logs_are_in_no_layer(testbed: Bed, shared_imagespec: Command, tmp_path: Path) -> None:
    """Of apt steps, of an interpreter by apt, of uv and of commands; and what runs leaves something."""
    # BuildKit takes the layers of an earlier build whose result was the same, with what that build made: none is asked.
    anew = {"env": {"RUN": uuid.uuid4().hex}, "builder": "buildkit"}
    specs: list[dict[str, Any]] = [
        {"name": "apt", "apt_packages": ["jq", "tree"], "packages": ["humanize==4.12.3"], "commands": ["echo > /done"]},
        {"name": "by-apt", "base_image": testbed["bases"]["debian"], "python_version": "3.11"},
        {"name": "on-top", "base_image": {"name": "apt", "apt_packages": ["jq"], **anew}, "apt_packages": ["less"]},
    ]
    for spec in specs:
        spec |= anew
        base = testbed["bases"]["debian" if spec["name"] == "by-apt" else "python3.13"]
        reference = build(shared_imagespec, tmp_path, **spec)
        below = {layer["digest"] for layer in layers(_with_digest(shared_imagespec, f"{testbed['registry']}/{base}"))}
        ours = [(layer, by) for layer, by in origins(reference) if layer["digest"] not in below]
        assert len(ours) == len(layers(reference)) - len(below)
        for layer, by in ours:
            found = entries(reference, layer)
            # BuildKit makes a layer of every WORKDIR, also of one that is there.
            assert found or by.startswith("WORKDIR"), by
            assert [path for path in found if TRACES.fullmatch(path)] == [], by


def _with_digest(imagespec: Command, name: str) -> str:
    shown = imagespec.docker("buildx", "imagetools", "inspect", name, "--format", "{{json .Manifest.Digest}}")
    return f"{name}@{json.loads(shown)}"


@pytest.mark.parametrize("builder", ["daemonless", "buildkit"])
def test_a_base_by_digest_is_that_one_after_its_tag_moved(
    testbed: Bed, shared_imagespec: Command, tmp_path: Path, builder: str
) -> None:
    moving = f"{shared_imagespec.registry}/moving-{builder}:1"
    for base in ("python3.11", "python3.13"):
        stands = f"{testbed['registry']}/{testbed['bases'][base]}"
        shared_imagespec.docker("buildx", "imagetools", "create", "--tag", moving, stands)
        if base == "python3.11":
            pinned = _with_digest(shared_imagespec, moving)
    seen = {}
    for name, reference in (("pinned", pinned), ("moved", moving)):
        fields = {"name": name, "base_image": reference, "builder": builder, "builder_options": {"bytecode": False}}
        made = build(shared_imagespec, tmp_path, **fields)
        seen[name] = shared_imagespec.docker("run", "--rm", "--quiet", made, "python", "-V")[:11]
    assert seen == {"pinned": "Python 3.11", "moved": "Python 3.13"}


def test_nothing_to_run_is_no_layer_and_the_configuration_moves_none(shared_imagespec: Command, tmp_path: Path) -> None:
    """Specs that differ in what the configuration holds have other ids and the same layers, in order."""
    base: dict[str, Any] = {"name": "configured", "builder": "buildkit", "packages": ["humanize==4.12.3"]}
    (tmp_path / "app.py").write_text("print()\n")
    with_files = {**base, "copy": ["app.py"]}
    variants: list[dict[str, Any]] = [
        base,
        {**base, "entrypoint": ["python"]},
        {**base, "builder_options": {"labels": {"a": "b"}}},
        {**base, "runtime_packages": ["six"]},
        {**base, "commands": []},
        {**base, "apt_packages": []},
        with_files,
    ]
    made = {}
    for number, fields in enumerate(variants):
        reference = build(shared_imagespec, tmp_path, **{**fields, "name": f"configured-{number}"})
        made[number] = [layer["digest"] for layer in layers(reference)]
    first = made[0]
    assert all(digests == first for number, digests in made.items() if number != len(variants) - 1)
    assert made[len(variants) - 1][: len(first)] == first, "sources come on top"
    assert len(made[len(variants) - 1]) == len(first) + 1
