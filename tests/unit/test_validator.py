"""The validator tells each trap that an image can fall into."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest

from imagespec.errors import IntegrityError
from imagespec.names import Reference
from imagespec.oci import (
    OCI_CONFIG,
    OCI_LAYER_GZIP,
    Manifest,
    canonical_json,
    digest_of,
)
from imagespec.validator import check_image, problems_of
from tests.fakes.bases import DEBIAN, REPOSITORY, Content, file, folder, image
from tests.fakes.images import body, described
from tests.fakes.registry import FakeRegistry


class TestValidator:
    def check(self, *layers: list[Content], changed: set[str] = set()) -> tuple[str, ...]:
        registry = FakeRegistry()
        image(registry, *layers)
        return problems_of(registry, Reference(REPOSITORY, "latest"), base_layers=1, changed=changed)

    def test_a_good_image_has_no_problem(self) -> None:
        assert self.check(DEBIAN, [folder("root", 0o755, 1000), file("root/x")], changed={"root"}) == ()

    @pytest.mark.parametrize(
        ("upper", "problem"),
        [
            ([file("tmp/x")], "'tmp' has mode 1777 and owner 0:0 below, and is not described"),
            ([folder("tmp"), file("tmp/x")], "other mode or owner here"),
            ([folder("lib"), file("lib/x")], "'lib' is a link below, and a folder here"),
            ([file("lib/x")], "which is no folder"),
            ([file("x"), file("x")], "is in it twice"),
            ([folder("etc"), folder("etc")], "is in it twice"),
        ],
    )
    def test_each_trap_is_told(self, upper: list[Content], problem: str) -> None:
        (found,) = self.check(DEBIAN, upper)
        assert problem in found

    @pytest.mark.parametrize("name", ["/etc/x", "a/../../x"])
    def test_paths_that_lead_out(self, name: str) -> None:
        registry = FakeRegistry()
        base = image(registry, DEBIAN)
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            archive.addfile(tarfile.TarInfo(name))
        packed = gzip.compress(out.getvalue())
        layer = described(packed, OCI_LAYER_GZIP)
        registry.write_blob(REPOSITORY, layer, body(packed))
        value = {**base.config, "rootfs": {"diff_ids": [*base.diff_ids, str(digest_of(out.getvalue()))]}}
        data = canonical_json(value)
        registry.write_blob(REPOSITORY, described(data, OCI_CONFIG), body(data))
        manifest = Manifest.image(config=described(data, OCI_CONFIG), layers=(*base.layers, layer))
        registry.write_manifest(Reference(REPOSITORY, "evil"), manifest)
        with pytest.raises(IntegrityError, match="leads out of the image"):
            check_image(registry, Reference(REPOSITORY, "evil"), base_layers=1)

    def test_a_wrong_diff_id_is_told(self) -> None:
        registry = FakeRegistry()
        base = image(registry, DEBIAN)
        data = canonical_json({**base.config, "rootfs": {"diff_ids": ["sha256:" + "0" * 64]}})
        registry.write_blob(REPOSITORY, described(data, OCI_CONFIG), body(data))
        manifest = Manifest.image(config=described(data, OCI_CONFIG), layers=base.layers)
        registry.write_manifest(Reference(REPOSITORY, "bad"), manifest)
        (found,) = problems_of(registry, Reference(REPOSITORY, "bad"))
        assert "not the diff ID" in found

    def test_an_image_that_is_not_there(self) -> None:
        assert problems_of(FakeRegistry(), Reference(REPOSITORY, "none")) == ("registry.test/base:none is not there",)
