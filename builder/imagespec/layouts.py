"""``base_image="oci-layout:PATH[:tag]"``: the digest of a base that lies in an OCI layout on disk (image-layout.md)."""

from __future__ import annotations

import json
import os
from typing import Any, Final

from imagespec.errors import InputError, InputMissing, SpecError
from imagespec.names import Digest
from imagespec.oci import Descriptor

__all__ = ["digest_of_base"]

_PREFIX: Final = "oci-layout:"
_TAG: Final = "org.opencontainers.image.ref.name"
_FIELD: Final = "base_image"


def digest_of_base(base_image: object, folder: str) -> Digest | None:
    """Return the digest of the manifest or index that ``oci-layout:PATH[:tag]`` names; None for another kind of base.

    Raise InputMissing when there is no layout or no such tag, SpecError when the tag must be given.
    """
    if not isinstance(base_image, str) or not base_image.startswith(_PREFIX):
        return None
    path, tag = _split(base_image[len(_PREFIX) :])
    manifests = _manifests(os.path.join(folder, path), path)
    if tag is None and len(manifests) == 1:
        return Descriptor.from_json(manifests[0]).digest
    named = [one for one in manifests if _is_named(one, tag or "latest")]
    if named:
        return Descriptor.from_json(named[-1]).digest
    tags = sorted({str((one.get("annotations") or {}).get(_TAG, "")) for one in manifests} - {""})
    hint = f"its tags: {', '.join(tags)}" if tags else "it has no tags"
    if tag is None:
        raise SpecError(f"base_image: {path!r} holds {len(manifests)} images: name a tag", path=_FIELD, hint=hint)
    raise InputMissing(f"base_image: {path!r} has no tag {tag!r}", path=path, hint=hint)


def _split(text: str) -> tuple[str, str | None]:
    head, colon, last = text.rpartition(":")
    return (head, last) if colon and "/" not in last else (text, None)


def _is_named(manifest: dict[str, Any], tag: str) -> bool:
    name = str((manifest.get("annotations") or {}).get(_TAG, ""))
    return name == tag or name.rpartition(":")[2] == tag


def _manifests(layout: str, shown: str) -> list[dict[str, Any]]:
    try:
        with open(os.path.join(layout, "index.json"), "rb") as stream:
            value = json.load(stream)
        return [one for one in value["manifests"] if isinstance(one, dict)]
    except FileNotFoundError as error:
        raise InputMissing(
            f"base_image: {shown!r} is not an OCI layout: no index.json in it",
            path=shown,
            hint="give oci-layout:PATH[:tag]",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"base_image: the index.json of {shown!r} cannot be read", path=shown) from error
