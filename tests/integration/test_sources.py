"""What arrives in a container of the files that ``copy`` and ``source_root`` select."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.integration.conftest import Command

pytestmark = pytest.mark.integration

# Prints every path below the workdir: kind, executable bit, and content or link target.
LISTING = """
import json, os
found = {}
for parent, folders, files in os.walk(".", followlinks=False):
    for name in [*folders, *files]:
        path = os.path.join(parent, name)
        if os.path.islink(path):
            found[path[2:]] = ["link", os.readlink(path)]
        elif os.path.isdir(path):
            found[path[2:]] = ["folder", "" if os.listdir(path) else "empty"]
        else:
            found[path[2:]] = ["program" if os.access(path, os.X_OK) else "file", open(path).read()]
print(json.dumps(found))
"""
SPEC = {"name": "sources", "base_image": "python:3.11-slim-bookworm", "builder_options": {"workdir": "/srv/app"}}
TEXTS = {
    "tree/.hidden": "hidden",
    "tree/.config/deep/.more": "more",
    "tree/with space/and  two.txt": "spaces",
    'tree/it\'s "quoted"': "quotes",
    "tree/$HOME": "dollar",
    "tree/`id`;#|&*?[a]": "shell",
    "tree/back\\slash": "backslash",
    "tree/naïve-ü-日本-😀": "unicode",
    "tree/two\nlines": "newline",
    "tree/-rf": "dash",
    "tree/Dockerfile": "FROM nothing",
    "tree/src/main.py": "a folder called src",
    "tree/step-0/file": "a folder called like ours",
    "tree/requirements.txt": "not-a-requirement",
    "tree/.dockerignore": "# a user's own\n*.log\n",
    "tree/skipped.log": "left out",
}


def write(folder: Path, texts: dict[str, str]) -> None:
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def listed(imagespec: Command, folder: Path, target: str = "image.yaml") -> dict[str, list[str]]:
    reference = imagespec("build", target, "--registry", imagespec.registry, cwd=folder).stdout.strip()
    found: dict[str, list[str]] = json.loads(
        imagespec.docker("run", "--rm", "--quiet", reference, "python", "-c", LISTING)
    )
    return found


@pytest.mark.parametrize("builder", ["buildkit", "daemonless"])
def test_names_modes_links_and_empty_folders_arrive(shared_imagespec: Command, tmp_path: Path, builder: str) -> None:
    write(tmp_path, TEXTS)
    tree = tmp_path / "tree"
    (tree / "empty" / "er").mkdir(parents=True)
    (tree / "run.sh").write_text("#!/bin/sh\n")
    (tree / "run.sh").chmod(0o700)
    (tree / ".hidden").chmod(0o600)
    (tree / "to-file").symlink_to("with space/and  two.txt")
    (tree / "to-folder").symlink_to("src")
    (tree / "src" / "up").symlink_to("../.hidden")
    spec = {**SPEC, "builder": builder, "copy": ["tree"]}
    (tmp_path / "image.yaml").write_text(json.dumps(spec))
    (tmp_path / ".dockerignore").write_text("**/*.log\n")
    found = listed(shared_imagespec, tmp_path)
    files = {path: value[1] for path, value in found.items() if value[0] == "file"}
    assert files == {path: text for path, text in TEXTS.items() if not path.endswith(".log")}
    assert found["tree/run.sh"] == ["program", "#!/bin/sh\n"]
    assert found["tree/empty/er"] == ["folder", "empty"]
    links = {path: value[1] for path, value in found.items() if value[0] == "link"}
    assert links == {
        "tree/to-file": "with space/and  two.txt",
        "tree/to-folder": "src",
        "tree/src/up": "../.hidden",
    }


def test_a_link_that_leads_out_is_refused(shared_imagespec: Command, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "passwd").symlink_to("/etc/passwd")
    (tmp_path / "image.yaml").write_text(json.dumps({"copy": ["tree"]}))
    refused = shared_imagespec("build", "image.yaml", cwd=tmp_path, expect=2)
    assert "passwd" in refused.stderr
    assert "leads out" in refused.stderr


def test_loaded_modules_are_those_that_the_target_imports(shared_imagespec: Command, tmp_path: Path) -> None:
    texts = {
        "app/__init__.py": "",
        "app/flow.py": (
            "from imagespec import ImageSpec\n"
            "from app.steps import run\n"
            f"image = ImageSpec(**{SPEC}, builder='buildkit',\n"
            "                  source_root='.', source_copy_mode='LOADED_MODULES')\n"
        ),
        "app/steps.py": "from . import shared\ndef run(): return shared.VALUE\n",
        "app/shared.py": "VALUE = 42\n",
        "app/unused.py": "raise SystemExit('never imported')\n",
        "data.csv": "not code\n",
    }
    write(tmp_path, texts)
    found = listed(shared_imagespec, tmp_path, "app.flow:image")
    files = {path for path, value in found.items() if value[0] == "file"}
    assert files == {"app/__init__.py", "app/flow.py", "app/steps.py", "app/shared.py"}


def test_a_file_that_changes_between_hash_and_build_stops_it(shared_imagespec: Command, tmp_path: Path) -> None:
    """The size stays the same, as with an edit of one character; nothing stands under the tag afterwards."""
    (tmp_path / "app").mkdir()
    state = tmp_path / "app" / "z-state"
    state.write_bytes(b"0" * 1000)
    # Hashing and staging this one takes long enough for the other to change in between.
    with (tmp_path / "app" / "large").open("wb") as large:
        large.truncate(1 << 30)
    spec = {"name": "sources", "builder": "buildkit", "registry": shared_imagespec.registry, "copy": ["app"]}
    (tmp_path / "image.yaml").write_text(json.dumps(spec))
    name = shared_imagespec("tag", "image.yaml", cwd=tmp_path).stdout.strip()
    work = Path(shared_imagespec.env["IMAGESPEC_CACHE"], "work")
    process = subprocess.Popen(
        [sys.executable, "-m", "imagespec", "build", "image.yaml"],
        cwd=tmp_path,
        env=shared_imagespec.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    rewriter = threading.Thread(target=_rewrite_when_staging, args=(work, state))
    rewriter.start()
    out, said = process.communicate(timeout=120)
    rewriter.join()
    assert (process.returncode, out) == (2, ""), said
    assert "z-state" in said
    assert "changed" in said
    assert name.rpartition(":")[2] not in _tags(shared_imagespec)


def _rewrite_when_staging(work: Path, state: Path) -> None:
    """Change the file as soon as the build writes its context: by then every file was hashed."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(work.glob("build-*/context.tar")):
        time.sleep(0.005)
    with state.open("r+b") as stream:
        stream.write(b"1" * 1000)
    os.utime(state)


def _tags(imagespec: Command) -> list[str]:
    import urllib.error
    import urllib.request

    host, _, path = imagespec.registry.partition("/")
    try:
        with urllib.request.urlopen(f"http://{host}/v2/{path}/sources/tags/list", timeout=30) as answer:
            tags: list[str] = json.load(answer)["tags"] or []
    except urllib.error.HTTPError as error:
        error.close()
        return []
    return tags
