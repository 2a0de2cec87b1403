"""Our side of the builds, and the machine's own limit, as processes that print their figures; what the figures say."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from bench.rows import Run

__all__ = ["LIMIT", "OURS", "median", "remains"]

_SAID = {"inflate": "inflating", "hash": "sha256 of contents", "send": "reading, sha256 and sending of wheels"}

#: Reads the folder, makes the plan and builds it, in one process.
OURS = """
import resource, sys, time
from pathlib import Path
from imagespec.builders import BuildOptions
from imagespec.builders.daemonless import DaemonlessBuilder
from imagespec.events import discard
from imagespec.names import Reference
from imagespec.planner import make_plan
from imagespec.registry.http import HttpRegistry
from imagespec.spec import Declaration
from imagespec.sources.stat_cache import StatCache
from imagespec.workspace import Workspace
imported, start_cpu = time.perf_counter(), time.process_time()
cache, source, base, target, bytecode, index, *packages = sys.argv[1:]
declared = {"packages": packages} if packages else {}
declared |= {"source_root": source, "source_copy_mode": "ALL"} if source else {}
declared |= {"pip_extra_args": f"--find-links {index}"} if index else {}
spec = Declaration(name="bench", base_image=base, builder_options={"bytecode": bytecode == "1"}, **declared)
workspace = Workspace(cwd="/", stat_cache=StatCache(cache + "/stat"), emit=discard)
plan = make_plan(spec, workspace.take(spec, modules=()))
with HttpRegistry() as registry:
    builder = DaemonlessBuilder(cache_dir=Path(cache), registry=registry)
    builder.build(plan, workspace, Reference.parse(target), options=BuildOptions(), emit=discard)
print(f"bench_build={time.perf_counter() - imported}", f"bench_start={start_cpu}", sep="\\n")
children = resource.getrusage(resource.RUSAGE_CHILDREN)
print(f"bench_cpu={time.process_time()}", f"bench_children={children.ru_utime + children.ru_stime}", sep="\\n")
"""
#: What no builder can avoid: reading the wheels, hashing what is in them and what is sent, and sending it. What
#: inflating them takes is told apart.
LIMIT = """
import hashlib, os, sys, time, zipfile, zlib
from pathlib import Path
from imagespec.names import Repository
from imagespec.oci import Descriptor, digest_of
from imagespec.registry.http import HttpRegistry
try:
    from isal import isal_zlib as library
except ImportError:
    library = zlib
host, *wheels = sys.argv[1:]
repository = Repository.parse(f"{host}/bench/{os.urandom(6).hex()}")
members = [(wheel, one) for wheel in wheels for one in zipfile.ZipFile(wheel).infolist()]
size = sum(one.file_size for _, one in members)
begun, cpu = time.perf_counter(), time.process_time()
block = bytes(1 << 20)
hashed = hashlib.sha256()
for _ in range(size >> 20):
    hashed.update(block)
hash_cpu = time.process_time() - cpu
with HttpRegistry() as registry:
    for wheel in wheels:
        data = Path(wheel).read_bytes()
        described = Descriptor(media_type="x", digest=digest_of(data), size_bytes=len(data))
        registry.write_blob(repository, described, lambda: Path(wheel).open("rb"))
print(f"bench_build={time.perf_counter() - begun}", f"bench_hash={hash_cpu}", sep="\\n")
print(f"bench_send={time.process_time() - cpu - hash_cpu}")
inflating = 0.0
for wheel in wheels:
    data = Path(wheel).read_bytes()
    for name, one in members:
        if name == wheel and one.compress_type:
            head = data[one.header_offset : one.header_offset + 30]
            start = one.header_offset + 30 + sum(int.from_bytes(head[at : at + 2], "little") for at in (26, 28))
            stream = data[start : start + one.compress_size]
            cpu = time.process_time()
            library.decompressobj(-15).decompress(stream)
            inflating += time.process_time() - cpu
print(f"bench_inflate={inflating}")
"""


def median(runs: Sequence[Run], what: str) -> float:
    """Return the median of a figure that the runs printed."""
    return statistics.median(run.seconds(what) for run in runs)


def remains(runs: Sequence[Run], parts: Mapping[str, float] | None = None) -> str:
    """Return what the processor time of our runs went into; ``parts``, in seconds, are measured by ``LIMIT``."""
    cpu, start, children = (median(runs, name) * 1000 for name in ("cpu", "start", "children"))
    known = {"start-up and imports": start, **{_SAID[name]: taken * 1000 for name, taken in (parts or {}).items()}}
    said = [f"{name} {taken:.0f} ms" for name, taken in known.items()]
    others = f"; processes of others (uv, compiling) {children:.0f} ms" if children >= 1 else ""
    return f"{', '.join(said)}, all else {cpu - sum(known.values()):.0f} ms of {cpu:.0f} ms of processor time{others}"
