"""The uv of this machine, asked for by several builds at once."""

from __future__ import annotations

import os
import subprocess
import sys

from imagespec.builders.host_uv import host_uv

# sysconfig fills its variables once a process, so each process can go wrong once only: the threads start together,
# and take turns as often as they can.
_THREADS = """
import sys, threading
from imagespec.builders.host_uv import host_uv
import uv
sys.setswitchinterval(1e-6)
gate, found = threading.Barrier(8), []
def ask():
    gate.wait()
    found.append(host_uv())
threads = [threading.Thread(target=ask) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(found) == 8, found
"""


def test_it_is_a_program() -> None:
    assert os.access(host_uv(), os.X_OK)


def test_many_threads_may_ask_at_once() -> None:
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", _THREADS], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
