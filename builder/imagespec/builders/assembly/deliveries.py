"""Blobs that this process has brought to repositories: images built side by side bring one that they share once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from imagespec.builders.assembly.store import Store
from imagespec.names import Repository
from imagespec.registry import Registry
from imagespec.values import dataclass

__all__ = ["Blob", "Deliveries", "deliveries_of"]


@dataclass(frozen=True, slots=True)
class Blob:
    """The place of a blob or a manifest: ``digest`` in a repository, as it is reached through one client."""

    registry: Registry
    repository: Repository
    digest: str


class Deliveries:
    """Which blobs are where they are wanted; thread-safe.

    What is known here is as old as the process: whoever is told otherwise by the registry calls ``forget``.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._there: set[Blob] = set()
        self._under_way: set[Blob] = set()

    def has(self, blob: Blob) -> bool:
        """Return whether the blob was brought, or seen, there."""
        with self._changed:
            return blob in self._there

    def note(self, blob: Blob) -> None:
        """Know that the blob, or the manifest, is there: the registry has shown it."""
        with self._changed:
            self._there.add(blob)

    def bring(self, blob: Blob, send: Callable[[], None]) -> None:
        """Return when the blob is there: brought by ``send``, unless another thread has brought it or does so now."""
        with self._changed:
            # If the other thread fails, its error is its own image's: ours is brought by its own means.
            self._changed.wait_for(lambda: blob not in self._under_way)
            if blob in self._there:
                return
            self._under_way.add(blob)
        is_there = False
        try:
            send()
            is_there = True
        finally:
            with self._changed:
                if is_there:
                    self._there.add(blob)
                self._under_way.discard(blob)
                self._changed.notify_all()

    def forget(self, blobs: Iterable[Blob]) -> None:
        """Know nothing of these blobs any more."""
        with self._changed:
            self._there.difference_update(blobs)


def deliveries_of(store: Store) -> Deliveries:
    """Return what this process has brought from what the store keeps."""
    return store.once(_made)


def _made(_: Store) -> Deliveries:
    return Deliveries()
