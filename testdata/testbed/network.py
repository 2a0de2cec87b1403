"""The engine's own bridge: made and removed by us, on free addresses, with NAT so that containers reach the network.

dockerd is told to leave iptables alone: its chains are one per machine, and would be shared with any other engine.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import shlex
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from testbed.common import Paths, TestbedError, write_atomically

_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_SIOCSIFADDR, _SIOCSIFNETMASK = 0x8916, 0x891C
_SIOCBRADDBR, _SIOCBRDELBR = 0x89A0, 0x89A1
_IFF_UP = 1
_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")

#: Private ranges seldom given to anything, the least likely first.
_POOLS = ("172.30.0.0/15", "192.168.192.0/18", "10.192.0.0/12")


def bridge_name(paths: Paths) -> str:
    return f"isb-{paths.short_name}"


def create(paths: Paths, iptables: str) -> None:
    """Makes the bridge with an address of its own, and lets its packets out."""
    name, network = bridge_name(paths), free_network()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCBRADDBR, name.encode() + b"\0")
        fcntl.ioctl(control, _SIOCSIFADDR, _address_request(name, network[1]))
        fcntl.ioctl(control, _SIOCSIFNETMASK, _address_request(name, network.netmask))
        _set_up(control, name, up=True)
    _allow_forwarding(paths)
    for rule in _rules(name, network):
        _iptables(iptables, *rule)


def remove(paths: Paths, iptables: str | None) -> None:
    """Undoes :func:`create`, whatever of it was done."""
    name = bridge_name(paths)
    if iptables is not None and Path(iptables).exists():
        for table, line in _rules_in_place(iptables, name):
            _iptables(iptables, "-t", table, "-D", *line[1:])
    if Path("/sys/class/net", name).exists():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            _set_up(control, name, up=False)
            fcntl.ioctl(control, _SIOCBRDELBR, name.encode() + b"\0")
    _restore_forwarding(paths)


def exists(paths: Paths) -> bool:
    return Path("/sys/class/net", bridge_name(paths)).exists()


def route_mtu() -> int:
    """The packet size of the way out; a bridge with larger ones loses packets silently."""
    for device, destination, _ in _routes():
        if destination == 0:
            return int(Path("/sys/class/net", device, "mtu").read_text(encoding="ascii"))
    return 1500


def free_network() -> ipaddress.IPv4Network:
    """A /24 that no route, no interface and no name server of this machine lies in."""
    taken = [ipaddress.IPv4Network((address, mask)) for _, address, mask in _routes() if address]
    taken += [ipaddress.IPv4Network(server) for server in _name_servers()]
    for pool in _POOLS:
        for candidate in ipaddress.IPv4Network(pool).subnets(new_prefix=24):
            if not any(candidate.overlaps(other) for other in taken):
                return candidate
    raise TestbedError("no free private network for the engine's bridge: start a Docker engine yourself")


def _routes() -> Iterator[tuple[str, int, str]]:
    """(device, destination, mask) of every IPv4 route."""
    for line in Path("/proc/net/route").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        destination, mask = (int.from_bytes(bytes.fromhex(f)[::-1], "big") for f in (fields[1], fields[7]))
        yield fields[0], destination, str(ipaddress.IPv4Address(mask))


def _name_servers() -> Iterator[str]:
    try:
        lines = Path("/etc/resolv.conf").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        fields = line.split()
        if len(fields) > 1 and fields[0] == "nameserver" and ":" not in fields[1]:
            yield fields[1]


def _address_request(name: str, address: ipaddress.IPv4Address) -> bytes:
    return struct.pack("16sH2s4s8s", name.encode(), socket.AF_INET, b"", address.packed, b"")


def _set_up(control: socket.socket, name: str, *, up: bool) -> None:
    answer = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sH14s", name.encode(), 0, b""))
    flags = struct.unpack("16sH14s", answer)[1]
    flags = flags | _IFF_UP if up else flags & ~_IFF_UP
    fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14s", name.encode(), flags, b""))


def _rules(name: str, network: ipaddress.IPv4Network) -> list[list[str]]:
    return [
        ["-t", "nat", "-A", "POSTROUTING", "-s", str(network), "!", "-o", name, "-j", "MASQUERADE"],
        ["-t", "filter", "-I", "FORWARD", "-i", name, "-j", "ACCEPT"],
        ["-t", "filter", "-I", "FORWARD", "-o", name, "-j", "ACCEPT"],
    ]


def _rules_in_place(iptables: str, name: str) -> Iterator[tuple[str, list[str]]]:
    for table in ("nat", "filter"):
        for line in _iptables(iptables, "-t", table, "-S").splitlines():
            words = shlex.split(line)
            if name in words and words[0] == "-A":
                yield table, words


def _iptables(iptables: str, *arguments: str) -> str:
    done = subprocess.run([iptables, "-w", "10", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise TestbedError(f"iptables {shlex.join(arguments)} failed: {done.stderr.strip()}")
    return done.stdout


def _allow_forwarding(paths: Paths) -> None:
    """Packets of containers must be forwarded; remembers that the machine did not, to put it back."""
    if _FORWARD.read_text(encoding="ascii").strip() == "0":
        write_atomically(paths.root / "ip_forward.before", "0\n")
        _FORWARD.write_text("1\n", encoding="ascii")


def _restore_forwarding(paths: Paths) -> None:
    before = paths.root / "ip_forward.before"
    others = [name for name in os.listdir("/sys/class/net") if name.startswith(("isb-", "docker", "br-"))]
    if before.exists():
        if not others:
            _FORWARD.write_text("0\n", encoding="ascii")
        before.unlink()
