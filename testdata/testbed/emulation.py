"""Running programs of another architecture: the kernel is told to hand them to qemu, and told to forget it again."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from testbed import packages
from testbed.bases import FOREIGN
from testbed.common import Paths, TestbedError, architecture, write_atomically

_KNOWN = Path("/proc/sys/fs/binfmt_misc")
_OURS = "imagespec-testbed-"
_MAGIC = r"\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"


def is_likely() -> bool:
    """Whether it is worth trying to have programs of another architecture run here."""
    return architecture() != FOREIGN and (_is_known(None) or (os.geteuid() == 0 and packages.is_debian()))


def is_cached(paths: Paths) -> bool:
    """Whether :func:`ensure` has nothing to fetch."""
    return architecture() == FOREIGN or _is_known(paths) or packages.are_cached(paths, "qemu", _packages())


def ensure(paths: Paths) -> None:
    """Has arm64 programs run here, in containers too. For the whole machine, until :func:`remove`."""
    if architecture() == FOREIGN or _is_known(paths):
        return
    if os.geteuid() != 0 or not packages.is_debian():
        raise TestbedError("arm64 programs do not run here: install qemu-user-static, or run this as root on Debian")
    tools = packages.ensure(paths, "qemu", _packages())
    found = (tools / "usr/bin" / name for name in ("qemu-aarch64-static", "qemu-aarch64"))
    qemu = next(path for path in found if path.exists())
    if not (_KNOWN / "register").exists():
        write_atomically(_mounted_by_us(paths), "")
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(_KNOWN)], check=True)
        if _is_known(paths):
            return
    # F: the program is opened now, so that it is found from within containers
    (_KNOWN / "register").write_text(f":{_entry(paths)}:M::{_MAGIC}:{_MASK}:{qemu}:F", encoding="ascii")


def remove(paths: Paths) -> None:
    """Undoes :func:`ensure`, whatever of it was done; what other beds registered stays."""
    if (_KNOWN / _entry(paths)).exists():
        (_KNOWN / _entry(paths)).write_text("-1", encoding="ascii")
    if _mounted_by_us(paths).exists():
        if not _entries():
            subprocess.run(["umount", str(_KNOWN)], capture_output=True)
        _mounted_by_us(paths).unlink()


def _packages() -> tuple[str, ...]:
    """Debian 12 has the program that needs no libraries in a package of its own."""
    return ("qemu-user-static" if packages.find_mirror().codename == "bookworm" else "qemu-user",)


def _is_known(paths: Paths | None) -> bool:
    """Whether arm64 programs are registered, in a way that reaches into containers, by this bed or for good.

    What another bed registered goes when that bed goes.
    """
    magic = f"magic {_MAGIC}".replace(r"\x", "")
    mine = _entry(paths) if paths is not None else ""
    lasting = (path for path in _entries() if path.name == mine or not path.name.startswith(_OURS))
    told = (path.read_text(encoding="ascii").splitlines() for path in lasting)
    return any(lines[0] == "enabled" and magic in lines and "F" in _flags(lines) for lines in told)


def _entries() -> list[Path]:
    return [path for path in _KNOWN.glob("*") if path.name not in ("register", "status")]


def _flags(lines: list[str]) -> str:
    return next((line.partition(":")[2] for line in lines if line.startswith("flags:")), "")


def _entry(paths: Paths) -> str:
    return f"{_OURS}{paths.short_name}"


def _mounted_by_us(paths: Paths) -> Path:
    return paths.root / "binfmt_misc.mounted"
