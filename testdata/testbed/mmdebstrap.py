"""Making a base image of Debian's packages with mmdebstrap."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import IO

from testbed import packages
from testbed.common import Paths, TestbedError, architecture
from testbed.layout import EPOCH_S, Extra, Layout, put_image
from testbed.processes import MARK, mark

_SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PYTHON = ("python3", "python3-venv", "python-is-python3", "ca-certificates", "netbase", "tzdata")
#: What of a Debian a base of another architecture has beside Python: nothing comes of itself when it is unpacked.
_UNPACKED = (
    *("base-files", "base-passwd", "bash", "coreutils", "dash", "findutils", "grep", "gzip", "hostname"),
    *("libc-bin", "mawk", "sed", "tar", "util-linux"),
)
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*", "/usr/share/lintian/*")
#: What depends on the machine or the hour, and what no engine wants in a layer.
_UNWANTED_TREES = ("dev", "proc", "sys", "var/lib/apt/lists", "var/cache/apt", "var/cache/ldconfig", "var/log")
_UNWANTED_NAMES = ("99mmdebstrap", "EXTERNALLY-MANAGED", "extended_states")
_UNWANTED_PATHS = ("etc/resolv.conf", "etc/hostname", "etc/machine-id", "var/cache/debconf/tmp.ci")


def fetch(paths: Paths) -> Path:
    """The folder with mmdebstrap, and with perl's modules where the machine lacks them."""
    return packages.ensure(paths, "mmdebstrap", (*packages.DEBOOTSTRAP, *packages.missing_perl()))


def make(paths: Paths, tools: Path, suite: str, python: str | None, target: str, layout: Layout) -> None:
    """Fills the layout with a Debian of the suite for the target architecture, with Debian's Python if one is named.

    One of another architecture is unpacked only, its packages' scripts are not run: emulated, they take minutes.
    Raises TestbedError with the end of what mmdebstrap said.
    """
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
    argv = _command(paths, tools, suite, target, mirror.uri, with_python=python is not None)
    with tempfile.TemporaryFile(dir=paths.tmp) as said:
        with subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said) as run:
            assert run.stdout is not None
            try:
                _write(layout, run.stdout, python, target)
            except BaseException:
                run.terminate()
                if run.wait() == 0 or run.returncode < 0:
                    raise
        if run.returncode != 0:
            hint = (
                "" if os.geteuid() == 0 else "\n(run this as root; or install uidmap and have entries in /etc/subuid)"
            )
            raise TestbedError(f"mmdebstrap could not make a {suite} for {target}:\n  {_tail(said)}{hint}")


def _tail(said: IO[bytes]) -> str:
    said.seek(0)
    lines = said.read().decode(errors="replace").strip().splitlines()[-15:]
    return "\n  ".join(line if len(line) < 300 else f"{line[:140]} ... {line[-140:]}" for line in lines)


def _command(paths: Paths, tools: Path, suite: str, target: str, mirror: str, *, with_python: bool) -> list[str]:
    foreign = target != architecture()
    include = ["passwd", "login", *(_PYTHON if with_python else ()), *(_UNPACKED if foreign else ())]
    hooks = []
    if suite == "bookworm":  # without these two, merging /usr brings a whole perl
        include.append("usr-is-merged")
        hooks.append(f"--hook-dir={tools}/usr/share/mmdebstrap/hooks/merged-usr")
    return [
        f"{tools}/usr/bin/mmdebstrap",
        "--mode=root" if os.geteuid() == 0 else "--mode=unshare",
        f"--architectures={target}",
        *(["--skip=check/qemu"] if foreign else []),
        f"--variant={'extract' if foreign else 'apt'}",
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
        suite,
        "-",
        mirror,
    ]


def _write(layout: Layout, tar: IO[bytes], python: str | None, target: str) -> None:
    extras = _extras() + (_unconfigured() if target != architecture() else [])
    layer, diff_id = layout.put_layer(tar, _wanted, extras)
    config: dict[str, object] = {"Env": [f"PATH={_SYSTEM}"], "Cmd": ["bash"]}
    if python is not None:
        config = {
            "Env": [f"PATH={_SYSTEM}", "LANG=C.UTF-8", f"PYTHON_VERSION={python}"],
            "Cmd": ["python3"],
        }
    layout.finish(put_image(layout, layer, diff_id, config, target))


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


def _unconfigured() -> list[Extra]:
    """What the scripts of packages would have written, as far as containers miss it."""
    return [
        Extra(
            path="etc/passwd",
            text="root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
        ),
        Extra(path="etc/group", text="root:x:0:\nstaff:x:50:\nnogroup:x:65534:\n"),
    ]
