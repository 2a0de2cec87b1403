"""What ``plan --files`` prints: every path that would be copied, largest first, and what is probably unwanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from imagespec.plan import BuildPlan, CopyFiles, PythonPackages
from imagespec.snapshot import ContextEntry, EntryKind
from imagespec.values import dataclass

__all__ = ["Listed", "file_lines", "file_records", "listed", "unwanted", "warnings"]

_LARGE_BYTES: Final = 100_000_000
_SECRET_NAMES: Final = frozenset(
    (
        *(".env", ".envrc", ".netrc", "_netrc", ".pypirc", ".npmrc", ".htpasswd", ".pgpass", ".git-credentials"),
        *("id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "id_ecdsa_sk", "id_ed25519_sk"),
        *("credentials.json", "client_secret.json", "service-account.json", "service_account.json"),
        *("secrets.yaml", "secrets.yml", "secrets.toml", "secrets.json"),
    )
)
_SECRET_SUFFIXES: Final = (".pem", ".key", ".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk", ".env")
_SECRET_PATHS: Final = (".aws/credentials", ".docker/config.json", ".kube/config")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One path that would be sent, and why: ``reason`` is "" for what a field names or a folder holds."""

    entry: ContextEntry
    reason: str = ""


def listed(plan: BuildPlan, imported_by: Mapping[str, str]) -> list[Listed]:
    """Return every path that a build would send, largest first; ``imported_by`` is what LOADED_MODULES went by."""
    found = [
        Listed(entry=entry, reason=_reason(entry.path, imported_by))
        for step in plan.steps
        if isinstance(step, CopyFiles)
        for entry in step.entries
    ]
    found += [
        Listed(entry=entry, reason="a project that requirements names")
        for step in plan.steps
        if isinstance(step, PythonPackages)
        for project in step.projects
        for entry in project.entries
    ]
    return sorted(found, key=lambda one: (-one.entry.size_bytes, one.entry.path))


def _reason(path: str, imported_by: Mapping[str, str]) -> str:
    if path not in imported_by:
        return ""
    return f"imported by {imported_by[path]}" if imported_by[path] else "defines the target"


def file_lines(files: Sequence[Listed]) -> Iterator[str]:
    """Yield a line a path, with sizes in bytes and the reason where there is one; then the total."""
    for one in files:
        yield f"{one.entry.size_bytes:>12}  {_shown(one.entry)}" + (f"  ({one.reason})" if one.reason else "")
    count = f"{len(files)} file{'s' if len(files) != 1 else ''}"
    yield f"{sum(one.entry.size_bytes for one in files):>12}  in {count}"


def file_records(files: Sequence[Listed]) -> list[dict[str, Any]]:
    """Return a record a path, for tools."""
    return [
        {
            "path": one.entry.path,
            "kind": one.entry.kind.value,
            "size_bytes": one.entry.size_bytes,
            "executable": one.entry.executable,
            "link": one.entry.target,
            "reason": one.reason,
            "unwanted": unwanted(one.entry),
        }
        for one in files
    ]


def warnings(files: Sequence[Listed]) -> Iterator[str]:
    """Yield a warning for each path that looks unwanted."""
    for one in files:
        why = unwanted(one.entry)
        if why:
            yield f"warning: {one.entry.path} {why}: if it is not wanted, leave it out with a line in .dockerignore"


def unwanted(entry: ContextEntry) -> str:
    """Return why a path probably does not belong in an image, or ""."""
    if entry.kind is not EntryKind.FILE:
        return ""
    path = f"/{entry.path.lower()}"
    name = path.rpartition("/")[2]
    is_named = name in _SECRET_NAMES or name.startswith(".env.") or name.endswith(_SECRET_SUFFIXES)
    if is_named or path.endswith(tuple(f"/{one}" for one in _SECRET_PATHS)):
        return "may hold secrets"
    return f"is {entry.size_bytes / 1e6:.0f} MB" if entry.size_bytes > _LARGE_BYTES else ""


def _shown(entry: ContextEntry) -> str:
    if entry.kind is EntryKind.LINK:
        return f"{entry.path} -> {entry.target}"
    if entry.kind is EntryKind.FOLDER:
        return f"{entry.path}/"
    return f"{entry.path}{' (executable)' if entry.executable else ''}"
