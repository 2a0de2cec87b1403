"""What a run shows and leaves: lines for several images, the live board, JSON lines, JUnit, Markdown, drawings."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from rich.console import Console

from imagespec.events import (
    BytesMoved,
    Event,
    ImageChanged,
    ImageState,
    InImage,
    StepFinished,
    StepStarted,
    Warned,
)
from imagespec.report import LiveReport, PlainReport
from imagespec.report.cache_balance import cache_balance
from imagespec.report.diagram import DiagramNode, mermaid, svg
from imagespec.report.files import junit_xml, markdown_summary
from imagespec.report.jsonlines import JsonLinesReport
from imagespec.report.recorder import Recorder

A, B = "r.test/team/a:x1-aaaaaaaaaaaaaaaa", "r.test/team/b:x1-bbbbbbbbbbbbbbbb"


def changed(image: str, state: ImageState, detail: str = "") -> ImageChanged:
    return ImageChanged(image=image, state=state, detail=detail)


RUN: list[Event] = [
    changed(A, ImageState.WAITING),
    changed(B, ImageState.WAITING),
    changed(A, ImageState.BUILDING),
    InImage(image=A, event=StepStarted(step="1", title="apt packages: jq")),
    InImage(image=A, event=BytesMoved(step="1", title="push to x", done_bytes=2_500_000)),
    InImage(image=A, event=StepFinished(step="1", title="apt packages: jq", duration_s=1.25)),
    InImage(image=A, event=Warned(message="careful")),
    changed(A, ImageState.BUILT, "it did not exist"),
    changed(B, ImageState.FAILED, "build: it broke"),
]


def test_plain_lines_name_their_image_when_there_are_several() -> None:
    stream = io.StringIO()
    report = PlainReport(stream)
    for event in RUN:
        report(event)
    assert stream.getvalue().splitlines() == [
        "[a:x1-aaaaaaaa] -> apt packages: jq",
        "[a:x1-aaaaaaaa] ok apt packages: jq, 1.2 s",
        "[a:x1-aaaaaaaa] warning: careful",
        f"built: {A}: it did not exist",
        f"failed: {B}",
    ]


def test_plain_lines_of_one_image_do_not_name_it() -> None:
    stream = io.StringIO()
    report = PlainReport(stream)
    for event in RUN:
        if event != RUN[1] and event != RUN[-1]:
            report(event)
    assert stream.getvalue().splitlines()[0] == "-> apt packages: jq"
    assert "built" not in stream.getvalue()


@pytest.mark.parametrize(("images", "height"), [(3, 24), (60, 24), (60, 5)])
def test_the_board_fits_the_terminal_and_counts_what_does_not(images: int, height: int) -> None:
    console = Console(file=io.StringIO(), width=80, height=height, force_terminal=True, no_color=True)
    report = LiveReport(console, clock=lambda: 0.0)
    long = "whose-name-is-longer-than-its-column-"
    names = [f"registry.test/place/image-{long * (i % 2)}{i}:x1-{i:032}" for i in range(images)]
    for name in names:
        report(changed(name, ImageState.BUILDING))
        report(InImage(image=name, event=StepStarted(step="s", title="python packages: " + "x" * 200)))
        moved = BytesMoved(step="s", title="push", done_bytes=12_300_000, total_bytes=75_000_000)
        report(InImage(image=name, event=moved))
    with console.capture() as capture:
        console.print(report._render())
    lines = [line for line in capture.get().splitlines() if line.strip()]
    assert len(lines) == min(images, max(1, height - 3)) + 1
    assert all(len(line) <= 80 for line in lines)
    assert all(line.endswith("12.3 MB of 75.0 MB    0 s") for line in lines[:-1])
    assert {line.index(" python packages") for line in lines[:-1]} == {30}
    hidden = images - max(1, height - 3)
    more = f" ({hidden} not shown)" if hidden > 0 else ""
    assert f"0 of {images}: {images} building{more}" in lines[-1]


def test_json_lines_carry_type_image_and_time() -> None:
    stream, times = io.StringIO(), iter(range(100))
    report = JsonLinesReport(stream, clock=lambda: float(next(times)))
    for event in RUN:
        report(event)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert lines[0] == {"at_s": 1.0, "type": "image_changed", "image": A, "state": "waiting", "detail": ""}
    assert lines[3] == {"at_s": 4.0, "type": "step_started", "step": "1", "title": "apt packages: jq", "image": A}
    assert [line["at_s"] for line in lines] == [float(i) for i in range(1, len(RUN) + 1)]


def record(image: str, outcome: str, **more: Any) -> dict[str, Any]:
    return {"origin": "x.py:a", "image": image, "outcome": outcome, "reason": "so", "seconds": {"build": 1.5}, **more}


def test_junit_is_xml_whatever_the_texts_hold() -> None:
    error = {"type": "BuildFailed", "message": 'a <b> & "c" \x1b[31m', "hint": "mend it"}
    text = junit_xml([record(A, "built"), record(B, "failed", error=error)], 2.0)
    suite = ET.fromstring(text)[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("time")) == ("2", "1", "2.000")
    failure = suite[1].find("failure")
    assert failure is not None
    assert failure.text == 'a <b> & "c" [31m\nmend it'
    assert suite[0].find("failure") is None


def test_the_summary_begins_with_what_went_wrong_and_breaks_no_table() -> None:
    text = markdown_summary([record(A, "built"), record(B, "failed", reason="a | b\nc <d>")], "2 images")
    lines = text.splitlines()
    assert lines[0] == "### imagespec: 2 images"
    assert lines[4] == f"| ❌ | `{B}` | failed | a \\| b c &lt;d> | 1.50 |"
    assert A in lines[5]


def test_a_drawing_places_children_right_of_their_parent_and_quotes_texts() -> None:
    nodes = [
        DiagramNode(key="p", title='p"<x>', state="built"),
        DiagramNode(key="c", title="c", state="failed", parent="p"),
        DiagramNode(key="d", title="d", state="waiting", parent="p"),
    ]
    root = ET.fromstring(svg(nodes))
    boxes = {group.get("data-image"): group.find("{*}rect") for group in root.iter("{http://www.w3.org/2000/svg}g")}
    places = {key: (float(box.get("x", 0)), float(box.get("y", 0))) for key, box in boxes.items() if box is not None}
    assert places["p"][0] < places["c"][0] == places["d"][0]
    assert places["p"][1] == places["c"][1] < places["d"][1]
    assert len(root.findall("{*}path")) == 2
    text = mermaid(nodes)
    assert '["p#quot;&lt;x&gt; / built"]:::done' in text
    assert "n0 --> n1" in text


@pytest.mark.parametrize(
    ("export_s", "steps_s", "start"), [(2.0, 9.0, "layer cache"), (9.0, 2.0, "warning: layer cache"), (0.0, 9.0, None)]
)
def test_an_export_that_costs_more_than_it_saves_is_told(export_s: float, steps_s: float, start: str | None) -> None:
    now = 0.0
    recorder = Recorder(lambda event: None, clock=lambda: now)
    for step, title, length in (("1", "exporting cache to registry", export_s), ("2", "run: make", steps_s)):
        if length:
            recorder(InImage(image=A, event=StepStarted(step=step, title=title)))
            now += length
            recorder(InImage(image=A, event=StepFinished(step=step, title=title, duration_s=length)))
    said = list(cache_balance(recorder.images, "r.test/cache"))
    assert [line.startswith(start) for line in said] == ([True] if start else [])
    assert list(cache_balance(recorder.images, "")) == []
