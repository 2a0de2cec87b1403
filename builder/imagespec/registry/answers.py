"""What a registry's answer means: absent, an error of which kind, and whether to ask again.

Source: OCI Distribution Specification 1.1, "Error Codes" and "Retry-After" of RFC 9110, section 10.2.3; the dialects
are those of Harbor, Artifactory, ECR and Docker Hub.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from imagespec.errors import (
    Denied,
    ProtocolViolation,
    RegistryError,
    RegistryUnreachable,
    TooManyRequests,
    Unauthorized,
)
from imagespec.names import Digest
from imagespec.patterns import lazy_pattern
from imagespec.registry.api import Request
from imagespec.registry.hosts import Limits
from imagespec.values import dataclass, field

__all__ = [
    "Answer",
    "ErrorEntry",
    "content_digest",
    "errors_in",
    "failure",
    "is_absent",
    "next_page",
    "redacted",
    "retry_after_s",
    "uploaded_bytes",
    "wait_s",
]

_ABSENT_CODES: Final = frozenset(
    {"MANIFEST_UNKNOWN", "NAME_UNKNOWN", "BLOB_UNKNOWN", "NOT_FOUND", "REPOSITORY_NOT_FOUND"}
)
_TRANSIENT: Final = frozenset({408, 425, 500, 502, 503, 504})
_MAX_MESSAGE: Final = 300
_LINK = lazy_pattern(r'<([^>]*)>\s*;[^,]*\brel="?next"?', re.IGNORECASE)
_EPOCH_LIKE: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A complete answer: ``headers`` have lower-case names, ``body`` is limited to what a manifest may be."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)

    def header(self, name: str) -> str:
        """Return a header's value, or ""."""
        return self.headers.get(name.lower(), "")

    @property
    def media_type(self) -> str:
        """The Content-Type without its parameters, lower case."""
        return self.header("content-type").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class ErrorEntry:
    """One entry of an error body: the code in upper case, and the message for people."""

    code: str
    message: str


def redacted(url: str) -> str:
    """Return ``url`` without user, password, query and fragment: what may be shown."""
    parts = urlsplit(url)
    authority = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{authority}{parts.path}" if parts.scheme else parts.path


def _entry(value: Any) -> ErrorEntry:
    if not isinstance(value, dict):
        return ErrorEntry("", str(value))
    code = str(value.get("code") or "").upper()
    if not code and value.get("status") == 404:  # Artifactory names the status instead of a code
        code = "NOT_FOUND"
    return ErrorEntry(code, str(value.get("message") or ""))


def errors_in(body: bytes) -> tuple[ErrorEntry, ...]:
    """Return the entries of an error body in the specification's form or a dialect of it; () when it has none."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return ()
    if not isinstance(value, dict):
        return ()
    entries = value.get("errors", [value] if "code" in value else [])
    return tuple(_entry(entry) for entry in entries) if isinstance(entries, list) else ()


def is_absent(answer: Answer) -> bool:
    """Return whether a registry says that the thing is not there.

    A bare 404 proves nothing: a proxy or a web server in the registry's place answers so too. It must carry one of
    the codes, or at least the registry's own version header and no other code.
    """
    if answer.status != 404:
        return False
    codes = {entry.code for entry in errors_in(answer.body)} - {""}
    if codes:
        return bool(codes & _ABSENT_CODES)
    return bool(answer.header("docker-distribution-api-version")) and not answer.body.strip()


def _said(answer: Answer, secrets: tuple[str, ...]) -> str:
    """Return what the registry said, fit for one line of a message and without any of ``secrets``."""
    text = "; ".join(entry.message or entry.code for entry in errors_in(answer.body))
    for secret in secrets:
        text = text.replace(secret, "***") if secret else text
    text = "".join(char if char.isprintable() else " " for char in text)
    return f"{text[:_MAX_MESSAGE]}…" if len(text) > _MAX_MESSAGE else text


def failure(request: Request, answer: Answer, url: str, secrets: tuple[str, ...] = ()) -> RegistryError:
    """Return the error that an unexpected answer means; ``secrets`` are removed from what the registry said."""
    codes = tuple(entry.code for entry in errors_in(answer.body) if entry.code)
    said = _said(answer, secrets)
    where = redacted(url)
    tail = f": {said}" if said else ""

    def error(kind: type[RegistryError], what: str, hint: str = "") -> RegistryError:
        return kind(
            f"{request.action}: {what}{tail}",
            action=request.action,
            url=where,
            status=answer.status,
            codes=codes,
            retry_after_s=retry_after_s(answer),
            hint=hint,
        )

    if answer.status == 429 or "TOOMANYREQUESTS" in codes:
        return _rate_limited(request, answer, where, codes, tail)
    if answer.status == 401:
        return error(Unauthorized, "the registry wants other credentials", f"docker login {request.registry}")
    if answer.status == 403:
        return error(Denied, "the registry does not allow it", f"check what {request.registry} grants to your account")
    if request.method == "PUT" and _is_immutable(answer, codes, said):
        return error(Denied, "the tag is immutable", "choose another tag, or look the present one up again")
    if answer.status == 405 or "UNSUPPORTED" in codes:
        return error(Denied, "the registry does not support it")
    if answer.status in _TRANSIENT:
        return error(RegistryUnreachable, f"the registry answered {answer.status}", "try again later")
    if answer.status == 404:
        return _not_found(request, answer, where, codes, tail)
    return error(ProtocolViolation, f"the registry answered {answer.status}")


def _is_immutable(answer: Answer, codes: tuple[str, ...], said: str) -> bool:
    return answer.status in (400, 405, 409, 412) and (
        "immutable" in said.lower() or any("IMMUTABLE" in code or "ALREADYEXISTS" in code for code in codes)
    )


def _rate_limited(request: Request, answer: Answer, where: str, codes: tuple[str, ...], tail: str) -> RegistryError:
    wait = retry_after_s(answer)
    when = f"wait {wait:.0f} s" if wait is not None else "wait"
    return TooManyRequests(
        f"{request.action}: the registry's rate limit is reached{tail}",
        retry_after_s=wait,
        action=request.action,
        url=where,
        status=answer.status,
        codes=codes,
        hint=f"{when}, or docker login {request.registry} for a higher limit",
    )


def _not_found(request: Request, answer: Answer, where: str, codes: tuple[str, ...], tail: str) -> RegistryError:
    if is_absent(answer):
        return RegistryError(
            f"{request.action}: it is not there{tail}", action=request.action, url=where, status=404, codes=codes
        )
    return ProtocolViolation(
        f"{request.action}: answered 404, but not as a registry does{tail}",
        action=request.action,
        url=where,
        status=404,
        codes=codes,
        hint=f"check that {request.registry} is a registry, and that no proxy answers in its place",
    )


def retry_after_s(answer: Answer) -> float | None:
    """Return the seconds that the registry asks to wait, from seconds, a date or an epoch time; None if unsaid."""
    text = answer.header("retry-after").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        return _until(answer, text)
    if seconds != seconds or seconds < 0:
        return None
    if seconds >= _EPOCH_LIKE:
        now = _date(answer)
        return max(0.0, seconds - now) if now is not None else None
    return seconds


def _date(answer: Answer) -> float | None:
    return _timestamp(answer.header("date"))


def _until(answer: Answer, text: str) -> float | None:
    now, then = _date(answer), _timestamp(text)
    return None if now is None or then is None else max(0.0, then - now)


def _timestamp(text: str) -> float | None:
    """Return an HTTP date as seconds since the epoch, None when it is none."""
    from email.utils import parsedate_to_datetime  # 20 ms to import, and hardly ever needed

    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError):
        return None


def wait_s(
    limits: Limits, *, attempt: int, remaining_s: float, jitter: float, error: RegistryError, transient: bool
) -> float | None:
    """Return how long to wait before attempt ``attempt`` + 1, or None when ``error`` is final.

    ``jitter`` is in [0, 1). Final are: errors that asking again cannot change, the last attempt, and a wait that
    would go beyond ``remaining_s``.
    """
    if not transient or attempt >= limits.attempts:
        return None
    backoff = min(limits.backoff_max_s, limits.backoff_s * 2 ** (attempt - 1)) * (0.5 + jitter / 2)
    wait = max(backoff, error.retry_after_s or 0.0)
    return wait if wait < remaining_s else None


def content_digest(request: Request, answer: Answer) -> Digest | None:
    """Return the ``Docker-Content-Digest`` header's digest, None without one; raise ProtocolViolation if malformed."""
    text = answer.header("docker-content-digest").strip()
    if not text:
        return None
    try:
        return Digest.parse(text)
    except ValueError as error:
        raise ProtocolViolation(
            f"{request.action}: the registry names a digest that is none", action=request.action, status=answer.status
        ) from error


def next_page(answer: Answer) -> str:
    """Return the target of the ``Link: <…>; rel="next"`` header, or ""."""
    match = _LINK.search(answer.header("link"))
    return match[1] if match else ""


def uploaded_bytes(answer: Answer) -> int | None:
    """Return how many bytes of an upload have arrived, by its ``Range: 0-N`` header; None when that cannot be told.

    ``0-0`` is one byte in the specification and none in distribution 2: it cannot be told either.
    """
    match = re.fullmatch(r"(?:bytes=)?0-(\d+)", answer.header("range").strip())
    return int(match[1]) + 1 if match and int(match[1]) > 0 else None
