"""The demonstration that ``make demo`` runs: the main job, on a real registry and a real engine.

Only the standard library is used here: everything shown is done by the ``imagespec`` command.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BED = [sys.executable, str(ROOT / "testdata" / "testbed" / "bed.py")]
IMAGESPEC = str(ROOT / ".venv" / "bin" / "imagespec")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def say(text: str) -> None:
    """Print a headline of the demonstration."""
    print(f"\n=== {text}", flush=True)


def run(*command: str, env: dict[str, str], show: str = "") -> str:
    """Print the command, run it with its talk on stderr visible, and return what it printed."""
    print(f"$ {show or ' '.join(command)}", flush=True)
    started = time.monotonic()
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, end="")
    print(f"({time.monotonic() - started:.1f} s)", flush=True)
    if done.returncode != 0:
        sys.exit(f"demo: the command above ended with {done.returncode}")
    return done.stdout.strip()


def imagespec(*arguments: str, env: dict[str, str]) -> str:
    """Run the ``imagespec`` command."""
    return run(IMAGESPEC, *arguments, env=env, show=" ".join(["imagespec", *arguments]))


def environment(bed: dict[str, Any]) -> dict[str, str]:
    """Return the environment in which the test-bed's engine, client and mirror of Docker Hub are used."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("IMAGESPEC_")}
    env["PATH"] = os.pathsep.join([*bed["path"], env["PATH"]])
    env["DOCKER_CONFIG"] = bed["docker_config"]
    env["IMAGESPEC_MIRRORS"] = f"docker.io={bed['registry']}"
    if bed["docker_host"]:
        env["DOCKER_HOST"] = bed["docker_host"]
    return env


def layers(reference: str) -> list[str]:
    """Return the digests of an image's layers, as the registry has them."""
    name, _, digest = reference.partition("@")
    host, _, path = name.partition("/")
    repository = path.rpartition(":")[0]
    request = urllib.request.Request(f"http://{host}/v2/{repository}/manifests/{digest}", headers={"Accept": MANIFEST})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return [layer["digest"] for layer in json.load(answer)["layers"]]


def without_engine(bed: dict[str, Any], project: Path, cache: Path) -> str:
    """Build an image where no engine is, on a base that is an OCI layout; return its name in the layout store."""
    say("first, without any engine: an image from an OCI layout as its base, into an OCI layout")
    env = {**environment(bed), "DOCKER_HOST": "unix:///nowhere/docker.sock", "IMAGESPEC_CACHE": str(cache)}
    spec = project / "plain.yaml"
    layout = bed["layouts"]["python3.13"]
    spec.write_text(f"{spec.read_text()}base_image: oci-layout:{layout}\n")
    imagespec("build", str(spec), env=env)
    name = imagespec("tag", str(spec), env=env)
    imagespec("exists", str(spec), env=env)
    return name


def run_from_layout(bed: dict[str, Any], cache: Path, name: str) -> None:
    """Load the layout into the engine and run the image that was made without one."""
    say("the image that was built before there was an engine, loaded into it and run")
    env = environment(bed)
    archive = cache / "store.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(cache / "store", arcname=".")
    run("docker", "load", "--quiet", "--input", str(archive), env=env)
    run("docker", "run", "--rm", name, env=env)


def main_job(bed: dict[str, Any], project: Path) -> None:
    """Build, push, run, reuse; then edit one line and build again."""
    env = environment(bed)
    # A repository of its own, so that every run of the demonstration begins with nothing there.
    spec, registry = str(project / "image.yaml"), f"{bed['registry']}/demo-{os.getpid()}"

    say("build the image and push it to a real registry")
    imagespec("plan", spec, "--registry", registry, env=env)
    first = imagespec("build", spec, "--registry", registry, env=env)

    say("pull it back and run it: an apt package, two Python packages and copied sources work together")
    run("docker", "run", "--rm", "--pull", "always", "--quiet", first, env=env)

    say("build it again: nothing to do, one look at the registry, no engine")
    no_engine = {**env, "DOCKER_HOST": "unix:///nowhere/docker.sock"}
    again = imagespec("build", spec, "--registry", registry, env=no_engine)
    if again != first:
        sys.exit("demo: the second build gave another image")

    say("edit one line of the source: another tag, and only the last layer is new")
    source = project / "app" / "main.py"
    source.write_text(source.read_text().replace("data sets, counted", "data sets (edited), counted"))
    edited = imagespec("build", spec, "--registry", registry, env=env)
    run("docker", "run", "--rm", "--quiet", edited, env=env)
    before, after = layers(first), layers(edited)
    shared = len(set(before) & set(after))
    print(f"{shared} of {len(after)} layers are those of the first image")
    if len(after) - shared != 1 or edited.split("@")[0] == first.split("@")[0]:
        sys.exit("demo: more than the last layer was built anew, or the tag stayed the same")


def bed(*arguments: str) -> dict[str, Any]:
    """Bring up what the arguments say of the test-bed, and return where everything is."""
    up = subprocess.run([*BED, "up", *arguments, "--json"], stdout=subprocess.PIPE, text=True, check=False)
    if up.returncode != 0:
        sys.exit("demo: the test-bed did not start: see above")
    found: dict[str, Any] = json.loads(up.stdout)
    return found


def main() -> None:
    """Build without an engine, then bring one up and run the main job on a copy of the project, and put things back."""
    started = time.monotonic()
    was_up = subprocess.run([*BED, "status"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    try:
        say("a registry and base images (the first time they are made, which takes a minute)")
        first = bed("--without-engine")
        with tempfile.TemporaryDirectory(prefix="imagespec-demo-") as folder:
            project, cache = Path(folder, "project"), Path(folder, "cache")
            shutil.copytree(ROOT / "testdata" / "demo", project)
            name = without_engine(first, project, cache)
            say("now a Docker engine: the one that answers, or a private one of Debian's packages")
            second = bed()
            run_from_layout(second, cache, name)
            main_job(second, project)
    finally:
        if not was_up:
            say("the test-bed is taken down")
            subprocess.run([*BED, "down"], check=False)
    say(f"done in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
