"""A build in a process of its own, that can be killed in the middle."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.integration.daemonless.places import Offline

__all__ = ["ROOT", "build_process"]

ROOT = Path(__file__).resolve().parents[3]
BUILD = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from imagespec.builders import BuildOptions
from imagespec.builders.daemonless import DaemonlessBuilder
from imagespec.events import discard
from imagespec.registry.layout import LayoutRegistry
from tests.integration.daemonless.places import SOURCES, TARGET
from tests.integration.sources import layout_digest, plan_of
layout, index, cache, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
digest = layout_digest(layout)
plan = plan_of(SOURCES, digest, base_image=f"oci-layout:{{layout}}", pip_index=index, packages=["lib"])
builder = DaemonlessBuilder(cache_dir=cache, registry=LayoutRegistry(out))
print("begun", flush=True)
options = BuildOptions(base_layout=f"{{layout}}@{{digest}}", use_cache=False)
done = builder.build(plan, SOURCES, TARGET, options=options, emit=discard)
print(done.digest)
"""


def build_process(offline: Offline, cache: Path, out: Path, tmp: Path) -> subprocess.Popen[str]:
    """Start a build into the layout ``out``, in a session of its own; it says ``begun``, and in the end the digest.

    ``tmp`` is its folder for temporary files.
    """
    words = [sys.executable, "-c", BUILD.format(root=str(ROOT)), str(offline.layout), offline.index]
    return subprocess.Popen(
        [*words, str(cache), str(out)],
        env={**os.environ, "TMPDIR": str(tmp)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
