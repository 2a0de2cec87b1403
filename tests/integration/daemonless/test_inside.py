"""What a real engine sees inside an image: packages, records, bytecode, sources, the user."""

from __future__ import annotations

import json

import pytest

from tests.integration.daemonless.places import Place, config_of

pytestmark = pytest.mark.integration


def test_packages_import_and_pip_knows_them(built: Place) -> None:
    out = built.shell(
        "python -c 'import numpy, requests, flask; print(numpy.__version__, numpy.ones(3).sum())'; "
        "pip check; pip list --format=freeze; python -m pip --version; flask --version; f2py -v",
    )
    assert out.startswith("2.2.6 3.0\nNo broken requirements found.\n")
    for line in ("numpy==2.2.6", "pip==26.3", "Flask"):
        assert line in out


def test_every_line_of_every_record_is_true(built: Place) -> None:
    out = built.shell(
        "cat > /tmp/check.py <<'END'\n"
        "import base64, hashlib, importlib.metadata as m, pathlib\n"
        "checked = 0\n"
        "for dist in m.distributions():\n"
        "    if 'venv' not in str(dist.locate_file('')): continue\n"
        "    for file in dist.files:\n"
        "        path = pathlib.Path(file.locate()); assert path.is_file(), path\n"
        "        if file.hash:\n"
        "            data = path.read_bytes(); checked += 1\n"
        "            want = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()\n"
        "            assert (file.hash.value, file.size) == (want, len(data)), path\n"
        "print(checked)\n"
        "END\n"
        "python /tmp/check.py",
    )
    assert int(out) > 1000


def test_bytecode_is_used_as_it_is(built: Place) -> None:
    out = built.shell(
        "python -v -c 'import numpy' 2>&1 | grep -c 'matches /opt/venv.*numpy/__init__.py'; "
        'python -c "import numpy, numpy.linalg._linalg as l; print(numpy.__cached__, l.__file__)"; '
        "find /opt/venv -name '*.pyc' -newer /etc/hostname | wc -l",
    )
    lines = out.splitlines()
    assert lines[1].startswith("/opt/venv/lib/python3.11/site-packages/numpy/__pycache__/__init__.cpython-311.pyc")
    assert lines[2] == "0"


def test_user_workdir_sources_and_environment(built: Place) -> None:
    out = built.shell(
        "id -un; pwd; python -m app.main; printenv GREETING PYTHONPATH _F_IMG_ID; which python; "
        "cat 'with space/é.txt'; touch /root/new /opt/venv/new && "
        "stat -c '%a %U' / /tmp /opt /home /root /usr /etc",
    )
    lines = out.splitlines()
    assert lines[:5] == ["flytekit", "/root", "ran as flytekit in /root", "a b $HOME 'x'", "/root"]
    assert lines[6] == "/opt/venv/bin/python"
    assert lines[7].startswith("text")
    assert out.endswith("755 root\n1777 root\n755 root\n755 root\n755 flytekit\n755 root\n755 root\n")


def test_the_entrypoint(built: Place) -> None:
    assert built.run("t", "more") == "started fixed more\n"


def test_pip_uninstalls_what_was_never_installed(built: Place) -> None:
    out = built.shell(
        "pip uninstall -y -q requests && ! python -c 'import requests' 2>/dev/null && "
        "ls /opt/venv/lib/python3.11/site-packages | grep -c '^requests' || true",
    )
    assert out.strip().endswith("0")


def test_the_config_says_what_it_resolved_to(built: Place) -> None:
    config = config_of(built, "t")
    assert config["config"]["Labels"]["io.test"] == "label"
    assert json.loads(config["config"]["Labels"]["io.imagespec.lock"])["numpy"].startswith("2.2.6 sha256:")
    assert config["config"]["Env"][-1].startswith("_F_IMG_ID=")
    assert config["created"] == "1980-01-01T00:00:00Z"
