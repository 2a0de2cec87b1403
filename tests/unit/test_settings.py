"""Settings: where they come from, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagespec.errors import SettingsError
from imagespec.names import Reference
from imagespec.registry.hosts import Mirror
from imagespec.settings import Settings
from imagespec.sources.ignore import IgnoreRules

HOME = {"HOME": "/home/me"}


def _load(cwd: Path, **environ: str) -> Settings:
    return Settings.load({**HOME, **environ}, cwd)


def test_the_defaults(tmp_path: Path) -> None:
    settings = _load(tmp_path)
    assert settings.docker_config_dir == Path("/home/me/.docker")
    assert settings.credential_files == (
        Path("/home/me/.docker/config.json"),
        Path("/home/me/.config/containers/auth.json"),
    )
    assert settings.cache_dir == Path("/home/me/.cache/imagespec")
    assert settings.store_dir == settings.cache_dir / "store"
    assert settings.ca_bundle is None
    assert settings.network.ca_file is None
    assert (settings.no_color, settings.ci, settings.builder, settings.docker_host) == (False, False, "", "")


def test_the_environment_goes_before_the_files(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.imagespec]\nbuilder = "p"\nstore_dir = "p"\ncache_dir = "p"\n')
    (tmp_path / "imagespec.toml").write_text('builder = "i"\nstore_dir = "i"\n')
    settings = _load(tmp_path, IMAGESPEC_BUILDER="e")
    assert settings.builder == "e"
    assert settings.store_dir == tmp_path / "i"
    assert settings.cache_dir == tmp_path / "p"


def test_the_nearest_folder_counts(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "imagespec.toml").write_text('builder = "outer"\n')
    assert _load(inner).builder == "outer"
    (inner.parent / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert _load(inner).builder == "outer"
    (inner.parent / "pyproject.toml").write_text("[tool.imagespec]\nbuilder = 'inner'\n")
    assert _load(inner).builder == "inner"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("biulder = 'x'", "biulder is not a setting", "did you mean builder"),
        ("builder = 7", "builder is not a text", ""),
        ("builder = ", "not TOML", ""),
        ("registries = 7", "registries is not a table", ""),
        ('[registries."a.io"]\nmirror = "x"', "mirror is not a setting", "did you mean mirrors"),
        ('[registries."a.io"]\ninsecure = "yes"', "insecure: not true or false", ""),
        ('[registries."a.io"]\nmirrors = "x"', "mirrors: not a list", ""),
        ('[registries."a.io"]\nmirrors = ["https://x"]', "mirror: not host", "127.0.0.1:5000/hub"),
        ('[registries."a.io"]\nconcurrency = 0', "not a number from 1", ""),
        ('[registries."a.io"]\nca = "none.pem"', "is not a file", ""),
        ('[registries."-"]\ninsecure = true', "not a registry", ""),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str, hint: str) -> None:
    (tmp_path / "imagespec.toml").write_text(text)
    with pytest.raises(SettingsError, match=message) as raised:
        _load(tmp_path)
    assert hint in raised.value.hint
    assert raised.value.exit_code == 2
    assert raised.value.variable


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("IMAGESPEC_MIRRORS", "docker.io"),
        ("IMAGESPEC_MIRRORS", "docker.io=http://x"),
        ("IMAGESPEC_INSECURE", "a b"),
        ("IMAGESPEC_CONCURRENCY", "many"),
        ("IMAGESPEC_CA_BUNDLE", "/none.pem"),
        ("SSL_CERT_FILE", "/none.pem"),
        ("HTTPS_PROXY", "socks5://user:secret@x:1"),
    ],
)
def test_a_wrong_variable_is_named_and_not_repeated(tmp_path: Path, variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as raised:
        _load(tmp_path, **{variable: value})
    assert raised.value.variable == variable
    assert "secret" not in str(raised.value)


def test_registries_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("x")
    (tmp_path / "imagespec.toml").write_text(
        '[registries."docker.io"]\nmirrors = ["127.0.0.1:5000/hub", "mirror.corp"]\n'
        '[registries."reg.corp:5000"]\ninsecure = true\nconcurrency = 4\nca = "ca.pem"\n'
        '[registries."old.io"]\nrewrite = "new.io/old"\n'
    )
    hosts = _load(tmp_path).hosts
    assert hosts.of("docker.io").mirrors == (Mirror("127.0.0.1:5000", "hub"), Mirror("mirror.corp"))
    assert hosts.of("reg.corp:5000").concurrency == 4
    assert hosts.of("reg.corp:5000").ca_file == str(tmp_path / "ca.pem")
    assert hosts.candidates(Reference.parse("old.io/a/b:1")) == (Reference.parse("new.io/old/a/b:1"),)
    assert [str(one) for one in hosts.candidates(Reference.parse("python:3.11"))] == [
        "127.0.0.1:5000/hub/library/python:3.11",
        "mirror.corp/library/python:3.11",
        "docker.io/library/python:3.11",
    ]


def test_registries_of_the_environment(tmp_path: Path) -> None:
    (tmp_path / "imagespec.toml").write_text('[registries."docker.io"]\nmirrors = ["file.corp"]\nconcurrency = 4\n')
    hosts = _load(
        tmp_path,
        IMAGESPEC_MIRRORS="docker.io=127.0.0.1:5000, docker.io=b.corp",
        IMAGESPEC_REWRITE="old.io=new.io",
        IMAGESPEC_INSECURE="plain.corp, registry:80",
    ).hosts
    assert hosts.of("docker.io").mirrors == (Mirror("127.0.0.1:5000"), Mirror("b.corp"))
    assert hosts.of("docker.io").concurrency == 4
    assert hosts.of("old.io").rewrite == Mirror("new.io")
    assert hosts.origin("plain.corp").scheme == "http"
    assert str(hosts.origin("registry:80")) == "http://registry"


def test_concurrency_of_the_environment_goes_for_all(tmp_path: Path) -> None:
    hosts = _load(tmp_path, IMAGESPEC_CONCURRENCY="3", IMAGESPEC_INSECURE="a.io").hosts
    assert (hosts.of("a.io").concurrency, hosts.of("b.io").concurrency) == (3, 3)


def test_ca_bundles_in_order(tmp_path: Path) -> None:
    names = ["IMAGESPEC_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]
    environ = {}
    for name in reversed(names):
        (tmp_path / name).write_text("x")
        environ[name] = str(tmp_path / name)
        assert _load(tmp_path, **environ).ca_bundle == tmp_path / name
    (tmp_path / "imagespec.toml").write_text('ca_bundle = "own.pem"')
    (tmp_path / "own.pem").write_text("x")
    del environ["IMAGESPEC_CA_BUNDLE"]
    assert _load(tmp_path, **environ).ca_bundle == tmp_path / "own.pem"


def test_proxies(tmp_path: Path) -> None:
    settings = _load(tmp_path, HTTP_PROXY="p:1", https_proxy="http://u:secret@q:2", NO_PROXY="a.io, .corp,10.0.0.0/8")
    assert settings.proxies.http == "http://p:1"
    assert settings.proxies.https == "http://u:secret@q:2"
    assert settings.proxies.no_proxy == ("a.io", ".corp", "10.0.0.0/8")
    assert "secret" not in repr(settings)
    assert _load(tmp_path, ALL_PROXY="p:1").proxies.https == "http://p:1"


def test_other_variables(tmp_path: Path) -> None:
    settings = _load(
        tmp_path,
        DOCKER_CONFIG="/d",
        DOCKER_HOST="unix:///x",
        REGISTRY_AUTH_FILE="/auth.json",
        XDG_RUNTIME_DIR="/run/me",
        XDG_CONFIG_HOME="/config",
        XDG_CACHE_HOME="/cache",
        NO_COLOR="1",
        CI="true",
        IMAGESPEC_STORE="/store",
    )
    assert settings.credential_files == (
        Path("/auth.json"),
        Path("/d/config.json"),
        Path("/run/me/containers/auth.json"),
        Path("/config/containers/auth.json"),
    )
    assert settings.docker_host == "unix:///x"
    assert settings.cache_dir == Path("/cache/imagespec")
    assert settings.store_dir == Path("/store")
    assert settings.no_color
    assert settings.ci
    assert not _load(tmp_path, CI="false", NO_COLOR="").ci


def test_the_rules_that_leave_files_out_are_chosen(tmp_path: Path) -> None:
    (tmp_path / "imagespec.toml").write_text('ignore = ["dockerignore"]\nstat_cache = false\nreuse_flyte_tags = true\n')
    of_file = Settings.load({"HOME": "/h"}, tmp_path)
    assert of_file.ignore == IgnoreRules(gitignore=False, tracked=False, standard=False)
    assert not of_file.uses_stat_cache
    assert of_file.reuses_flyte_tags
    changed = {"HOME": "/h", "IMAGESPEC_IGNORE": "gitignore, standard", "IMAGESPEC_STAT_CACHE": "1"}
    changed["IMAGESPEC_REUSE_FLYTE_TAGS"] = "0"
    of_environment = Settings.load(changed, tmp_path)
    assert of_environment.ignore == IgnoreRules(tracked=False, dockerignore=False)
    assert of_environment.uses_stat_cache
    assert not of_environment.reuses_flyte_tags
    with pytest.raises(SettingsError, match="IMAGESPEC_IGNORE: gitignor is not a setting") as caught:
        Settings.load({"HOME": "/h", "IMAGESPEC_IGNORE": "gitignor"}, tmp_path)
    assert caught.value.hint == "did you mean gitignore?"


def test_a_projects_file_that_does_not_name_us_is_not_parsed(tmp_path: Path) -> None:
    (tmp_path / "imagespec.toml").write_text('builder = "noop"\n')
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "pyproject.toml").write_text("[project\n")
    assert Settings.load({}, inner).builder == "noop"
    (inner / "pyproject.toml").write_text("[tool.imagespec]\n[project\n")
    with pytest.raises(SettingsError, match="not TOML"):
        Settings.load({}, inner)


@pytest.mark.parametrize(
    "text",
    [
        "[tool.imagespec]\nbuilder = 'noop'",
        "  [ tool . imagespec ]\nbuilder = 'noop'",
        """["tool".'imagespec']\nbuilder = 'noop'""",
        "[tool]\nimagespec.builder = 'noop'",
        "[ 'tool' ]\nimagespec = {builder = 'noop'}",
        "tool.imagespec.builder = 'noop'",
        "tool = {imagespec = {builder = 'noop'}}",
        '"tool"   = {imagespec.builder = "noop"}',
        '[tool."image\\u0073pec"]\nbuilder = "noop"',
        '["to\\u006fl".imagespec]\nbuilder = "noop"',
    ],
)
def test_our_table_is_found_however_its_name_is_written(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(f"# A comment\n{text}\n")
    assert Settings.load({}, tmp_path).builder == "noop"


def test_a_project_that_only_requires_us_is_not_parsed(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\ndependencies = ['imagespec-builder']\n[tool.ruff]\nbroken")
    assert Settings.load({}, tmp_path).builder == ""


def test_an_edited_file_is_read_anew_in_one_process(tmp_path: Path) -> None:
    for builder in ("noop", "auto", "noop"):
        (tmp_path / "pyproject.toml").write_text(f"[tool.imagespec]\nbuilder = '{builder}'\n")
        assert Settings.load({}, tmp_path).builder == builder
