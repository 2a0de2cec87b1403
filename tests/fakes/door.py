"""A door in front of a socket that can be shut in the middle: an engine that stops, a registry that goes away."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

__all__ = ["Door"]

Address = str | tuple[str, int]


class Door:
    """Passes connections on to ``inner`` until it is shut; ``address`` is where it stands."""

    def __init__(self, inner: Address, outer: Path | None = None) -> None:
        self._inner = inner
        self._listener = socket.socket(socket.AF_INET if outer is None else socket.AF_UNIX)
        self._listener.bind(("127.0.0.1", 0) if outer is None else str(outer))
        self._listener.listen()
        self.address: Address = self._listener.getsockname()
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.shut()
        self._thread.join(5)

    def shut(self) -> None:
        """Cut every connection, and let none in any more."""
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _serve(self) -> None:
        while True:
            try:
                outside, _ = self._listener.accept()
            except OSError:
                return
            inside = socket.socket(socket.AF_UNIX if isinstance(self._inner, str) else socket.AF_INET)
            inside.connect(self._inner)
            self._open += [outside, inside]
            for source, target in ((outside, inside), (inside, outside)):
                threading.Thread(target=_pass_on, args=(source, target), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
