"""The page of ``imagespec report``, clicked through in a headless browser, without any network."""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from imagespec.report.page import page
from tests.integration.debian_tools import chromium

TEMPLATE = Path(__file__).resolve().parents[2] / "templates" / "report.html"
BASE = "r.test/base:x1-aaaaaaaaaaaa"
CHILD = "r.test/a-child-whose-name-is-longer-than-there-is-room-for:x1-bbbbbbbbbbbb"
STEPS = [{"title": "python packages: <b>tabulate</b>", "from_s": 0.5, "to_s": 2.0, "cached": False, "error": False}]
RUN = {
    "version": 1,
    "seconds": 4.0,
    "jobs": 2,
    "sizes": {"layers": 1, "total_bytes": 2_000_000, "pushed_bytes": 1_500_000, "is_exact": False},
    "images": [],
    "timeline": [
        {
            "image": BASE,
            "reference": f"{BASE}@sha256:{'1' * 64}",
            "parent": "",
            "plan": "x1-aaaaaaaaaaaa",
            "states": [
                {"at_s": 0.0, "state": "waiting", "detail": ""},
                {"at_s": 0.2, "state": "building", "detail": ""},
                {"at_s": 2.2, "state": "built", "detail": "it did not exist"},
            ],
            "steps": STEPS,
            "moved_bytes": 1_000_000,
        },
        {
            "image": CHILD,
            "reference": "",
            "parent": BASE,
            "plan": "x1-bbbbbbbbbbbb",
            "states": [
                {"at_s": 0.0, "state": "waiting", "detail": ""},
                {"at_s": 3.0, "state": "failed", "detail": "</script><script>document.title = 'broken'</script>"},
            ],
            "steps": [],
            "moved_bytes": 0,
        },
    ],
}
LAYERS = {BASE: [("sha256:" + "2" * 64, 2_000_000)], CHILD: [("sha256:" + "2" * 64, 2_000_000)]}

CLICKS = """
<script>
const seen = {title: document.title, hidden: details.hidden};
const background = () => getComputedStyle(document.body).backgroundColor;
const click = (node) => node.dispatchEvent(new MouseEvent("click", {bubbles: true}));
click(document.querySelector(".node[data-image='BASE']"));
seen.afterNode = about.textContent;
seen.marked = document.querySelectorAll(".chosen").length;
document.dispatchEvent(new KeyboardEvent("keydown", {key: "Escape"}));
seen.afterEscape = details.hidden;
click(document.querySelector(".row[data-image='CHILD']"));
seen.afterRow = about.textContent;
click(document.getElementById("close"));
seen.afterClose = details.hidden;
seen.waits = [...document.querySelectorAll(".row[data-image='CHILD'] .parent, .row[data-image='CHILD'] .waiting")].map(
  (one) => one.textContent);
const overlap = (a, b) => a.right > b.left && a.left < b.right;
seen.outside = [...document.querySelectorAll(".row")].filter((row) => overlap(...[...row.querySelectorAll("text")].map(
  (one) => one.getBoundingClientRect()))).map((row) => row.dataset.image);
seen.before = background();
click(document.getElementById("theme"));
seen.after = background();
seen.loaded = performance.getEntriesByType("resource").length;
document.body.innerHTML = "";
document.body.append(Object.assign(document.createElement("pre"), {textContent: JSON.stringify(seen)}));
</script>
"""


def clicked(text: str, tmp_path: Path, *arguments: str) -> dict[str, Any]:
    """Return what the clicks saw in the page; no host can be reached from it."""
    tool = chromium()
    file = tmp_path / "page.html"
    script = CLICKS.replace("BASE", BASE).replace("CHILD", CHILD)
    file.write_text(text.replace("</body>", f"{script}</body>"))
    command = [tool.program, "--headless=new", "--no-sandbox", "--disable-gpu", *arguments]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--proxy-server=127.0.0.1:9", "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=tool.env)
    shown = re.search(r"<pre>(.*)</pre>", done.stdout, re.DOTALL)
    assert shown, done.stdout[-2000:]
    value: dict[str, Any] = json.loads(html.unescape(shown[1]))
    return value


@pytest.mark.integration
def test_the_page_answers_clicks_offline(tmp_path: Path) -> None:
    seen = clicked(page(RUN, LAYERS, TEMPLATE.read_text()), tmp_path)
    assert seen["title"] == "imagespec: a run"
    assert seen["hidden"]
    assert "python packages: <b>tabulate</b>" in seen["afterNode"]
    assert "1.50 s" in seen["afterNode"]
    assert "it did not exist" in seen["afterNode"]
    assert seen["marked"] == 3  # in the graph, in the timeline, in the table of layers
    assert "also in 1 other image" in seen["afterNode"]
    assert seen["waits"] == ["waits for base:x1-aaaaaaaa: 2.20 s", "waits for the look-up, or for its turn: 0.80 s"]
    assert seen["outside"] == []
    assert seen["afterEscape"]
    assert seen["afterClose"]
    assert f"based on {BASE}" in seen["afterRow"]
    assert seen["before"] != seen["after"]
    assert seen["loaded"] == 0


@pytest.mark.integration
def test_the_page_takes_the_colours_that_the_reader_prefers(tmp_path: Path) -> None:
    text = page(RUN, LAYERS, TEMPLATE.read_text())
    light = clicked(text, tmp_path)
    dark = clicked(text, tmp_path, "--blink-settings=preferredColorScheme=0")
    assert (light["before"], light["after"]) == ("rgb(255, 255, 255)", "rgb(11, 18, 32)")
    assert (dark["before"], dark["after"]) == (light["after"], light["before"])


def test_the_page_names_nothing_to_load_and_says_what_there_is() -> None:
    text = page(RUN, LAYERS, TEMPLATE.read_text())
    assert re.findall(r"(?:src|href)=", text) == []
    assert "2 images: 1 built, 1 failed · 4.0 s, 2 at a time · at most 1.5 MB of 2.0 MB pushed" in text
    assert "1 layer, 2.0 MB in the registry; 4.0 MB without sharing." in text
    assert "{{" not in text
