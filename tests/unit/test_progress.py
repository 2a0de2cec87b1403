"""BuildKit's progress, decoded: steps, output, failures, and text that is cut anywhere."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from imagespec.builders.progress import LOG_TAIL_LINES, ProgressDecoder
from imagespec.events import BytesMoved, Event, StepFinished, StepLog, StepStarted

START, END = "2024-01-01T00:00:00.123456789Z", "2024-01-01T00:00:02.5Z"


def vertex(digest: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"vertexes": [{"digest": digest, "name": name, **fields}]}


def log(digest: str, data: bytes) -> dict[str, Any]:
    return {"logs": [{"vertex": digest, "stream": 1, "data": base64.b64encode(data).decode()}]}


def fed(decoder: ProgressDecoder, *statuses: dict[str, Any]) -> list[Event]:
    return [event for status in statuses for event in decoder.feed(json.dumps(status) + "\n")]


def test_a_step_starts_prints_and_ends_under_its_title() -> None:
    decoder = ProgressDecoder(["python packages: pandas"])
    name = "[image 4/6] RUN --mount=type=x <<'IMAGESPEC' (# step-0...)"
    events = fed(
        decoder,
        vertex("a", name),
        vertex("a", name, started=START),
        log("a", b"one\ntw"),
        log("a", b"o\nredrawn\rlast\r\n"),
        vertex("a", name, started=START, completed=END),
        vertex("a", name, started=START, completed=END),
    )
    assert events == [
        StepStarted(step="a", title="python packages: pandas"),
        StepLog(step="a", text="one"),
        StepLog(step="a", text="two"),
        StepLog(step="a", text="last"),
        StepFinished(step="a", title="python packages: pandas", duration_s=2.376544),
    ]
    assert decoder.failed_step is None


def test_titles_are_for_people() -> None:
    decoder = ProgressDecoder(["copy 2 files to /root"])
    shown = {
        "[image 2/6] RUN <<'IMAGESPEC' (# user flytekit...)": "user flytekit",
        "[image 6/6] COPY --link --chown=1000:1000 [step-0/, /root/]": "copy 2 files to /root",
        "[image 1/6] FROM docker.io/library/x": "FROM docker.io/library/x",
        "RUN --mount=type=a --mount=type=b thing": "RUN thing",
        "[image 4/6] RUN (# step-9...)": "RUN (# step-9...)",
    }
    for number, (name, title) in enumerate(shown.items()):
        (started,) = fed(decoder, vertex(str(number), name, started=START))
        assert started == StepStarted(step=str(number), title=title)


def test_what_buildkit_does_with_its_own_files_is_not_shown_unless_it_fails() -> None:
    decoder = ProgressDecoder()
    assert fed(decoder, vertex("a", "[internal] load build definition", started=START, completed=END)) == []
    events = fed(
        decoder, vertex("b", "[internal] load metadata for x", started=START, completed=END, error="no such image")
    )
    assert [type(event) for event in events] == [StepStarted, StepFinished]
    assert decoder.failed_step is not None
    assert decoder.failed_step.error == "no such image"


def test_a_failed_step_is_the_one_that_failed_by_itself() -> None:
    decoder = ProgressDecoder(["one", "two"])
    fed(
        decoder,
        vertex("a", "RUN (# step-0)", started=START, completed=END, error="context canceled"),
        log("b", b"first\nlast without an end of line"),
        vertex(
            "b",
            "RUN (# step-1)",
            started=START,
            completed=END,
            error="process did not complete successfully: exit code: 7",
        ),
    )
    failed = decoder.failed_step
    assert failed is not None
    assert (failed.title, failed.exit_code) == ("two", 7)
    assert failed.log_tail == ("first", "last without an end of line")


def test_the_last_words_are_kept_even_when_they_come_after_the_end() -> None:
    decoder = ProgressDecoder()
    fed(decoder, vertex("b", "RUN x", started=START, completed=END, error="exit"), log("b", b"too late, and cut"))
    assert decoder.failed_step is not None
    assert decoder.failed_step.log_tail == ("too late, and cut",)


def test_only_the_last_lines_are_kept() -> None:
    decoder = ProgressDecoder()
    fed(decoder, log("a", b"".join(b"%d\n" % number for number in range(100)) + b"end"))
    fed(decoder, vertex("a", "RUN x", error="failed"))
    assert decoder.failed_step is not None
    assert decoder.failed_step.log_tail == (*(str(number) for number in range(101 - LOG_TAIL_LINES, 100)), "end")


def test_transfers_are_told_when_their_size_is_known() -> None:
    statuses = [{"vertex": "a", "id": "sha256:1", "current": 5, "total": 10}, {"vertex": "a", "id": "x", "current": 5}]
    assert fed(ProgressDecoder(), {"statuses": statuses}) == [
        BytesMoved(step="a", title="sha256:1", done_bytes=5, total_bytes=10)
    ]


def test_plain_text_beside_the_json_is_kept() -> None:
    decoder = ProgressDecoder()
    lines = ["ERROR: failed to solve\n", "\n", "Dockerfile:12\n"]
    assert [event for line in lines for event in decoder.feed(line)] == []
    assert decoder.plain_text == "ERROR: failed to solve\nDockerfile:12"


def test_an_object_may_span_lines() -> None:
    decoder = ProgressDecoder()
    text = json.dumps(vertex("a", "RUN x", started=START), indent=2)
    events = [event for line in text.splitlines(keepends=True) for event in decoder.feed(line)]
    assert events == [StepStarted(step="a", title="RUN x")]


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(st.text(st.sampled_from("aé名😀\n"), max_size=20), st.data())
def test_output_may_be_cut_anywhere(text: str, data: st.DataObject) -> None:
    raw, decoder, shown, at = text.encode(), ProgressDecoder(), [], 0
    while at < len(raw):
        size = data.draw(st.integers(1, len(raw) - at))
        shown += fed(decoder, log("a", raw[at : at + size]))
        at += size
    shown += fed(decoder, vertex("a", "RUN x", started=START, completed=END))
    said = [event.text for event in shown if isinstance(event, StepLog)]
    assert said == (text.split("\n") if not text.endswith("\n") and text else text.split("\n")[:-1])
