"""Builds that are killed leave nothing wrong behind: no broken file in the store, no temporary file after the next."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from imagespec.builders.assembly.store import Store
from imagespec.registry.layout import LayoutRegistry
from imagespec.validator import check_image
from tests.integration.daemonless.places import OWNED, TARGET, Offline
from tests.integration.daemonless.processes import build_process

pytestmark = pytest.mark.integration


def built(offline: Offline, cache: Path, out: Path, tmp: Path) -> str:
    """Return the digest of a build that nobody stops."""
    process = build_process(offline, cache, out, tmp)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return said.splitlines()[-1]


def check_store(root: Path) -> None:
    """Raise when a file of the store is not what its name says."""
    for one in Store(root).list():
        path = Store(root).path(one.kind, one.name)
        if one.kind in ("layers", "wheels"):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == one.name.partition("-")[0], path
        elif one.kind == "bytecode":
            with zipfile.ZipFile(path) as archive:
                assert archive.testzip() is None


def test_a_build_that_is_killed_leaves_nothing_wrong(offline: Offline, tmp_path: Path) -> None:
    """Short form; IMAGESPEC_KILLS says how many (``make campaigns``)."""
    tmp, whole = tmp_path / "tmp", tmp_path / "whole"
    tmp.mkdir()
    started = time.monotonic()
    expected = built(offline, whole / "cache", whole / "out", tmp)
    lasts_s = time.monotonic() - started
    chance = random.Random(5)
    cache, out = tmp_path / "other" / "cache", tmp_path / "other" / "out"
    for number in range(int(os.environ.get("IMAGESPEC_KILLS", "4"))):
        if number % 2 == 0:
            # Every other time on an empty machine that knows the base, else on what was left.
            shutil.rmtree(cache, ignore_errors=True)
            shutil.rmtree(out, ignore_errors=True)
            shutil.copytree(offline.cache, cache)
        process = build_process(offline, cache, out, tmp)
        time.sleep(chance.uniform(0, lasts_s))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        check_store(cache / "daemonless")
        assert built(offline, cache, out, tmp) == expected
        check_store(cache / "daemonless")
        assert list((cache / "daemonless" / "tmp").iterdir()) == []
        assert list(tmp.iterdir()) == []
        check_image(LayoutRegistry(out), TARGET, base_layers=1, changed=OWNED)
        names = {one.name for one in out.rglob("*") if one.is_file()}
        assert names == {one.name for one in (whole / "out").rglob("*") if one.is_file()}


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_has_is_kept(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from imagespec.builders.assembly.store import Store\n"
        "store = Store(Path(sys.argv[1])); store.temporary().write_bytes(b'x'); print('there', flush=True)\n"
        "time.sleep(60)"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    processes[0].send_signal(signal.SIGKILL)
    processes[0].wait()
    store = Store(tmp_path)
    store.temporary()
    left = {path.name.split("-")[0] for path in (tmp_path / "tmp").iterdir()}
    store.close()
    processes[1].kill()
    for process in processes:
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    assert left == {str(processes[1].pid), str(os.getpid())}
