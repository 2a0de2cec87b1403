"""What is known about registries and the way to them, as values: addresses, mirrors, proxies, time limits.

Names and addresses follow Docker: ``docker.io`` is served by another host, loopback addresses may be spoken to in
plain HTTP, everything else only when it is declared insecure.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, urlsplit

from imagespec.errors import InvalidReference, ProtocolViolation
from imagespec.names import DOCKER_HUB, Reference, Repository
from imagespec.values import dataclass, field

__all__ = ["Hosts", "Limits", "Mirror", "Network", "Origin", "Proxies", "RegistrySettings", "is_loopback", "is_private"]

_API_HOSTS: Final = {DOCKER_HUB: "registry-1.docker.io"}
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Return whether ``host`` (no port) names this machine: 127.0.0.0/8, ::1 or localhost."""
    address = _address(host)
    return address.is_loopback if address else host.lower() == "localhost"


def is_private(host: str) -> bool:
    """Return whether ``host`` (no port) is written as an address that is not on the public network."""
    address = _address(host)
    if address is None:
        return is_loopback(host)
    mapped = getattr(address, "ipv4_mapped", None)
    return not (mapped or address).is_global


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """Where a connection goes: scheme, host (IPv6 without brackets) and port."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of_url(cls, url: str | SplitResult) -> Origin:
        """Return the origin of an http or https URL; raise ProtocolViolation when it is none."""
        parts = urlsplit(url) if isinstance(url, str) else url
        try:
            port = parts.port or _DEFAULT_PORTS[parts.scheme]
        except (KeyError, ValueError) as error:
            raise ProtocolViolation("registry: answered with a URL that is not http or https") from error
        if not parts.hostname:
            raise ProtocolViolation("registry: answered with a URL without a host")
        return cls(parts.scheme, parts.hostname, port)

    @property
    def authority(self) -> str:
        """``host[:port]`` as it stands in a URL and in the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if _DEFAULT_PORTS[self.scheme] == self.port else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True)
class Mirror:
    """Another place that answers look-ups: ``host[:port]``, with a path prefix or without."""

    registry: str
    prefix: str = ""

    @classmethod
    def parse(cls, text: str) -> Mirror:
        """Return the mirror that ``host[:port][/prefix]`` names; raise InvalidReference."""
        host, _, prefix = text.strip().rstrip("/").partition("/")
        if "://" in text or not (":" in host or "." in host or host == "localhost"):
            raise InvalidReference("mirror: not host[:port][/prefix]", hint="for example 127.0.0.1:5000/hub")
        probe = Repository.parse(f"{host}/{prefix}/x" if prefix else f"{host}/x/x")
        return cls(probe.registry, prefix)

    def of(self, reference: Reference) -> Reference:
        """Return where this mirror keeps ``reference``."""
        path = f"{self.prefix}/{reference.repository.path}" if self.prefix else reference.repository.path
        return Reference(Repository(self.registry, path), reference.tag, reference.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """What the user declared about one registry.

    ``insecure`` None means by address (plain HTTP on loopback only). ``mirrors`` are asked before the registry;
    ``rewrite`` is asked instead of it. Both answer look-ups only, writes go to the registry that was named.
    """

    insecure: bool | None = None
    ca_file: str | None = None
    mirrors: tuple[Mirror, ...] = ()
    rewrite: Mirror | None = None
    concurrency: int = 64


@dataclass(frozen=True, slots=True)
class Hosts:
    """The settings of every registry, by ``host[:port]`` as references have it, and those of all others."""

    settings: Mapping[str, RegistrySettings] = field(default_factory=dict)
    default: RegistrySettings = RegistrySettings()

    def of(self, registry: str) -> RegistrySettings:
        """Return the settings of ``registry``, or the defaults."""
        return self.settings.get(registry, self.default)

    def origin(self, registry: str) -> Origin:
        """Return where ``registry`` is spoken to: https, or http on loopback and where declared insecure."""
        authority = _API_HOSTS.get(registry, registry)
        declared = self.of(registry)
        parts = urlsplit(f"//{authority}")
        host = parts.hostname or authority
        insecure = declared.insecure if declared.insecure is not None else is_loopback(host) and not declared.ca_file
        scheme = "http" if insecure else "https"
        return Origin(scheme, host, parts.port or _DEFAULT_PORTS[scheme])

    def may_be_plain(self, origin: Origin) -> bool:
        """Return whether plain HTTP to ``origin`` is allowed: loopback, or a registry declared insecure."""
        if is_loopback(origin.host):
            return True
        return any(
            settings.insecure and self.origin(registry).host == origin.host
            for registry, settings in self.settings.items()
        )

    def candidates(self, reference: Reference) -> tuple[Reference, ...]:
        """Return where to look ``reference`` up, first choice first: its mirrors, then the registry itself."""
        declared = self.of(reference.repository.registry)
        if declared.rewrite is not None:
            return (declared.rewrite.of(reference),)
        return (*(mirror.of(reference) for mirror in declared.mirrors), reference)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxies:
    """The proxies to go through, as URLs (they may hold a password, hence no repr), and the hosts that need none."""

    http: str = field(default="", repr=False)
    https: str = field(default="", repr=False)
    no_proxy: tuple[str, ...] = ()

    def of(self, origin: Origin) -> str:
        """Return the proxy's URL for ``origin``, or "" for a direct connection (loopback is always direct)."""
        proxy = self.https if origin.scheme == "https" else self.http
        if not proxy or is_loopback(origin.host) or any(_excluded(rule, origin) for rule in self.no_proxy):
            return ""
        return proxy


def _excluded(rule: str, origin: Origin) -> bool:
    """Return whether one NO_PROXY entry (``*``, address, network, host or domain, with port or not) covers it."""
    rule = rule.strip().lower()
    if rule == "*":
        return True
    address = _address(origin.host)
    if address is not None and "/" in rule:
        try:
            return address in ipaddress.ip_network(rule, strict=False)
        except ValueError:
            return False
    name, colon, port = rule.rpartition(":") if rule.count(":") == 1 or "]:" in rule else (rule, "", "")
    if colon and port != str(origin.port):
        return False
    name = name.lstrip("*").strip("[]")
    if address is not None:
        return _address(name) == address
    domain = name.lstrip(".")
    return bool(domain) and (origin.host == domain or origin.host.endswith(f".{domain}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long, in seconds, and how often: connecting, one read or write, a whole operation with its retries.

    An operation that moves a blob gets, beside ``operation_s``, the time for its bytes at ``slowest_bytes_s``. What
    was written is read back up to ``settle_attempts`` times: some registries take seconds to show it.
    """

    connect_s: float = 5.0
    read_s: float = 30.0
    operation_s: float = 120.0
    slowest_bytes_s: float = 64 * 1024
    attempts: int = 4
    settle_attempts: int = 7
    backoff_s: float = 0.4
    backoff_max_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Everything a connection needs to know: declared registries, proxies, an extra CA bundle, limits."""

    hosts: Hosts = Hosts()
    proxies: Proxies = Proxies()
    ca_file: str | None = None
    limits: Limits = Limits()
