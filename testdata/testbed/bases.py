"""Base images as Docker Hub would give them: mirrored where it answers, else made of Debian's packages."""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from testbed import hub, packages, processes
from testbed.common import Paths, TestbedError, architecture, say, timed
from testbed.layout import EPOCH_S, Extra, Layout, put_image
from testbed.processes import MARK, mark

_SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PYTHON = ("python3", "python3-venv", "python-is-python3", "ca-certificates", "netbase", "tzdata")
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*", "/usr/share/lintian/*")
#: What depends on the machine or the hour, and what no engine wants in a layer.
_UNWANTED_TREES = ("dev", "proc", "sys", "var/lib/apt/lists", "var/cache/apt", "var/cache/ldconfig", "var/log")
_UNWANTED_NAMES = ("99mmdebstrap", "EXTERNALLY-MANAGED", "extended_states")
_UNWANTED_PATHS = ("etc/resolv.conf", "etc/hostname", "etc/machine-id", "var/cache/debconf/tmp.ci")
#: Raised when images come out otherwise than before, so that cached ones are made again.
_RECIPE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A base image: ``key`` is what it is called in our output, ``name`` and ``tag`` what Docker Hub calls it."""

    key: str
    name: str
    tag: str
    suite: str
    python: str | None = None

    @property
    def folder_name(self) -> str:
        return f"{self.name.replace('/', '_')}_{self.tag}-r{_RECIPE}"


BASES = (
    Base(key="debian", name="library/debian", tag="bookworm-slim", suite="bookworm"),
    Base(key="python3.11", name="library/python", tag="3.11-slim-bookworm", suite="bookworm", python="3.11"),
    Base(key="python3.13", name="library/python", tag="3.13-slim-trixie", suite="trixie", python="3.13"),
)


def ensure(paths: Paths) -> dict[str, Layout]:
    """The layout of every base by its key, made now where it is missing."""
    layouts = {base.key: Layout(paths.layouts / base.folder_name) for base in BASES}
    missing = [base for base in BASES if not layouts[base.key].folder.exists()]
    if missing:
        paths.layouts.mkdir(parents=True, exist_ok=True)
        if hub.answers():
            for base in missing:
                _place(paths, base, functools.partial(hub.mirror, base.name, base.tag, architecture()))
        elif packages.is_debian():
            _make_all(paths, missing)
        else:
            raise TestbedError(
                "Docker Hub does not answer, and base images are made with mmdebstrap, which wants Debian: "
                "run this where one of the two is to be had"
            )
    return layouts


def _make_all(paths: Paths, missing: Sequence[Base]) -> None:
    say(f"Docker Hub does not answer: making {len(missing)} base images of Debian's packages (half a minute)")
    tools = packages.ensure(paths, "mmdebstrap", (*packages.DEBOOTSTRAP, *packages.missing_perl()))
    with ThreadPoolExecutor(len(missing)) as pool:
        work = [pool.submit(_place, paths, base, functools.partial(_make, paths, base, tools)) for base in missing]
        try:
            for done in as_completed(work):
                done.result()
        except BaseException:  # interrupted, or one failed: do not wait for the others
            processes.stop(processes.owned(mark(paths.cache, "make")), grace_s=5)
            raise


def _place(paths: Paths, base: Base, fill: Callable[[Layout], None]) -> None:
    """Has the layout filled in a temporary folder, and puts it in place whole."""
    with timed(f"{base.name}:{base.tag}"), tempfile.TemporaryDirectory(dir=paths.tmp) as scratch:
        fill(Layout(Path(scratch, "layout")))
        os.rename(Path(scratch, "layout"), paths.layouts / base.folder_name)


def _make(paths: Paths, base: Base, tools: Path, layout: Layout) -> None:
    """Runs mmdebstrap and writes what comes out of it as an image."""
    mirror = packages.find_mirror()
    env = {
        **os.environ,
        "PATH": f"{tools}/usr/bin:{os.environ.get('PATH', '')}:/usr/sbin:/sbin",
        "PERL5LIB": ":".join(
            str(path) for path in (*tools.glob("usr/share/perl/5*"), *tools.glob("usr/lib/*/perl/5*"))
        ),
        "LC_ALL": "C.UTF-8",
        "SOURCE_DATE_EPOCH": str(EPOCH_S),
        "TMPDIR": str(paths.tmp),
        MARK: mark(paths.cache, "make"),
    }
    argv = _mmdebstrap(paths, base, tools, mirror.uri)
    with tempfile.TemporaryFile(dir=paths.tmp) as said:
        with subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said) as run:
            assert run.stdout is not None
            try:
                _write(base, layout, run.stdout)
            except BaseException:
                run.terminate()
                if run.wait() == 0 or run.returncode < 0:
                    raise
        if run.returncode != 0:
            hint = (
                "" if os.geteuid() == 0 else "\n(run this as root; or install uidmap and have entries in /etc/subuid)"
            )
            raise TestbedError(f"mmdebstrap could not make {base.name}:{base.tag}:\n  {_tail(said)}{hint}")


def _tail(said: IO[bytes]) -> str:
    said.seek(0)
    return "\n  ".join(said.read().decode(errors="replace").strip().splitlines()[-15:])


def _mmdebstrap(paths: Paths, base: Base, tools: Path, mirror: str) -> list[str]:
    include = ["passwd", "login", *(_PYTHON if base.python else ())]
    hooks = []
    if base.suite == "bookworm":  # without these two, merging /usr brings a whole perl
        include.append("usr-is-merged")
        hooks.append(f"--hook-dir={tools}/usr/share/mmdebstrap/hooks/merged-usr")
    return [
        f"{tools}/usr/bin/mmdebstrap",
        "--mode=root" if os.geteuid() == 0 else "--mode=unshare",
        "--variant=apt",
        "--format=tar",
        "--components=main",
        f"--keyring={packages.keyring()}",
        f"--include={','.join(include)}",
        "--aptopt=Acquire::Languages=none",
        "--aptopt=Acquire::Retries=3",
        f"--aptopt={packages.fetching_settings(paths)}",
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        *hooks,
        base.suite,
        "-",
        mirror,
    ]


def _write(base: Base, layout: Layout, tar: IO[bytes]) -> None:
    layer, diff_id = layout.put_layer(tar, _wanted, _extras())
    config: dict[str, object] = {"Env": [f"PATH={_SYSTEM}"], "Cmd": ["bash"]}
    if base.python:
        config = {
            "Env": [f"PATH={_SYSTEM}", "LANG=C.UTF-8", f"PYTHON_VERSION={base.python}"],
            "Cmd": ["python3"],
        }
    layout.finish(put_image(layout, layer, diff_id, config, architecture()), base.tag)


def _wanted(name: str) -> bool:
    if name.rpartition("/")[2] in _UNWANTED_NAMES or name in _UNWANTED_PATHS or name.endswith("-old"):
        return False
    return not name.startswith(tuple(f"{tree}/" for tree in _UNWANTED_TREES))


def _extras() -> list[Extra]:
    """The small files by which Docker Hub's Debian images differ from a plain Debian."""
    clean = "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true"
    return [
        Extra(
            path="etc/apt/apt.conf.d/docker-clean",
            text=f'DPkg::Post-Invoke {{ "{clean}"; }};\nAPT::Update::Post-Invoke {{ "{clean}"; }};\n'
            'Dir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\n',
        ),
        Extra(path="etc/apt/apt.conf.d/docker-no-languages", text='Acquire::Languages "none";\n'),
        Extra(
            path="etc/dpkg/dpkg.cfg.d/docker",
            text="force-unsafe-io\n" + "".join(f"path-exclude {pattern}\n" for pattern in _LEFT_OUT),
        ),
        Extra(path="usr/sbin/policy-rc.d", text="#!/bin/sh\nexit 101\n", mode=0o755),
    ]
