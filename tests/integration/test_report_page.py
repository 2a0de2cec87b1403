"""The page of ``imagespec report``, clicked through in a headless browser, without any network."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from imagespec.report.page import page

TEMPLATE = Path(__file__).resolve().parents[2] / "templates" / "report.html"
BASE, CHILD = "r.test/base:x1-aaaaaaaaaaaa", "r.test/child:x1-bbbbbbbbbbbb"
STEPS = [{"title": "python packages: <b>tabulate</b>", "from_s": 0.5, "to_s": 2.0, "cached": False, "error": False}]
RUN = {
    "version": 1,
    "seconds": 4.0,
    "jobs": 2,
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
seen.before = background();
click(document.getElementById("theme"));
seen.after = background();
seen.loaded = performance.getEntriesByType("resource").length;
document.body.innerHTML = "";
document.body.append(Object.assign(document.createElement("pre"), {textContent: JSON.stringify(seen)}));
</script>
"""


def browser() -> str:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium on the PATH (Debian: apt-get install chromium)")
    return found


def clicked(text: str, tmp_path: Path) -> dict[str, Any]:
    """Return what the clicks saw in the page."""
    file = tmp_path / "page.html"
    script = CLICKS.replace("BASE", BASE).replace("CHILD", CHILD)
    file.write_text(text.replace("</body>", f"{script}</body>"))
    command = [browser(), "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--proxy-server=127.0.0.1:9", "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
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
    assert seen["afterEscape"]
    assert seen["afterClose"]
    assert f"based on {BASE}" in seen["afterRow"]
    assert seen["before"] != seen["after"]
    assert seen["loaded"] == 0


def test_the_page_names_nothing_to_load_and_says_what_there_is() -> None:
    text = page(RUN, LAYERS, TEMPLATE.read_text())
    assert re.findall(r"(?:src|href)=", text) == []
    assert "2 images: 1 built, 1 failed" in text
    assert "1 layers, 2.0 MB in the registry; 4.0 MB without sharing." in text
    assert "{{" not in text
