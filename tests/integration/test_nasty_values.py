"""Values that break what is put together by hand arrive in a container exactly as they were written."""

from __future__ import annotations

import base64
import json
import shlex
from pathlib import Path
from random import Random

import pytest

from tests.integration.conftest import Command
from tests.property.nasty import PIECES

pytestmark = pytest.mark.integration

SHOW = """
import base64, json, os, pathlib
files = {file.name: file.read_bytes() for file in pathlib.Path("/opt/nasty").iterdir()}
encoded = {name: base64.b64encode(data).decode() for name, data in files.items()}
print(json.dumps({"env": dict(os.environ), "files": encoded}))
"""
SPEC = """
import json
from imagespec import ImageSpec
from pathlib import Path
fields = json.loads(Path(__file__).with_name("fields.json").read_text())
image = ImageSpec(**fields)
"""


def values(count: int) -> list[str]:
    """Return texts that Linux can hold, each made of several pieces."""
    random = Random(7)
    pieces = [piece for piece in PIECES if "\0" not in piece and "\ud800" not in piece and len(piece) < 100]
    made = ["".join(random.choices(pieces, k=random.randint(1, 6))) for _ in range(count - 4)]
    return [*made, "", "x" * 40_000, "ends with a backslash \\", "\ufeffa\u2028b\x85c\rd"]


def test_fifty_nasty_values_arrive_as_they_are(imagespec: Command, tmp_path: Path) -> None:
    env = {f"NASTY_{number}": value for number, value in enumerate(values(30))}
    # A variable of this name must not come in the way of the argument that carries another's value.
    env["IMAGESPEC_VALUE_0"] = "mine"
    texts = values(18)
    commands = ["mkdir /opt/nasty"]
    commands += [f"printf %s {shlex.quote(text)} > /opt/nasty/{number}" for number, text in enumerate(texts)]
    commands += [
        "cat > /opt/nasty/heredoc <<'IMAGESPEC'\n$HOME `id` \\\nIMAGESPEC\r\nIMAGESPEC\n",
        "printf %s continued > /opt/nasty/continued \\",
        "false || true # || and # keep their meaning\nprintf %s done > /opt/nasty/comment # and this",
        "env | cut -d= -f1 | sort | tr '\\n' ' ' > /opt/nasty/names",
    ]
    fields = {"name": "nasty", "env": env, "commands": commands, "entrypoint": ["python", "-c", SHOW, "a b", "$HOME"]}
    (tmp_path / "fields.json").write_text(json.dumps(fields))
    (tmp_path / "image.py").write_text(SPEC)
    reference = imagespec("build", "image.py", "--registry", imagespec.registry, cwd=tmp_path).stdout.strip()

    shown = json.loads(imagespec.docker("run", "--rm", "--quiet", reference))
    assert {name: shown["env"].get(name) for name in env} == env
    files = {name: base64.b64decode(data).decode() for name, data in shown["files"].items()}
    assert {str(number): files[str(number)] for number in range(len(texts))} == dict(
        zip(map(str, range(len(texts))), texts, strict=True)
    )
    assert files["heredoc"] == "$HOME `id` \\\nIMAGESPEC\r\n"
    assert (files["continued"], files["comment"]) == ("continued", "done")
    assert [name for name in files["names"].split() if name.startswith("IMAGESPEC_")] == ["IMAGESPEC_VALUE_0"]

    history = imagespec.docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", reference)
    assert "IMAGESPEC_VALUE_1=" not in history
    config = json.loads(imagespec.docker("inspect", reference))[0]["Config"]
    assert config["Entrypoint"] == fields["entrypoint"]
