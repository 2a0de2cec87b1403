"""``plan --files``: what would be sent, why, largest first, with a warning for what is probably unwanted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from imagespec.cli.listing import unwanted
from imagespec.snapshot import ContextEntry, EntryKind


def plan_files(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "imagespec", "plan", "--files", "--no-stat-cache", *arguments]
    done = subprocess.run(program, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def project(tmp_path: Path) -> Path:
    files = {
        "wf.py": "import shop.orders\nfrom imagespec import ImageSpec\n"
        "image = ImageSpec(name='loaded', source_root='.', copy=['data'], requirements='requirements.txt')\n",
        "shop/__init__.py": "",
        "shop/orders.py": "from shop import lines\n",
        "shop/lines.py": "#\n",
        "shop/unused.py": "",
        "data/small.csv": "1\n",
        "data/.env.local": "SECRET=hunter2\n",
        "lib/pyproject.toml": "[project]\nname = 'lib'\nversion = '1'\n",
        "requirements.txt": "-e ./lib\n",
        "image.yaml": "name: copied\ncopy: [data]\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "data" / "link").symlink_to("small.csv")
    (tmp_path / "data" / "run.sh").write_text("")
    (tmp_path / "data" / "run.sh").chmod(0o755)
    return tmp_path


def test_files_are_listed_largest_first_with_the_reason(project: Path) -> None:
    done = plan_files(project, "wf.py:image")
    *lines, total = (line.lstrip().split("  ", 1) for line in done.stdout.splitlines())
    sizes = [int(size) for size, _ in lines]
    assert sizes == sorted(sizes, reverse=True)
    assert total == [str(sum(sizes)), "in 9 files"]
    assert {shown for _, shown in lines} == {
        "wf.py  (defines the target)",
        "shop/__init__.py  (imported by wf.py)",
        "shop/orders.py  (imported by wf.py)",
        "shop/lines.py  (imported by shop/orders.py)",
        "lib/pyproject.toml  (a project that requirements names)",
        "data/small.csv",
        "data/.env.local",
        "data/link -> small.csv",
        "data/run.sh (executable)",
    }
    assert "warning: data/.env.local may hold secrets" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_tools_get_records_and_several_images_their_names(project: Path) -> None:
    value = json.loads(plan_files(project, "wf.py:image", "--format", "json").stdout)
    by_path = {one["path"]: one for one in value["files"]}
    assert by_path["shop/lines.py"]["reason"] == "imported by shop/orders.py"
    assert by_path["data/.env.local"]["unwanted"] == "may hold secrets"
    assert (by_path["data/link"]["kind"], by_path["data/link"]["link"]) == ("link", "small.csv")
    assert by_path["data/run.sh"]["executable"] is True
    both = plan_files(project, "wf.py:image", "image.yaml").stdout
    assert [line.partition(":")[0] for line in both.splitlines() if line[0] != " "] == ["loaded", "copied"]


@pytest.mark.parametrize(
    "path",
    [
        *(".env", "a/.env", ".env.production", "prod.env", "id_ed25519", "tls/Server.PEM", "x.key", ".netrc", "a.p12"),
        *("home/.aws/credentials", ".docker/config.json", "secrets.yaml", "service-account.json", ".pypirc"),
    ],
)
def test_what_may_hold_secrets_is_seen(path: str) -> None:
    assert unwanted(ContextEntry(path, EntryKind.FILE)) == "may hold secrets"


@pytest.mark.parametrize("path", ["env.py", "keys.py", "a/credentials", "monkey", "pem", "config.json", "id_rsa.pub"])
def test_what_only_sounds_like_it_is_not(path: str) -> None:
    assert unwanted(ContextEntry(path, EntryKind.FILE)) == ""


def test_what_is_over_100_mb_is_seen() -> None:
    assert unwanted(ContextEntry("model.bin", EntryKind.FILE, size_bytes=100_000_001)) == "is 100 MB"
    assert unwanted(ContextEntry("model.bin", EntryKind.FILE, size_bytes=100_000_000)) == ""
