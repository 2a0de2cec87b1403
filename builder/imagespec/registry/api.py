"""Requests of the OCI Distribution Specification 1.1 as values: built here, sent elsewhere.

Section names in the docstrings are the specification's. ``expected`` are the statuses that answer the question; any
other one is an error, decided in ``answers``.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, urlencode

from imagespec.names import Digest, Reference, Repository
from imagespec.oci import INDEX_TYPES, MANIFEST_TYPES, Descriptor, Manifest
from imagespec.values import dataclass, field, replace

__all__ = [
    "ACCEPT_MANIFESTS",
    "Request",
    "cancel_upload",
    "delete_blob",
    "delete_manifest",
    "get_blob",
    "get_manifest",
    "get_referrers",
    "head_blob",
    "head_manifest",
    "list_tags",
    "ping",
    "put_manifest",
    "send_chunk",
    "send_whole",
    "start_upload",
    "upload_status",
]

ACCEPT_MANIFESTS: Final = ", ".join((*INDEX_TYPES, *MANIFEST_TYPES))
_OCTETS: Final = ("Content-Type", "application/octet-stream")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request: ``action`` says what for, in the words of an error; ``target`` is a path, or an upload's location.

    ``scopes`` are what a token must allow. ``repeatable`` requests may be sent again when the answer was lost.
    """

    action: str
    method: str
    registry: str
    target: str
    path: str = ""
    scopes: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(default=b"", repr=False)
    expected: frozenset[int] = frozenset({200})
    repeatable: bool = True

    def with_header(self, name: str, value: str) -> Request:
        """Return this request with one header more."""
        return replace(self, headers=(*self.headers, (name, value)))


def _scope(repository: Repository, actions: str) -> str:
    return f"repository:{repository.path}:{actions}"


def _on(repository: Repository, action: str, method: str, rest: str, *statuses: int, push: bool = False) -> Request:
    return Request(
        action=action,
        method=method,
        registry=repository.registry,
        path=repository.path,
        target=f"/v2/{quote(repository.path)}/{rest}",
        scopes=(_scope(repository, "pull,push" if push else "pull"),),
        expected=frozenset(statuses),
    )


def ping(registry: str) -> Request:
    """Return the request that asks whether this is a registry ("Determining Support")."""
    return Request(action=f"reach {registry}", method="GET", registry=registry, target="/v2/")


def head_manifest(reference: Reference) -> Request:
    """Return the look-up of a manifest ("Checking if content exists in the registry")."""
    return replace(get_manifest(reference), method="HEAD", action=f"look up {reference}")


def get_manifest(reference: Reference) -> Request:
    """Return the request for a manifest's bytes ("Pulling manifests")."""
    rest = f"manifests/{quote(reference.text_of_target, safe=':')}"
    request = _on(reference.repository, f"read {reference}", "GET", rest, 200)
    return request.with_header("Accept", ACCEPT_MANIFESTS)


def put_manifest(reference: Reference, manifest: Manifest) -> Request:
    """Return the request that writes a manifest under the reference's tag, else its digest ("Pushing Manifests")."""
    target = reference.tag or str(manifest.descriptor.digest)
    rest = f"manifests/{quote(target, safe=':')}"
    request = _on(reference.repository, f"write {reference}", "PUT", rest, 201, 200, 202, push=True)
    return replace(request.with_header("Content-Type", manifest.media_type), body=manifest.data)


def head_blob(repository: Repository, digest: Digest, *, push: bool = False) -> Request:
    """Return the look-up of a blob; with ``push`` under the scope of the upload that may follow."""
    return _on(repository, f"look up blob {digest} of {repository}", "HEAD", f"blobs/{digest}", 200, 404, push=push)


def get_blob(repository: Repository, digest: Digest, *, start: int = 0) -> Request:
    """Return the request for a blob's bytes from ``start`` on ("Pulling blobs")."""
    request = _on(repository, f"read blob {digest} of {repository}", "GET", f"blobs/{digest}", 200, 206)
    return request.with_header("Range", f"bytes={start}-") if start else request


def start_upload(repository: Repository, digest: Digest | None = None, source: Repository | None = None) -> Request:
    """Return the request that opens an upload; with ``source`` it asks for a mount first ("Mounting a blob ...")."""
    query = {"mount": str(digest), "from": source.path} if digest and source else {}
    rest = f"blobs/uploads/?{urlencode(query)}" if query else "blobs/uploads/"
    request = _on(repository, f"start an upload to {repository}", "POST", rest, 201, 202, push=True)
    if source is not None and source != repository:
        request = replace(request, scopes=(*request.scopes, _scope(source, "pull")))
    return replace(request.with_header("Content-Length", "0"))


def _at(repository: Repository, location: str, action: str, method: str, *statuses: int) -> Request:
    request = _on(repository, f"{action} {repository}", method, "", *statuses, push=True)
    return replace(request, target=location, repeatable=False)


def _with_digest(location: str, digest: Digest) -> str:
    return f"{location}{'&' if '?' in location else '?'}{urlencode({'digest': str(digest)})}"


def send_whole(repository: Repository, location: str, descriptor: Descriptor, *, size_bytes: int) -> Request:
    """Return the request that ends an upload with its last ``size_bytes`` bytes ("POST then PUT")."""
    target = _with_digest(location, descriptor.digest)
    request = _at(repository, target, f"upload blob {descriptor.digest} to", "PUT", 201, 204)
    return replace(request, headers=(_OCTETS, ("Content-Length", str(size_bytes))))


def send_chunk(repository: Repository, location: str, *, start: int, size_bytes: int) -> Request:
    """Return the request that sends ``size_bytes`` bytes from offset ``start`` ("Pushing a blob in chunks")."""
    request = _at(repository, location, "upload a part to", "PATCH", 202, 204)
    span = ("Content-Range", f"{start}-{start + size_bytes - 1}")
    return replace(request, headers=(_OCTETS, ("Content-Length", str(size_bytes)), span))


def upload_status(repository: Repository, location: str) -> Request:
    """Return the question how much of an upload has arrived ("GET ... upload status")."""
    return _at(repository, location, "resume an upload to", "GET", 204, 202, 200)


def cancel_upload(repository: Repository, location: str) -> Request:
    """Return the request that drops an upload session."""
    return _at(repository, location, "drop an upload to", "DELETE", 204, 202, 200, 404, 405)


def list_tags(repository: Repository, *, page: str = "") -> Request:
    """Return the request for the tags of a repository, or for the next page ("Content Discovery")."""
    request = _on(repository, f"list the tags of {repository}", "GET", "tags/list?n=1000", 200)
    return replace(request, target=page) if page else request


def get_referrers(repository: Repository, digest: Digest, *, artifact_type: str = "", page: str = "") -> Request:
    """Return the request for the manifests that refer to ``digest`` ("Listing Referrers")."""
    query = f"?{urlencode({'artifactType': artifact_type})}" if artifact_type else ""
    request = _on(
        repository, f"list what refers to {repository}@{digest}", "GET", f"referrers/{digest}{query}", 200, 404
    )
    request = request.with_header("Accept", INDEX_TYPES[0])
    return replace(request, target=page) if page else request


def _delete(repository: Repository, what: str, rest: str, *statuses: int) -> Request:
    request = _on(repository, f"delete {what}", "DELETE", rest, *statuses)
    return replace(request, scopes=(_scope(repository, "pull,push,delete"),))


def delete_manifest(reference: Reference) -> Request:
    """Return the request that deletes a manifest by digest, or a tag ("Content Management"); 404 is "already gone"."""
    rest = f"manifests/{quote(reference.text_of_target, safe=':')}"
    return _delete(reference.repository, str(reference), rest, 202, 200, 204, 404)


def delete_blob(repository: Repository, digest: Digest) -> Request:
    """Return the request that deletes a blob; 404 is "already gone"."""
    return _delete(repository, f"blob {digest} of {repository}", f"blobs/{digest}", 202, 200, 204, 404)
