"""What a run leaves for other programs: JUnit XML for CI servers, Markdown for a step's summary page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

__all__ = ["junit_xml", "markdown_summary"]

_BAD: Final = ("failed", "blocked", "stopped", "missing", "unknown", "problem")
_ICONS: Final = {"built": "🔨", "tagged": "🏷️", "reused": "✅", "present": "✅", "blocked": "⏸️", "stopped": "⏹️"}
# XML 1.0 allows no control characters besides these.
_ALLOWED_CONTROLS: Final = "\t\n\r"


def junit_xml(records: Sequence[Mapping[str, Any]], total_s: float) -> str:
    """Return a JUnit report with one test case an image (and one for each target that could not be loaded)."""
    bad = [record for record in records if record["outcome"] in _BAD]
    cases = "\n".join(_case(record) for record in records)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<testsuites><testsuite name="imagespec" tests="{len(records)}" failures="{len(bad)}" errors="0" '
        f'skipped="0" time="{total_s:.3f}">\n{cases}\n</testsuite></testsuites>\n'
    )


def _case(record: Mapping[str, Any]) -> str:
    seconds = sum(record.get("seconds", {}).values())
    head = f"<testcase classname={_attribute(record['origin'])} name={_attribute(record['image'])}"
    opened = f'{head} time="{seconds:.3f}"'
    if record["outcome"] not in _BAD:
        return f"{opened}><system-out>{_text(record['outcome'] + ': ' + record['reason'])}</system-out></testcase>"
    error = record.get("error") or {}
    detail = "\n".join(part for part in (error.get("message", record["reason"]), error.get("hint", "")) if part)
    message = f"{record['outcome']}: {record['reason']}"
    kind = _attribute(error.get("type", record["outcome"]))
    return f"{opened}><failure type={kind} message={_attribute(message)}>{_text(detail)}</failure></testcase>"


def _attribute(text: str) -> str:
    return '"' + escape(_legal(text).replace("\n", " ")) + '"'


def _text(text: str) -> str:
    return escape(_legal(text))


def _legal(text: str) -> str:
    return "".join(character for character in text if character.isprintable() or character in _ALLOWED_CONTROLS)


def markdown_summary(records: Iterable[Mapping[str, Any]], headline: str) -> str:
    """Return a table of the images, what went wrong first, for a CI server's summary page."""
    ordered = sorted(records, key=lambda record: record["outcome"] not in _BAD)
    lines = [f"### imagespec: {headline}", "", "| | image | outcome | why | seconds |", "|---|---|---|---|---|"]
    for record in ordered:
        seconds = sum(record.get("seconds", {}).values())
        name = record["image"].partition("@")[0]
        lines.append(
            f"| {_ICONS.get(record['outcome'], '❌')} | `{_cell(name)}` | {record['outcome']} "
            f"| {_cell(record['reason'])} | {seconds:.2f} |"
        )
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    return " ".join(_legal(text).split()).replace("|", "\\|").replace("<", "&lt;")
