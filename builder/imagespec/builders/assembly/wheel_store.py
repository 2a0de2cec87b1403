"""Wheels on this machine, by their sha256: fetched once, checked while they come."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast
from urllib.parse import unquote, urlsplit

from imagespec.builders.assembly.resolution import Fetching
from imagespec.builders.assembly.store import Store
from imagespec.errors import BuildFailed, IntegrityError
from imagespec.registry.hosts import Origin, Proxies
from imagespec.wheels.lock import LockedWheel

if TYPE_CHECKING:
    from urllib3 import PoolManager

__all__ = ["WheelStore"]

_CONNECTIONS: Final = 8
_CONNECT_S: Final = 10.0
_READ_S: Final = 60.0
_CHUNK_BYTES: Final = 1 << 20


class WheelStore:
    """Fetches wheels that are not here yet."""

    def __init__(self, store: Store, fetching: Fetching, proxies: Proxies) -> None:
        self._store = store
        self._fetching = fetching
        self._proxies = proxies
        self._pools: dict[str, PoolManager] = {}

    def missing(self, wheels: tuple[LockedWheel, ...]) -> tuple[LockedWheel, ...]:
        """Return the wheels that would have to be fetched."""
        return tuple(one for one in wheels if self._store.find("wheels", one.sha256) is None)

    def path(self, wheel: LockedWheel) -> Path:
        """Return the wheel's file, fetched if it is not here; raise BuildFailed or IntegrityError."""
        with self._store.making("wheels", wheel.sha256):
            return self._store.find("wheels", wheel.sha256) or self._fetched(wheel)

    def drop_damaged(self, wheels: Sequence[LockedWheel]) -> bool:
        """Remove those whose bytes have changed on the disk, to be fetched anew; return whether there were any."""
        damaged = False
        for wheel in wheels:
            with self._store.making("wheels", wheel.sha256):
                path = self._store.find("wheels", wheel.sha256)
                if path is not None and not _is_whole(path, wheel.sha256):
                    self._store.drop("wheels", wheel.sha256)
                    damaged = True
        return damaged

    def close(self) -> None:
        """Close connections."""
        for pool in self._pools.values():
            pool.clear()

    def _fetched(self, wheel: LockedWheel) -> Path:
        def fill(file: BinaryIO) -> str:
            digest = hashlib.sha256()
            with self._opened(wheel) as chunks:
                for chunk in chunks:
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != wheel.sha256:
                raise IntegrityError(
                    f"fetch {wheel.filename}: its sha256 is not the one in the lock",
                    hint="the index changed the file, or something on the way did",
                )
            return wheel.sha256

        return self._store.write("wheels", fill)

    @contextmanager
    def _opened(self, wheel: LockedWheel) -> Iterator[Iterator[bytes]]:
        parts = urlsplit(wheel.url)
        if parts.scheme == "file":
            try:
                with Path(unquote(parts.path)).open("rb") as file:
                    yield iter(lambda: file.read(_CHUNK_BYTES), b"")
            except OSError as error:
                raise _unfetched(wheel, error.strerror or str(error)) from error
            return
        from urllib3.exceptions import HTTPError

        try:
            with self._pool(wheel.url).request(
                "GET", wheel.url, headers=self._headers(wheel.url), preload_content=False
            ) as answer:
                if answer.status != 200:
                    raise _unfetched(wheel, f"the index answered {answer.status}")
                yield answer.stream(_CHUNK_BYTES, decode_content=False)
        except HTTPError as error:
            raise _unfetched(wheel, type(error).__name__) from error

    def _pool(self, url: str) -> PoolManager:
        import urllib3

        proxy = self._proxies.of(Origin.of_url(url))
        if proxy not in self._pools:
            timeout = urllib3.Timeout(connect=_CONNECT_S, read=_READ_S)
            retries = urllib3.Retry(total=3, backoff_factor=0.3, status_forcelist=(429, 500, 502, 503, 504))
            ca_certs = self._fetching.ca_bundle or None
            make = urllib3.PoolManager if not proxy else _through(proxy)
            self._pools[proxy] = make(timeout=timeout, retries=retries, ca_certs=ca_certs, maxsize=_CONNECTIONS)
        return self._pools[proxy]

    def _headers(self, url: str) -> dict[str, str]:
        if not self._fetching.netrc:
            return {}
        import netrc

        import urllib3

        try:
            found = netrc.netrc(self._fetching.netrc).authenticators(urlsplit(url).hostname or "")
        except (OSError, netrc.NetrcParseError):
            return {}
        return urllib3.make_headers(basic_auth=f"{found[0]}:{found[2]}") if found else {}


def _is_whole(path: Path, sha256: str) -> bool:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest() == sha256


def _through(proxy: str) -> Callable[..., PoolManager]:
    import urllib3

    def make(**keywords: object) -> PoolManager:
        return cast("PoolManager", urllib3.ProxyManager(proxy, **keywords))  # type: ignore[arg-type]

    return make


def _unfetched(wheel: LockedWheel, why: str) -> BuildFailed:
    host = urlsplit(wheel.url).hostname or "a folder"
    return BuildFailed(
        f"fetch {wheel.filename}: {why}",
        step="fetch packages",
        hint=f"check that {host} can be reached from here: proxy, CA, credentials in pip_secret_mounts",
    )
