"""What ``plan --files`` prints: every path that would be copied, largest first, and what is probably unwanted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from imagespec.plan import BuildPlan, CopyFiles
from imagespec.snapshot import ContextEntry, EntryKind

__all__ = ["file_lines", "unwanted"]

_LARGE_BYTES: Final = 100_000_000
_SECRET_NAMES: Final = (".env", ".netrc", ".pypirc", ".npmrc", "id_rsa", "id_ecdsa", "id_ed25519", "credentials.json")
_SECRET_SUFFIXES: Final = (".pem", ".key", ".p12", ".pfx", ".jks", ".kdbx")


def file_lines(plan: BuildPlan) -> Iterator[str]:
    """Yield a line a path, sizes in bytes, largest first; then the total; then a warning a path that looks unwanted."""
    entries = [entry for step in plan.steps if isinstance(step, CopyFiles) for entry in step.entries]
    for entry in sorted(entries, key=lambda entry: (-entry.size_bytes, entry.path)):
        yield f"{entry.size_bytes:>12}  {_shown(entry)}"
    yield f"{sum(entry.size_bytes for entry in entries):>12}  in {len(entries)} files"
    for entry in entries:
        why = unwanted(entry)
        if why:
            yield f"warning: {entry.path} {why}: leave it out with a line in .dockerignore"


def unwanted(entry: ContextEntry) -> str:
    """Return why a path probably does not belong in an image, or ""."""
    name = entry.path.rpartition("/")[2]
    if entry.kind is not EntryKind.FILE:
        return ""
    if name in _SECRET_NAMES or name.startswith(".env.") or name.endswith(_SECRET_SUFFIXES):
        return "may hold secrets"
    return f"is {entry.size_bytes / 1e6:.0f} MB" if entry.size_bytes > _LARGE_BYTES else ""


def _shown(entry: ContextEntry) -> str:
    if entry.kind is EntryKind.LINK:
        return f"{entry.path} -> {entry.target}"
    if entry.kind is EntryKind.FOLDER:
        return f"{entry.path}/"
    return f"{entry.path}{' (executable)' if entry.executable else ''}"
