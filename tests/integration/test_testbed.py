"""The test-bed itself: up, idempotent, usable, recovered after a kill, and down without a trace.

The session's bed (the default one) is brought up and left up. Whatever destroys works on a bed of its own, which shares
the downloads of the first.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

pytestmark = pytest.mark.integration

BED = str(Path(__file__).resolve().parents[2] / "testdata/testbed/bed.py")
OWN = ("IMAGESPEC_TESTBED", "IMAGESPEC_TESTBED_CACHE", "DOCKER_HOST", "DOCKER_CONFIG", "IMAGESPEC_TESTBED_HUB")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
MANIFESTS = f"{MANIFEST}, application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.index.v1+json"

Bed = dict[str, Any]


def bed(*arguments: str, env: dict[str, str] | None = None) -> str:
    """What bed.py prints; fails the test with what it said when it fails."""
    clean = {key: value for key, value in os.environ.items() if key not in OWN}
    argv = [sys.executable, BED, *arguments]
    done = subprocess.run(argv, env={**clean, **(env or {})}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def default_root() -> Path:
    home_cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(os.environ.get("IMAGESPEC_TESTBED") or os.path.join(home_cache, "imagespec-testbed"))


@pytest.fixture(scope="module")
def session() -> Bed:
    """The session's bed, up; it stays up."""
    own = {key: os.environ[key] for key in OWN[:2] if key in os.environ}
    value: Bed = json.loads(bed("up", "--json", env=own))
    return value


@pytest.fixture
def second(session: Bed) -> Iterator[dict[str, str]]:
    """The environment of another bed, taken down afterwards. Its folder is short, since sockets lie below it."""
    cache = os.environ.get("IMAGESPEC_TESTBED_CACHE") or str(default_root())
    folder = tempfile.mkdtemp(prefix="bed-")
    env = {"IMAGESPEC_TESTBED": folder, "IMAGESPEC_TESTBED_CACHE": cache}
    try:
        yield env
    finally:
        bed("down", env=env)
        shutil.rmtree(folder)


def get(host: str, path: str, login: tuple[str, str] | None = None, accept: str = "*/*") -> tuple[int, bytes]:
    request = urllib.request.Request(f"http://{host}{path}", headers={"Accept": accept})
    if login is not None:
        request.add_header("Authorization", "Basic " + base64.b64encode(":".join(login).encode()).decode())
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def docker(session: Bed, *arguments: str, given: str | None = None) -> str:
    env = {**os.environ, "DOCKER_HOST": session["docker_host"], "DOCKER_CONFIG": session["docker_config"]}
    env["PATH"] = os.pathsep.join([*session["path"], os.environ["PATH"]])
    done = subprocess.run(["docker", *arguments], env=env, input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def start_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]


def registry_pid(root: str) -> int:
    pid: int = json.loads(Path(root, "state.json").read_text(encoding="utf-8"))["registry"]["pid"]
    return pid


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def bridges() -> set[str]:
    return {name for name in os.listdir("/sys/class/net") if name.startswith("isb-")}


# --- the session's bed -----------------------------------------------------------------------------------------------


def test_up_when_up_answers_at_once_and_alike(session: Bed) -> None:
    begun = time.monotonic()
    own = {key: os.environ[key] for key in OWN[:2] if key in os.environ}
    assert json.loads(bed("up", "--json", env=own)) == session
    assert json.loads(bed("env", "--json", env=own)) == session
    assert time.monotonic() - begun < 10


def test_env_is_what_a_shell_takes(session: Bed) -> None:
    own = {key: os.environ[key] for key in OWN[:2] if key in os.environ}
    told = subprocess.run(
        ["sh", "-c", f'{bed("env", env=own)}\necho "$DOCKER_HOST $DOCKER_CONFIG $IMAGESPEC_TESTBED_REGISTRY"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == [session["docker_host"], session["docker_config"], session["registry"]]


def test_engine_builds_runs_and_pushes(session: Bed) -> None:
    repository = f"{session['registry']}/testbed/computed"
    recipe = f"FROM {session['registry']}/{session['bases']['python3.11']}\nRUN python3 -c 'print(6 * 7)' > /answer\n"
    docker(session, "buildx", "build", "--provenance=false", "--push", "-t", f"{repository}:1", "-", given=recipe)
    assert get(session["registry"], "/v2/testbed/computed/manifests/1", accept=MANIFESTS)[0] == 200
    assert docker(session, "run", "--rm", f"{repository}:1", "cat", "/answer") == "42\n"


def test_steps_reach_the_network(session: Bed) -> None:
    image = f"{session['registry']}/{session['bases']['debian']}"
    assert "Reading package lists" in docker(session, "run", "--rm", image, "apt-get", "update")


@pytest.mark.parametrize(("key", "version"), [("python3.11", "3.11"), ("python3.13", "3.13")])
def test_bases_have_their_python(session: Bed, key: str, version: str) -> None:
    image = f"{session['registry']}/{session['bases'][key]}"
    told = docker(session, "run", "--rm", image, "python", "-c", "import sys, ssl, venv; print(sys.version)")
    assert told.startswith(f"{version}.")


def test_registry_answers_and_deletes(session: Bed) -> None:
    assert get(session["registry"], "/v2/")[0] == 200
    assert get(session["registry"], "/v2/testbed/nothing/manifests/here")[0] == 404
    request = urllib.request.Request(
        f"http://{session['registry']}/v2/testbed/nothing/manifests/sha256:{'0' * 64}", method="DELETE"
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    with refused.value as error:
        assert error.code == 404, "405 would mean that deleting is not enabled"


def test_auth_registry_wants_its_password(session: Bed) -> None:
    auth = session["auth_registry"]
    login = (auth["username"], auth["password"])
    assert get(auth["host"], "/v2/")[0] == 401
    assert get(auth["host"], "/v2/", ("testbed", "wrong"))[0] == 401
    assert get(auth["host"], "/v2/", login)[0] == 200


@pytest.mark.parametrize("key", ["debian", "python3.11", "python3.13"])
def test_layouts_are_whole_and_the_same_as_in_the_registries(session: Bed, key: str) -> None:
    folder = Path(session["layouts"][key])
    assert json.loads((folder / "oci-layout").read_text(encoding="utf-8")) == {"imageLayoutVersion": "1.0.0"}
    top = json.loads((folder / "index.json").read_text(encoding="utf-8"))["manifests"][0]
    blobs = {path.name: path.read_bytes() for path in (folder / "blobs/sha256").iterdir()}
    assert {name for name, data in blobs.items() if hashlib.sha256(data).hexdigest() != name} == set()

    manifest = json.loads(blobs[top["digest"].removeprefix("sha256:")])
    if "manifests" in manifest:  # up --arm64: an index, this machine's architecture first
        manifest = json.loads(blobs[manifest["manifests"][0]["digest"].removeprefix("sha256:")])
    for descriptor in [manifest["config"], *manifest["layers"]]:
        assert len(blobs[descriptor["digest"].removeprefix("sha256:")]) == descriptor["size"]
    config = json.loads(blobs[manifest["config"]["digest"].removeprefix("sha256:")])
    assert len(config["rootfs"]["diff_ids"]) == len(manifest["layers"])
    assert any(variable.startswith("PATH=") for variable in config["config"]["Env"])

    repository, _, tag = session["bases"][key].partition(":")
    auth = session["auth_registry"]
    logins = ((session["registry"], None), (auth["host"], (auth["username"], auth["password"])))
    for host, login in logins:
        _, body = get(host, f"/v2/{repository}/manifests/{tag}", login, accept=MANIFESTS)
        assert f"sha256:{hashlib.sha256(body).hexdigest()}" == top["digest"]


# --- beds of our own -------------------------------------------------------------------------------------------------


def test_without_engine_and_down(second: dict[str, str]) -> None:
    value = json.loads(bed("up", "--without-engine", "--json", env=second))
    assert (value["docker_host"], value["path"]) == (None, [])
    pid = registry_pid(second["IMAGESPEC_TESTBED"])
    bed("down", env=second)
    assert is_gone(pid)
    assert os.listdir(second["IMAGESPEC_TESTBED"]) == ["bed.lock"]
    bed("down", env=second)


def test_another_engine_that_answers_is_used(session: Bed, second: dict[str, str]) -> None:
    value = json.loads(bed("up", "--json", env={**second, "DOCKER_HOST": session["docker_host"]}))
    assert value["docker_host"] == session["docker_host"]
    bed("down", env=second)
    assert "Server" in docker(session, "version"), "an engine that is not the bed's own outlives it"


def test_down_ends_its_own_processes_only(session: Bed, second: dict[str, str]) -> None:
    bed("up", "--without-engine", env=second)
    root = Path(second["IMAGESPEC_TESTBED"])
    with subprocess.Popen(["sleep", "60"]) as bystander:
        state = json.loads((root / "state.json").read_text(encoding="utf-8"))
        state["registry"].update(pid=bystander.pid)  # a number that went to somebody else meanwhile
        (root / "state.json").write_text(json.dumps(state), encoding="utf-8")
        bed("down", env=second)
        assert bystander.poll() is None
        bystander.terminate()
    assert get(session["registry"], "/v2/")[0] == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="a private engine wants root")
def test_everything_killed_at_once_is_cleaned_up(session: Bed, second: dict[str, str]) -> None:
    before = bridges()
    mine = json.loads(bed("up", "--own-engine", "--json", env=second))
    image = f"{mine['registry']}/{mine['bases']['debian']}"
    docker(mine, "run", "--detach", image, "sleep", "600")
    root = second["IMAGESPEC_TESTBED"]
    for pid in owned_by(root):
        os.kill(pid, signal.SIGKILL)
    again = json.loads(bed("up", "--own-engine", "--json", env=second))
    assert docker(again, "ps", "--all", "--quiet") == ""
    assert len(bridges() - before) == 1
    bed("down", env=second)
    assert bridges() == before
    assert owned_by(root) == []
    assert root not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    assert get(session["registry"], "/v2/")[0] == 200


def owned_by(root: str) -> list[int]:
    """Processes that carry the mark of the bed."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            environ = Path("/proc", name, "environ").read_bytes()
        except OSError:
            continue
        if f"IMAGESPEC_TESTBED_OWNER={root}|".encode() in environ:
            found.append(int(name))
    return found


def test_up_killed_half_way_is_made_good_by_the_next(second: dict[str, str]) -> None:
    env = {key: value for key, value in os.environ.items() if key not in OWN} | second
    with subprocess.Popen([sys.executable, BED, "up", "--without-engine"], env=env, stderr=subprocess.PIPE) as killed:
        assert killed.stderr is not None
        assert b"starting the registry" in killed.stderr.readline()
        killed.kill()
    left = owned_by(second["IMAGESPEC_TESTBED"])
    assert left, "it was killed with a registry running"
    value = json.loads(bed("up", "--without-engine", "--json", env=second))
    assert get(value["registry"], "/v2/library/debian/tags/list") == (
        200,
        b'{"name":"library/debian","tags":["bookworm-slim"]}\n',
    )
    assert len(owned_by(second["IMAGESPEC_TESTBED"])) == 2


def test_two_ups_at_once_agree(second: dict[str, str]) -> None:
    env = {key: value for key, value in os.environ.items() if key not in OWN} | second
    argv = [sys.executable, BED, "up", "--without-engine", "--json"]
    both = [
        subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) for _ in range(2)
    ]
    one, other = (process.communicate()[0] for process in both)
    assert json.loads(one) == json.loads(other)


# --- Docker Hub, where it answers ------------------------------------------------------------------------------------


class Hub(BaseHTTPRequestHandler):
    """Serves the layouts as Docker Hub would: with a token to be fetched first, an index, and blobs elsewhere."""

    layouts: dict[str, Path]

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/token":
            self._answer(200, json.dumps({"token": f"for {query}"}).encode())
        elif path.startswith("/elsewhere/"):
            assert "Authorization" not in self.headers, "tokens are not for other hosts"
            self._answer(200, self._blob(path.rpartition("/")[2]))
        elif "Authorization" not in self.headers:
            address = f"http://127.0.0.1:{self.headers['Host'].rpartition(':')[2]}"
            challenge = f'Bearer realm="{address}/token",service="hub",scope="repository:x:pull"'
            self._answer(401, b"", {"WWW-Authenticate": challenge})
        elif "/blobs/" in path:
            self._answer(307, b"", {"Location": f"/elsewhere/{path.rpartition(':')[2]}"})
        else:
            self._manifest(path.rpartition("/")[2])

    def _manifest(self, name: str) -> None:
        if name.startswith("sha256:"):
            self._answer(200, self._blob(name.removeprefix("sha256:")), {"Content-Type": MANIFEST})
            return
        top = json.loads((self.layouts[name] / "index.json").read_text(encoding="utf-8"))["manifests"][0]
        other = {**top, "digest": f"sha256:{'0' * 64}", "platform": {"os": "linux", "architecture": "s390x"}}
        index = {"schemaVersion": 2, "manifests": [other, top]}
        self._answer(200, json.dumps(index).encode(), {"Content-Type": "application/vnd.oci.image.index.v1+json"})

    def _blob(self, digest: str) -> bytes:
        found = (layout / "blobs/sha256" / digest for layout in self.layouts.values())
        return next(path for path in found if path.exists()).read_bytes()

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


def test_base_images_are_mirrored_where_docker_hub_answers(session: Bed, second: dict[str, str]) -> None:
    Hub.layouts = {name.partition(":")[2]: Path(session["layouts"][key]) for key, name in session["bases"].items()}
    with tempfile.TemporaryDirectory(prefix="bed-") as cache, ThreadingHTTPServer(("127.0.0.1", 0), Hub) as hub:
        Path(cache, "tools").symlink_to(Path(second["IMAGESPEC_TESTBED_CACHE"], "tools"))
        Thread(target=hub.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{hub.server_address[1]}"
        mine = {**second, "IMAGESPEC_TESTBED_CACHE": cache, "IMAGESPEC_TESTBED_HUB": address}
        value = json.loads(bed("up", "--without-engine", "--json", env=mine))
        bed("down", env=mine)
        hub.shutdown()
        for key, folder in value["layouts"].items():
            theirs = json.loads(Path(session["layouts"][key], "index.json").read_text(encoding="utf-8"))
            ours = json.loads(Path(folder, "index.json").read_text(encoding="utf-8"))
            assert ours["manifests"][0]["digest"] == theirs["manifests"][0]["digest"]
