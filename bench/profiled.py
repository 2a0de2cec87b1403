"""Where the time of a Python process goes, by samples of its main thread: ``profiled.py OUT COMMAND…``.

``COMMAND…`` is what would follow ``python``: ``-c TEXT`` or ``-m MODULE``, and its arguments. A timer interrupts the
main thread every millisecond; the time since the last sample is given to what the thread stands in: the package being
imported, else the innermost function of imagespec, else the script. ``OUT`` gets a JSON object, seconds by place.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType

__all__ = ["place_of"]

_EVERY_S = 0.001
_PACKAGE = "imagespec"
_IMPORTING = "_find_and_load"


def place_of(frame: FrameType | None) -> str:
    """Return where a stack stands, seen from its innermost frame."""
    own, other = "", ""
    for one in _outwards(frame):
        name = str(one.f_globals.get("__name__", ""))
        if one.f_code.co_name == _IMPORTING and one.f_code.co_filename.startswith("<frozen importlib"):
            return f"import {str(one.f_locals.get('name', '')).partition('.')[0]}"
        if not own and name.partition(".")[0] == _PACKAGE:
            own = f"{name.removeprefix(_PACKAGE + '.')}: {one.f_code.co_name}"
        if not other and name != "__main__":
            other = f"{name}: {one.f_code.co_name}"
    return own or other or "the script"


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None and frame.f_code.co_filename != __file__:
        yield frame
        frame = frame.f_back


class _Sampler:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def start(self) -> None:
        self._last = time.perf_counter()
        signal.signal(signal.SIGALRM, self._sample)
        signal.setitimer(signal.ITIMER_REAL, _EVERY_S, _EVERY_S)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _sample(self, _: int, frame: FrameType | None) -> None:
        now = time.perf_counter()
        place = place_of(frame)
        self.seconds[place] = self.seconds.get(place, 0.0) + now - self._last
        self._last = now


def _main(out: str, kind: str, *arguments: str) -> None:
    sampler = _Sampler()
    sys.path[0] = ""
    sampler.start()
    try:
        if kind == "-c":
            sys.argv = ["-c", *arguments[1:]]
            exec(compile(arguments[0], "<script>", "exec"), {"__name__": "__main__"})
        else:
            import runpy

            sys.argv = list(arguments)
            runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    finally:
        sampler.stop()
        import json  # here, since what it takes is not the command's

        with open(out, "w", encoding="utf-8") as file:
            json.dump(sampler.seconds, file)


if __name__ == "__main__":
    _main(*sys.argv[1:])
