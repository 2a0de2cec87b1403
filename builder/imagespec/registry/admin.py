"""Looking around and cleaning up over HTTP: OCI Distribution Specification 1.1, "Content Discovery" and after."""

from __future__ import annotations

import json
from typing import Any

from imagespec.errors import ProtocolViolation
from imagespec.names import Digest, Reference, Repository
from imagespec.oci import OCI_INDEX, Descriptor, Manifest
from imagespec.registry import api
from imagespec.registry.answers import Answer, failure, is_absent, next_page
from imagespec.registry.http import HttpRegistry
from imagespec.registry.referrers import fallback_reference
from imagespec.values import replace

__all__ = ["HttpRegistryAdmin"]

_MAX_PAGES = 10_000


class HttpRegistryAdmin:
    """``RegistryAdmin`` over the connections and credentials of an ``HttpRegistry``."""

    def __init__(self, registry: HttpRegistry) -> None:
        self._registry = registry
        self._transport = registry.transport

    def ping(self, registry: str) -> None:
        """Return when ``registry`` answers as one; raise RegistryError."""
        self._transport.exchange(api.ping(registry))

    def tags(self, repository: Repository) -> tuple[str, ...]:
        """Return the tags, from as many pages as there are, sorted; () for an unknown repository."""
        found: set[str] = set()
        page = ""
        for _ in range(_MAX_PAGES):
            request = api.list_tags(repository, page=page)
            answer = self._transport.exchange(replace(request, expected=request.expected | {404}))
            if answer.status == 404:
                _must_be_absent(request, answer)
                return tuple(sorted(found))
            listed = _json(request, answer).get("tags") or []
            if not isinstance(listed, list):
                raise ProtocolViolation(f"{request.action}: the answer has no list of tags", status=answer.status)
            found.update(str(tag) for tag in listed)
            page = next_page(answer)
            if not page:
                return tuple(sorted(found))
        raise ProtocolViolation(f"list the tags of {repository}: there is no last page")

    def referrers(self, repository: Repository, digest: Digest, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """Return the referrers from the registry's own list, or from the tag schema where it has none."""
        found: list[Descriptor] = []
        page = ""
        for _ in range(_MAX_PAGES):
            answer = self._transport.exchange(
                api.get_referrers(repository, digest, artifact_type=artifact_type, page=page)
            )
            if answer.status == 404 or answer.media_type != OCI_INDEX:
                return _of_type(self._fallback(repository, digest), artifact_type)
            found += Manifest(OCI_INDEX, answer.body).manifests
            page = next_page(answer)
            if not page:
                return _of_type(tuple(found), artifact_type)
        raise ProtocolViolation(f"list what refers to {repository}@{digest}: there is no last page")

    def _fallback(self, repository: Repository, digest: Digest) -> tuple[Descriptor, ...]:
        index = self._registry.read_manifest(fallback_reference(repository, digest))
        return index.manifests if index is not None and index.is_index else ()

    def delete(self, reference: Reference) -> bool:
        """Delete by digest, or the tag where the registry allows it; return whether it was there."""
        request = api.delete_manifest(reference)
        answer = self._transport.exchange(request)
        if answer.status == 404:
            _must_be_absent(request, answer)
        return answer.status != 404


def _must_be_absent(request: api.Request, answer: Answer) -> None:
    if not is_absent(answer):
        raise failure(request, answer, request.target)


def _of_type(found: tuple[Descriptor, ...], artifact_type: str) -> tuple[Descriptor, ...]:
    return tuple(one for one in found if not artifact_type or one.artifact_type == artifact_type)


def _json(request: api.Request, answer: Answer) -> dict[str, Any]:
    try:
        value = json.loads(answer.body)
    except ValueError as error:
        raise ProtocolViolation(f"{request.action}: the answer is not JSON", status=answer.status) from error
    if not isinstance(value, dict):
        raise ProtocolViolation(f"{request.action}: the answer is not a JSON object", status=answer.status)
    return value
