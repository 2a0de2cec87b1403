"""Settings: the only reader of the environment and of our own configuration files.

An environment variable goes before ``imagespec.toml``, which goes before ``[tool.imagespec]`` of ``pyproject.toml``.
The files are those of the nearest folder, from the current one upwards, that has one of them. Keys:

    store_dir, cache_dir, ca_bundle, docker_host, builder, python_mirror     texts
    exclude                    files that a folder or a glob does not mean, as in a .gitignore (list)
    ignore                     which of gitignore, tracked, dockerignore, standard leave files out (list)
    stat_cache                 whether digests of unchanged files are remembered (true, false)
    reuse_flyte_tags           whether an absent image is looked up under flytekit's own tag too (true, false)
    push_records               whether the whole record of an image is kept beside it in the registry (true, false)
    [registries."host:port"]   insecure (true, false), ca, mirrors (list), rewrite, concurrency

Environment: IMAGESPEC_STORE, IMAGESPEC_CACHE, IMAGESPEC_CA_BUNDLE, IMAGESPEC_BUILDER, IMAGESPEC_MIRRORS
(``docker.io=127.0.0.1:5000,…``), IMAGESPEC_REWRITE (the same form), IMAGESPEC_INSECURE (hosts, with commas),
IMAGESPEC_CONCURRENCY, IMAGESPEC_PYTHON_MIRROR, IMAGESPEC_EXCLUDE, IMAGESPEC_CACHE_LIMIT,
IMAGESPEC_IGNORE, IMAGESPEC_STAT_CACHE, IMAGESPEC_REUSE_FLYTE_TAGS,
IMAGESPEC_PUSH_RECORDS; beside them SSL_CERT_FILE,
REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, DOCKER_CONFIG, DOCKER_HOST,
REGISTRY_AUTH_FILE, SSH_AUTH_SOCK, PYENV_ROOT, XDG_*, NO_COLOR, CI and GITHUB_STEP_SUMMARY.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from imagespec.data_sizes import size_in_bytes
from imagespec.errors import InvalidReference, SettingsError
from imagespec.names import Repository
from imagespec.patterns import lazy_pattern
from imagespec.registry.hosts import Hosts, Mirror, Network, Proxies, RegistrySettings
from imagespec.sources.ignore import DEFAULT as DEFAULT_IGNORE
from imagespec.sources.ignore import IgnoreRules
from imagespec.values import dataclass, field, fields, replace

__all__ = ["Settings"]

_TEXTS: Final = ("store_dir", "cache_dir", "cache_limit", "ca_bundle", "docker_host", "builder", "python_mirror")
_KEYS: Final = (*_TEXTS, "exclude", "ignore", "stat_cache", "reuse_flyte_tags", "push_records", "registries")
_REGISTRY_KEYS: Final = ("insecure", "ca", "mirrors", "rewrite", "concurrency")
_CA_VARIABLES: Final = ("IMAGESPEC_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_MAX_CONCURRENCY: Final = 256
_IMPORT_LIMIT_S: Final = 60.0
# A project's file in which no line can begin, or lead to, our table need not be parsed, nor be right: most only name us
# among their requirements. A key may be quoted, apart from the one before, and written in escapes.
_MAY_HAVE_TABLE: Final = lazy_pattern(
    r"""tool["']?\s*\.\s*["']?imagespec|^\s*\[?\s*["']?tool["']?\s*[]=]|\\[uUx]""", re.MULTILINE
)
_MAX_SECONDS: Final = 1_000_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the environment and the configuration files say.

    ``store_dir`` is the OCI layout that keeps images without a registry, ``cache_dir`` what can be made again;
    ``credential_files`` are asked in order. ``builder`` is "" where nothing is said. ``image_id`` is the id of the spec
    whose image this process runs in, "" outside of one; ``ssh_agent`` the socket of the agent, "" without one.
    ``interpreters`` are patterns of paths where other Pythons may be, ``{minor}`` standing for the version;
    ``cache_limit_bytes`` is how much wheels and layers may take, None where nothing is said.
    With ``pushes_for_flyte`` False flytekit's images stay in the local engine; ``assumes_unknown_exists`` is its way
    to go on when a registry cannot tell.
    """

    docker_config_dir: Path
    credential_files: tuple[Path, ...]
    store_dir: Path
    cache_dir: Path
    ca_bundle: Path | None = None
    proxies: Proxies = field(default_factory=Proxies)
    hosts: Hosts = field(default_factory=Hosts)
    builder: str = ""
    docker_host: str = ""
    no_color: bool = False
    ci: bool = False
    python_mirror: str = ""
    interpreters: tuple[str, ...] = ()
    cache_limit_bytes: int | None = None
    ssh_agent: str = ""
    exclude: tuple[str, ...] = ()
    ignore: IgnoreRules = DEFAULT_IGNORE
    uses_stat_cache: bool = True
    reuses_flyte_tags: bool = False
    pushes_records: bool = False
    image_id: str = ""
    import_limit_s: float = _IMPORT_LIMIT_S
    step_summary: Path | None = None
    pushes_for_flyte: bool = True
    assumes_unknown_exists: bool = False

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> Settings:
        """Return the settings that hold in folder ``cwd``; raise SettingsError naming the variable or key."""
        environ = os.environ if environ is None else environ
        table = _Table.nearest(Path.cwd() if cwd is None else cwd)
        home = Path(environ.get("HOME") or Path.home())
        cache_dir = _path(environ, "IMAGESPEC_CACHE", table, "cache_dir")
        cache_dir = cache_dir or Path(environ.get("XDG_CACHE_HOME") or home / ".cache") / "imagespec"
        docker_config_dir = Path(environ.get("DOCKER_CONFIG") or home / ".docker")
        return cls(
            docker_config_dir=docker_config_dir,
            credential_files=tuple(_credential_files(environ, home, docker_config_dir)),
            store_dir=_path(environ, "IMAGESPEC_STORE", table, "store_dir") or cache_dir / "store",
            cache_dir=cache_dir,
            ca_bundle=_ca_bundle(environ, table),
            proxies=_proxies(environ),
            hosts=_hosts(environ, table),
            builder=environ.get("IMAGESPEC_BUILDER") or table.text("builder"),
            docker_host=environ.get("DOCKER_HOST") or table.text("docker_host"),
            no_color=bool(environ.get("NO_COLOR")),
            ci=environ.get("CI", "").lower() not in ("", "0", "false"),
            step_summary=Path(text) if (text := environ.get("GITHUB_STEP_SUMMARY")) else None,
            cache_limit_bytes=_cache_limit(environ, table),
            interpreters=(f"{environ.get('PYENV_ROOT') or home / '.pyenv'}/versions/{{minor}}.*/bin/python{{minor}}",),
            python_mirror=environ.get("IMAGESPEC_PYTHON_MIRROR") or table.text("python_mirror"),
            ssh_agent=environ.get("SSH_AUTH_SOCK", ""),
            exclude=_exclude(environ, table),
            ignore=_ignore(environ, table),
            uses_stat_cache=_switch(environ, "IMAGESPEC_STAT_CACHE", table, "stat_cache", default=True),
            reuses_flyte_tags=_switch(environ, "IMAGESPEC_REUSE_FLYTE_TAGS", table, "reuse_flyte_tags", default=False),
            pushes_records=_switch(environ, "IMAGESPEC_PUSH_RECORDS", table, "push_records", default=False),
            image_id=environ.get("_F_IMG_ID", ""),
            import_limit_s=_seconds(environ, "IMAGESPEC_IMPORT_LIMIT", _IMPORT_LIMIT_S),
            pushes_for_flyte=environ.get("FLYTE_PUSH_IMAGE_SPEC", "true").lower() in ("true", "1"),
            assumes_unknown_exists=environ.get("FLYTE_IMG_FAST_FAIL", "").lower() in ("false", "0", "off", "no"),
        )

    @property
    def network(self) -> Network:
        """What a registry client needs to know."""
        return Network(hosts=self.hosts, proxies=self.proxies, ca_file=str(self.ca_bundle) if self.ca_bundle else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """The merged keys of the files of one folder; ``origin`` names a key's file for messages."""

    values: Mapping[str, Any]
    origin: Mapping[str, str]
    folder: Path

    @classmethod
    def nearest(cls, cwd: Path) -> _Table:
        """Return the table of the nearest folder with a configuration file, an empty one without."""
        for folder in (cwd, *cwd.parents):
            own = _toml(folder / "imagespec.toml")
            project = (_toml(folder / "pyproject.toml", _MAY_HAVE_TABLE) or {}).get("tool", {}).get("imagespec")
            if own is None and project is None:
                continue
            if project is not None and not isinstance(project, dict):
                raise SettingsError("pyproject.toml: [tool.imagespec] is not a table", variable="tool.imagespec")
            layers = (("[tool.imagespec] of pyproject.toml", project or {}), ("imagespec.toml", own or {}))
            origin = {key: name for name, layer in layers for key in layer}
            for key, name in origin.items():
                _check_key(key, _KEYS, f"{name}: {key}")
            return cls(
                values={key: value for _, layer in layers for key, value in layer.items()}, origin=origin, folder=folder
            )
        return cls(values={}, origin={}, folder=cwd)

    def text(self, key: str) -> str:
        """Return the text under ``key``, "" without; raise SettingsError when it is something else."""
        value = self.values.get(key, "")
        if not isinstance(value, str):
            raise SettingsError(f"{self.origin[key]}: {key} is not a text", variable=key)
        return value

    def registries(self) -> Mapping[str, Any]:
        """Return the table of registries; raise SettingsError when it is none."""
        value = self.values.get("registries", {})
        if not isinstance(value, dict):
            raise SettingsError(f"{self.origin['registries']}: registries is not a table", variable="registries")
        return value


def _toml(file: Path, wanted: re.Pattern[str] | None = None) -> dict[str, Any] | None:
    """Return the tables of a file, None when there is none, or when its text has nothing of what is wanted."""
    try:
        text = file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError as error:
        raise SettingsError(f"read {file}: not TOML: {error}", variable=file.name) from error
    if wanted is not None and not wanted.search(text):
        return None
    try:
        return _tables(text)
    except ValueError as error:
        raise SettingsError(f"read {file}: not TOML: {error}", variable=file.name) from error


@lru_cache(maxsize=8)
def _tables(text: str) -> dict[str, Any]:
    """Return what a text in TOML says; a process that asks for many tags parses its project's file once.

    Raise ValueError when it is none. Most folders have no such file, and need no parser.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)


def _check_key(key: str, known: tuple[str, ...], where: str) -> None:
    if key in known:
        return
    import difflib

    near = difflib.get_close_matches(key, known, n=1)
    raise SettingsError(
        f"{where} is not a setting",
        variable=key,
        hint=f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}",
    )


def _path(environ: Mapping[str, str], variable: str, table: _Table, key: str) -> Path | None:
    """Return a path from the environment (relative to the current folder) or the files (relative to theirs)."""
    if text := environ.get(variable):
        return Path(text)
    text = table.text(key)
    return table.folder / Path(text).expanduser() if text else None


def _cache_limit(environ: Mapping[str, str], table: _Table) -> int | None:
    variable = "IMAGESPEC_CACHE_LIMIT"
    text = environ.get(variable) or table.text("cache_limit")
    size_bytes = size_in_bytes(text) if text else None
    if text and size_bytes is None:
        name = variable if environ.get(variable) else f"{table.origin['cache_limit']}: cache_limit"
        raise SettingsError(f"{name}: {text!r} is not a size", variable=variable, hint="for example 500M, 20G or 0")
    return size_bytes


def _exclude(environ: Mapping[str, str], table: _Table) -> tuple[str, ...]:
    if "IMAGESPEC_EXCLUDE" in environ:
        return tuple(_listed(environ, "IMAGESPEC_EXCLUDE"))
    value = table.values.get("exclude", [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise SettingsError(f"{table.origin['exclude']}: exclude is not a list of patterns", variable="exclude")
    return tuple(value)


def _ignore(environ: Mapping[str, str], table: _Table) -> IgnoreRules:
    """Return which rules leave files out: all of them, or the ones that are listed."""
    rules = tuple(one.name for one in fields(IgnoreRules))
    if "IMAGESPEC_IGNORE" in environ:
        where, listed = "IMAGESPEC_IGNORE", list(_listed(environ, "IMAGESPEC_IGNORE"))
    elif "ignore" in table.values:
        where, listed = "ignore", table.values["ignore"]
    else:
        return DEFAULT_IGNORE
    if not isinstance(listed, list):
        raise SettingsError(f"{table.origin['ignore']}: ignore is not a list", variable="ignore")
    for name in listed:
        _check_key(str(name), rules, f"{where}: {name}")
    return IgnoreRules(**{rule: rule in listed for rule in rules})


def _switch(environ: Mapping[str, str], variable: str, table: _Table, key: str, *, default: bool) -> bool:
    if text := environ.get(variable):
        return text.lower() not in ("0", "false", "no", "off")
    value = table.values.get(key, default)
    if not isinstance(value, bool):
        raise SettingsError(f"{table.origin[key]}: {key} is not true or false", variable=key)
    return value


def _seconds(environ: Mapping[str, str], variable: str, default: float) -> float:
    text = environ.get(variable, "")
    try:
        seconds = float(text) if text else default
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < _MAX_SECONDS:
        raise SettingsError(f"{variable}: not a number of seconds", variable=variable, hint="for example 120")
    return seconds


def _ca_bundle(environ: Mapping[str, str], table: _Table) -> Path | None:
    for variable in _CA_VARIABLES:
        if text := environ.get(variable):
            return _existing(Path(text), variable)
        if variable == "IMAGESPEC_CA_BUNDLE" and (path := _path(environ, variable, table, "ca_bundle")):
            return _existing(path, "ca_bundle")
    return None


def _existing(path: Path, variable: str) -> Path:
    if not path.is_file():
        raise SettingsError(f"{variable}: {path} is not a file", variable=variable, hint="name a PEM file")
    return path


def _credential_files(environ: Mapping[str, str], home: Path, docker_config_dir: Path) -> Iterator[Path]:
    """Yield docker's file first, then podman's places in its own order (containers-auth.json(5))."""
    if explicit := environ.get("REGISTRY_AUTH_FILE"):
        yield Path(explicit)
    yield docker_config_dir / "config.json"
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / "containers" / "auth.json"
    yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "containers" / "auth.json"


def _proxies(environ: Mapping[str, str]) -> Proxies:
    def read(*names: str) -> str:
        for name in names:
            value = environ.get(name.lower()) or environ.get(name)
            if value:
                return _proxy(value, name)
        return ""

    no_proxy = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    return Proxies(
        http=read("HTTP_PROXY", "ALL_PROXY"),
        https=read("HTTPS_PROXY", "ALL_PROXY"),
        no_proxy=tuple(rule.strip() for rule in no_proxy.split(",") if rule.strip()),
    )


def _proxy(value: str, variable: str) -> str:
    """Return a proxy's URL; the value is never shown, for it may hold a password."""
    url = value if "://" in value else f"http://{value}"
    if not url.startswith("http://"):
        hint = "write http://host:port, also for what goes over https; or unset it and name a mirror"
        raise SettingsError(f"{variable}: only http:// proxies are spoken to", variable=variable, hint=hint)
    try:
        parts = urlsplit(url)
        is_one = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one:
        raise SettingsError(f"{variable}: is not a proxy's address", variable=variable, hint="write http://host:port")
    return url


def _hosts(environ: Mapping[str, str], table: _Table) -> Hosts:
    found = {_host(name, "registries"): _registry(name, value, table) for name, value in table.registries().items()}

    def change(host: str, **changes: Any) -> None:
        found[host] = replace(found.get(host, RegistrySettings()), **changes)

    for host in _listed(environ, "IMAGESPEC_INSECURE"):
        change(_host(host, "IMAGESPEC_INSECURE"), insecure=True)
    mirrors: dict[str, tuple[Mirror, ...]] = {}
    for host, mirror in _pairs(environ, "IMAGESPEC_MIRRORS"):
        mirrors[host] = (*mirrors.get(host, ()), mirror)
    for host, listed in mirrors.items():
        change(host, mirrors=listed)
    for host, mirror in _pairs(environ, "IMAGESPEC_REWRITE"):
        change(host, rewrite=mirror)
    default = RegistrySettings()
    if text := environ.get("IMAGESPEC_CONCURRENCY"):
        count = _concurrency(int(text) if text.isdigit() else text, "IMAGESPEC_CONCURRENCY")
        default = replace(default, concurrency=count)
        found = {host: replace(settings, concurrency=count) for host, settings in found.items()}
    return Hosts(found, default)


def _listed(environ: Mapping[str, str], variable: str) -> Iterator[str]:
    return (part.strip() for part in environ.get(variable, "").split(",") if part.strip())


def _pairs(environ: Mapping[str, str], variable: str) -> Iterator[tuple[str, Mirror]]:
    for part in _listed(environ, variable):
        host, equals, mirror = part.partition("=")
        if not equals:
            raise SettingsError(
                f"{variable}: not registry=mirror", variable=variable, hint="for example docker.io=127.0.0.1:5000"
            )
        yield _host(host.strip(), variable), _mirror(mirror, variable)


def _host(text: str, variable: str) -> str:
    """Return a registry's host as references have it."""
    bare = not ("." in text or ":" in text)  # as in a reference, a plain word would be a folder of Docker Hub
    try:
        registry = Repository.parse(f"{text}:443/x/x" if bare else f"{text}/x/x").registry
        return registry.removesuffix(":443") if bare else registry
    except InvalidReference as error:
        raise SettingsError(f"{variable}: not a registry's host[:port]", variable=variable) from error


def _mirror(text: str, variable: str) -> Mirror:
    try:
        return Mirror.parse(text)
    except InvalidReference as error:
        raise SettingsError(f"{variable}: {error}", variable=variable, hint=error.hint) from error


def _concurrency(value: object, variable: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MAX_CONCURRENCY:
        raise SettingsError(f"{variable}: not a number from 1 to {_MAX_CONCURRENCY}", variable=variable)
    return value


def _registry(name: str, value: object, table: _Table) -> RegistrySettings:
    """Return one ``[registries."…"]`` table as settings; raise SettingsError naming its key."""
    where = f'registries."{name}"'
    if not isinstance(value, dict):
        raise SettingsError(f"{where}: not a table", variable=where)
    for key in value:
        _check_key(key, _REGISTRY_KEYS, f"{where}.{key}")
    insecure = value.get("insecure")
    if insecure is not None and not isinstance(insecure, bool):
        raise SettingsError(f"{where}.insecure: not true or false", variable=f"{where}.insecure")
    mirrors = value.get("mirrors", [])
    if not isinstance(mirrors, list):
        raise SettingsError(f"{where}.mirrors: not a list", variable=f"{where}.mirrors")
    ca = value.get("ca")
    return RegistrySettings(
        insecure=insecure,
        ca_file=str(_existing(table.folder / str(ca), f"{where}.ca")) if ca else None,
        mirrors=tuple(_mirror(str(mirror), f"{where}.mirrors") for mirror in mirrors),
        rewrite=_mirror(str(value["rewrite"]), f"{where}.rewrite") if value.get("rewrite") else None,
        concurrency=_concurrency(value.get("concurrency", RegistrySettings().concurrency), f"{where}.concurrency"),
    )
