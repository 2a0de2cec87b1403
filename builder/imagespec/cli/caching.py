"""The command ``cache``: what this machine keeps to be faster the next time."""

from __future__ import annotations

import json

import click

from imagespec.builders.assembly.store import DEFAULT_LIMIT_BYTES, Kept, Store
from imagespec.cli import options
from imagespec.data_sizes import size_in_bytes
from imagespec.errors import SpecError
from imagespec.settings import Settings

__all__ = ["cache"]


@click.group()
def cache() -> None:
    """Show or prune what the daemonless builder keeps: wheels, layers, facts about bases.

    All of it can be made again.

    \b
    Example:
      imagespec cache list
    """


@cache.command("list", epilog="Example: imagespec cache list --format json")
@options.format
def list_kept(form: str) -> None:
    """Print what is kept: a line a kind, or as JSON a line a file."""
    kept = list(_store().list())
    if form == "json":
        for one in kept:
            click.echo(json.dumps(_record(one)))
        return
    for kind in sorted({one.kind for one in kept}):
        of_kind = [one for one in kept if one.kind == kind]
        click.echo(f"{kind:<10} {len(of_kind):>6} files  {sum(one.size_bytes for one in of_kind) / 1e6:>10.1f} MB")
    click.echo(f"{'in all':<10} {len(kept):>6} files  {sum(one.size_bytes for one in kept) / 1e6:>10.1f} MB")


@cache.command("prune", epilog="Example: imagespec cache prune --keep 2G")
@click.option(
    "--keep", default=None, metavar="SIZE", help="What may stay: 500M, 2G, 0; without it the limit of the settings."
)
@options.format
def prune(keep: str | None, form: str) -> None:
    """Remove what was not used for longest, until the rest fits in SIZE."""
    settings = Settings.load()
    limit_bytes = _bytes(keep) if keep is not None else settings.cache_limit_bytes
    removed = _store().prune(DEFAULT_LIMIT_BYTES if limit_bytes is None else limit_bytes)
    if form == "json":
        for one in removed:
            click.echo(json.dumps(_record(one)))
        return
    click.echo(f"removed {len(removed)} files, {sum(one.size_bytes for one in removed) / 1e6:.1f} MB")


def _store() -> Store:
    return Store(Settings.load().cache_dir / "daemonless")


def _bytes(text: str) -> int:
    size_bytes = size_in_bytes(text)
    if size_bytes is None:
        raise SpecError(f"--keep: {text!r} is not a size", path="--keep", hint="for example 500M, 2G or 0")
    return size_bytes


def _record(one: Kept) -> dict[str, object]:
    return {"kind": one.kind, "name": one.name, "bytes": one.size_bytes, "used": one.used_s}
