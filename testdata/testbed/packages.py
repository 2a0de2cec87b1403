"""Debian's packages, taken from the machine's own mirror and unpacked into a folder of ours.

apt runs with its own settings, lists and caches; nothing of the machine's apt or dpkg is written.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from testbed.common import Paths, TestbedError, say, timed
from testbed.processes import MARK, mark

#: The release whose engine is recent enough (26.1) and still runs on Debian 12.
ENGINE_SUITE = "trixie"
#: The releases base images are made of.
BASE_SUITES = ("bookworm", "trixie")

ENGINE = (
    f"docker.io/{ENGINE_SUITE}",
    f"docker-cli/{ENGINE_SUITE}",
    f"docker-buildx/{ENGINE_SUITE}",
    f"containerd/{ENGINE_SUITE}",
    "runc",
    "tini",
    "iptables",
    "libxtables12",
    "libnftnl11",
    "libmnl0",
    "libnetfilter-conntrack3",
    "libnfnetlink0",
    "libip4tc2",
    "libip6tc2",
)
REGISTRY = ("docker-registry",)
DEBOOTSTRAP = ("mmdebstrap",)
#: Programs that tests hold our images and pages against, by name; not part of the bed. Unpacked with what they need.
TOOLS = {
    "buildah": ("buildah",),
    "chromium": ("chromium-headless-shell",),
    "containerd": (f"containerd/{ENGINE_SUITE}",),
    "podman": ("podman", "runc"),
    "skopeo": ("skopeo",),
}
#: What a machine's own programs load cannot come from another release, and what a program without screen never loads.
_NOT_NEEDED = frozenset(
    [
        "libc6",
        "libc-bin",
        "gcc-12-base",
        "gcc-14-base",
        "libgcc-s1",
        "debconf",
        "dpkg",
        "tar",
        "xdg-utils",
        "x11-utils",
        "xkb-data",
        "libx11-data",
        "libgl1",
        "libgl1-mesa-dri",
        "libllvm15",
        "libllvm19",
        "mesa-libgallium",
        "libz3-4",
        "libicu72",
        "libicu76",
        "libxml2",
    ]
)

#: What of the machine's settings concerns fetching: proxies, patience, and how far its clock is to be trusted.
_FETCHING = tuple(f"Acquire::{what}" for what in ("http::", "https::", "Check-", "Max-", "Min-", "Retries", "ForceIPv"))

#: One apt at a time works on our lists.
_apt = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """Where this machine gets Debian from, and which release it is."""

    uri: str
    codename: str


def is_debian() -> bool:
    return "debian" in _os_release().get("ID", "").split() and Path("/usr/bin/dpkg-deb").exists()


def find_mirror() -> Mirror:
    """The mirror named in the machine's own apt sources; raises TestbedError when there is none."""
    codename = _os_release().get("VERSION_CODENAME", "")
    for uri, suites in _sources():
        if codename in suites and uri.startswith(("http://", "https://")):
            return Mirror(uri=uri, codename=codename)
    raise TestbedError(
        f"no mirror of Debian {codename or '(release unknown)'} in /etc/apt: add one, or start a Docker engine yourself"
    )


def _os_release() -> dict[str, str]:
    try:
        lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {key: value.strip().strip('"') for key, _, value in pairs}


def _sources() -> Iterator[tuple[str, list[str]]]:
    """(address, suites) of every enabled source, in both of apt's formats."""
    parts = Path("/etc/apt/sources.list.d")
    for path in [Path("/etc/apt/sources.list"), *sorted(parts.glob("*.list"))]:
        if path.exists():
            yield from _one_line_sources(path.read_text(encoding="utf-8"))
    for path in sorted(parts.glob("*.sources")):
        yield from _deb822_sources(path.read_text(encoding="utf-8"))


def _one_line_sources(text: str) -> Iterator[tuple[str, list[str]]]:
    for line in text.splitlines():
        found = re.match(r"\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)", line)
        if found:
            yield found[1], [found[2]]


def _deb822_sources(text: str) -> Iterator[tuple[str, list[str]]]:
    for stanza in re.split(r"\n\s*\n", text):
        lines = (line.partition(":") for line in stanza.splitlines() if not line.startswith(("#", " ", "\t")))
        fields = {key.strip().lower(): value.split() for key, _, value in lines}
        if "deb" in fields.get("types", []) and fields.get("enabled", ["yes"]) != ["no"]:
            for uri in fields.get("uris", []):
                yield uri, fields.get("suites", [])


def keyring() -> Path:
    """The machine's keys of Debian. Each release is signed with the one before's, too: Debian 12's will do."""
    for name in ("debian-archive-keyring.gpg", "debian-archive-keyring.pgp"):
        if (path := Path("/usr/share/keyrings", name)).exists():
            return path
    raise TestbedError("no keys to check Debian's packages with: install the package debian-archive-keyring")


def missing_perl() -> tuple[str, ...]:
    """The packages with perl's modules where the machine has the bare interpreter only."""
    if subprocess.run(["perl", "-MEnglish", "-MTime::HiRes", "-e", "1"], capture_output=True).returncode == 0:
        return ()
    asked = subprocess.run(["perl", "-e", "printf '%vd', $^V"], check=True, capture_output=True, text=True)
    version = asked.stdout.rpartition(".")[0]
    return (f"perl-modules-{version}", f"libperl{version}")


def fetching_settings(paths: Paths) -> Path:
    """The file with the machine's own settings for fetching, once :func:`ensure` made it."""
    return paths.cache / "apt/fetching.conf"


def are_cached(paths: Paths, name: str, wanted: Sequence[str]) -> bool:
    return _folder(paths, name, wanted).exists()


def _folder(paths: Paths, name: str, wanted: Sequence[str]) -> Path:
    stamp = hashlib.sha256("\n".join(wanted).encode()).hexdigest()[:8]
    return paths.tools / f"{name}-{stamp}"


def ensure(paths: Paths, name: str, wanted: Sequence[str], *, stamp: Sequence[str] = ()) -> Path:
    """The folder with these packages unpacked, made now unless it was before; ``stamp`` tells versions of it apart."""
    target = _folder(paths, name, stamp or wanted)
    if target.exists():
        return target
    with _apt:
        _ensure_lists(paths, find_mirror())
    with tempfile.TemporaryDirectory(dir=paths.tmp) as scratch:
        archives = Path(scratch, "debs")
        archives.mkdir()
        with timed(f"downloading {_listed(wanted)} from Debian's mirror"):
            _download(paths, wanted, archives)
        found = sorted(archives.glob("*.deb"), key=lambda path: path.stat().st_size, reverse=True)
        with timed(f"unpacking {_titles(found)}"):
            _unpack(found, Path(scratch, "root"))
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(Path(scratch, "root"), target)
    return target


def ensure_tool(paths: Paths, name: str) -> Path:
    """The folder with the tool and the libraries it needs, made now unless it was before."""
    target = _folder(paths, name, TOOLS[name])
    if target.exists():
        return target
    with _apt:
        _ensure_lists(paths, find_mirror())
        said = apt_get(paths, "install", "--simulate", "--no-install-recommends", *TOOLS[name])
    # apt knows of no installed package here, so this is all that the tool needs.
    needed = re.findall(r"^Inst (\S+)", said, re.MULTILINE)
    return ensure(paths, name, [one for one in needed if one not in _NOT_NEEDED], stamp=TOOLS[name])


def _download(paths: Paths, wanted: Sequence[str], folder: Path) -> None:
    """Fetches the packages; with newer lists when the mirror no longer has what ours name."""
    with _apt:
        try:
            apt_get(paths, "download", *wanted, cwd=folder)
        except TestbedError as error:
            say(f"fetching newer package lists, since {error}")
            (paths.cache / "apt/fetched").unlink(missing_ok=True)
            _ensure_lists(paths, find_mirror())
            apt_get(paths, "download", *wanted, cwd=folder)


def _titles(archives: Sequence[Path]) -> str:
    """Names and versions of the large ones."""
    names = [" ".join(archive.name.split("_")[:2]).replace("%3a", ":") for archive in archives]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _listed(wanted: Sequence[str]) -> str:
    names = [each.partition("/")[0] for each in wanted]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _unpack(archives: Sequence[Path], folder: Path) -> None:
    def one(archive: Path) -> None:
        subprocess.run(["dpkg-deb", "-x", str(archive), str(folder)], check=True)

    folder.mkdir()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, archives))


def apt_get(paths: Paths, *arguments: str, cwd: Path | None = None) -> str:
    """Runs apt-get on our own lists and returns what it printed; raises TestbedError with the same when it fails."""
    env = {**os.environ, "APT_CONFIG": str(paths.cache / "apt/apt.conf"), "LC_ALL": "C"}
    env[MARK] = mark(paths.cache, "make")
    done = subprocess.run(
        ["apt-get", "-q", *arguments], env=env, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    said = done.stdout + done.stderr
    if done.returncode != 0 or "\nW: Failed to fetch" in said or "\nW: GPG error" in said:
        last = "\n  ".join(said.strip().splitlines()[-12:])
        raise TestbedError(f"apt-get {arguments[0]} failed with {done.returncode} (is the network there?):\n  {last}")
    return done.stdout


def _ensure_lists(paths: Paths, mirror: Mirror) -> None:
    """Fetches the lists of packages once per cache."""
    marker = paths.cache / "apt/fetched"
    if not marker.exists():
        suites = sorted({mirror.codename, *BASE_SUITES})
        with timed(f"fetching the package lists of Debian {', '.join(suites)}"):
            _configure(paths, mirror, suites)
            apt_get(paths, "update")
        marker.touch()


def _configure(paths: Paths, mirror: Mirror, suites: Sequence[str]) -> None:
    """Writes apt's settings: the machine's own for fetching (proxies, clocks), ours for everything else."""
    home = paths.cache / "apt"
    for folder in ("etc/sources.list.d", "etc/preferences.d", "state/lists/partial", "cache/archives/partial"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    (home / "status").touch()
    (home / "etc/sources.list.d/bed.sources").write_text(
        f"Types: deb\nURIs: {mirror.uri}\nSuites: {' '.join(suites)}\nComponents: main\nSigned-By: {keyring()}\n",
        encoding="utf-8",
    )
    others = [suite for suite in suites if suite != mirror.codename]
    (home / "etc/preferences.d/bed").write_text(
        "\n".join(f"Package: *\nPin: release n={suite}\nPin-Priority: 50\n" for suite in others), encoding="utf-8"
    )
    dump = subprocess.run(["apt-config", "dump", "Acquire"], check=True, capture_output=True, text=True).stdout
    fetching_settings(paths).write_text(
        "".join(f"{line}\n" for line in dump.splitlines() if line.startswith(_FETCHING)), encoding="utf-8"
    )
    settings = {
        "Dir::State": home / "state",
        "Dir::State::status": home / "status",
        "Dir::Cache": home / "cache",
        "Dir::Etc": home / "etc",
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::parts": "/dev/null",
        "Dir::Etc::main": "/dev/null",
        "APT::Sandbox::User": "root",
        "Dir::Cache::srcpkgcache": "",
        "Acquire::GzipIndexes": "true",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    lines = [f'{key} "{value}";' for key, value in settings.items()]
    lines.append(fetching_settings(paths).read_text(encoding="utf-8"))
    (home / "apt.conf").write_text("\n".join(lines), encoding="utf-8")
