"""Digests, repositories and references: parse, print, compare.

Grammar: OCI Distribution Specification 1.1, "Pulling manifests" (name and tag), OCI Image Specification 1.1,
"Digests"; normalisation of Docker Hub's short names as Docker's ``distribution/reference`` does it.
"""

from __future__ import annotations

from typing import Final

from imagespec.errors import InvalidReference
from imagespec.patterns import lazy_pattern
from imagespec.values import dataclass, replace

__all__ = ["DOCKER_HUB", "Digest", "Reference", "Repository", "check_tag"]

DOCKER_HUB: Final = "docker.io"

_DIGEST = lazy_pattern(r"(?P<algorithm>[a-z0-9]+(?:[.+_-][a-z0-9]+)*):(?P<encoded>[a-zA-Z0-9=_-]+)")
_HEX_LENGTHS: Final = {"sha256": 64, "sha384": 96, "sha512": 128}
_HEX = lazy_pattern(r"[0-9a-f]+")
_HOST = lazy_pattern(
    r"(?P<name>\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*)"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_PATH = lazy_pattern(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")
_TAG = lazy_pattern(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_MAX_PATH = 255


def _shown(text: str) -> str:
    """Return ``text`` quoted for a message, or a stand-in when it has characters that could forge one."""
    return f"'{text}'" if text.isprintable() and len(text) <= 300 else "<a value that is not printable or too long>"


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A content identifier such as ``sha256:e3b0…`` (OCI Image Specification, "Digests")."""

    algorithm: str
    encoded: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Return the digest that ``text`` spells; raise InvalidReference when it is none."""
        match = _DIGEST.fullmatch(text)
        if match is None:
            raise InvalidReference(
                f"digest: {_shown(text)} is not algorithm:hex", hint="for example sha256:<64 hex digits>"
            )
        algorithm, encoded = match["algorithm"], match["encoded"]
        length = _HEX_LENGTHS.get(algorithm)
        if length is not None and (len(encoded) != length or _HEX.fullmatch(encoded) is None):
            raise InvalidReference(
                f"digest: {algorithm} wants {length} lower-case hex digits, got {_shown(encoded)}",
                hint=f"{algorithm} wants {length} lower-case hex digits",
            )
        return cls(algorithm, encoded)

    @classmethod
    def sha256(cls, hexadecimal: str) -> Digest:
        """Return the sha256 digest with this hex text."""
        return cls.parse(f"sha256:{hexadecimal}")

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.encoded}"


def check_tag(text: str) -> str:
    """Return ``text`` if the OCI Distribution grammar allows it as a tag; raise InvalidReference."""
    if _TAG.fullmatch(text) is None:
        raise InvalidReference(
            f"tag: {_shown(text)} is not a tag",
            hint="a tag has at most 128 letters, digits, '_', '.' and '-', neither '.' nor '-' first",
        )
    return text


def _check_host(text: str) -> str:
    match = _HOST.fullmatch(text)
    if match is None or (match["port"] is not None and not 0 < int(match["port"]) < 65536):
        raise InvalidReference(
            f"registry: {_shown(text)} is not host[:port]", hint="for example ghcr.io or localhost:5000"
        )
    return text.lower()


@dataclass(frozen=True, slots=True, order=True)
class Repository:
    """A repository in a registry: ``registry`` is host[:port], ``path`` the OCI name without the host."""

    registry: str
    path: str

    @classmethod
    def parse(cls, text: str) -> Repository:
        """Return the repository that ``text`` names, Docker Hub's short names filled in; raise InvalidReference."""
        first, slash, rest = text.partition("/")
        if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
            registry, path = _check_host(first), rest
        else:
            registry, path = DOCKER_HUB, text
        if registry in ("index.docker.io", "registry-1.docker.io"):
            registry = DOCKER_HUB
        if registry == DOCKER_HUB and "/" not in path:
            path = f"library/{path}"
        if len(path) > _MAX_PATH or _PATH.fullmatch(path) is None:
            raise InvalidReference(
                f"repository: {_shown(text)} is not a repository name",
                hint="lower-case letters and digits, separated by '/', '.', '_', '__' or '-'",
            )
        return cls(registry, path)

    def __str__(self) -> str:
        return f"{self.registry}/{self.path}"


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """A repository with a tag, a digest, or both; compares by its parts."""

    repository: Repository
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Return the reference that ``text`` names; no tag and no digest mean ``latest``, as Docker has it."""
        name, at, digest_text = text.partition("@")
        digest = Digest.parse(digest_text) if at else None
        head, slash, last = name.rpartition("/")
        last, colon, tag = last.partition(":")
        if colon:
            check_tag(tag)
        repository = Repository.parse(f"{head}{slash}{last}")
        if colon:
            return cls(repository, tag, digest)
        return cls(repository, None if digest else "latest", digest)

    @property
    def text_of_target(self) -> str:
        """The digest if there is one, else the tag: what a manifest request names."""
        return str(self.digest) if self.digest else self.tag or "latest"

    def with_digest(self, digest: Digest) -> Reference:
        """Return this reference pinned to ``digest``."""
        return replace(self, digest=digest)

    def with_tag(self, tag: str) -> Reference:
        """Return this repository under ``tag``, unpinned."""
        return Reference(self.repository, check_tag(tag))

    @property
    def familiar(self) -> str:
        """The reference as people and engines write it: without what Docker fills in for its Hub's short names."""
        return str(self).removeprefix(f"{DOCKER_HUB}/").removeprefix("library/")

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.repository}{tag}{digest}"
