"""``imagespec warm``: the CI job that makes every image before anyone waits for it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import click

from imagespec.cli import options
from imagespec.cli.naming import say
from imagespec.cli.run import Run, Wishes
from imagespec.cli.summary import headline
from imagespec.cli.writing import check_writable, write_whole
from imagespec.registry.many import LookUp
from imagespec.report.cache_balance import cache_balance
from imagespec.report.files import junit_xml, markdown_summary

__all__ = ["warm"]

_MISSING: Final = 1
_UNKNOWN: Final = 3


@click.command(epilog="Example: imagespec warm workflows images/*.yaml --junit images.xml")
@options.target
@options.registry
@options.builder
@click.option("--check", is_flag=True, help="Only look; exit 1 when an image is missing. Pull rights are enough.")
@click.option("--cache-to", default="", metavar="REPOSITORY", help="Export the layer cache of each image to here.")
@click.option("--cache-from", multiple=True, metavar="REPOSITORY", help="Import layer caches from here.")
@click.option("--junit", type=click.Path(dir_okay=False), metavar="FILE", help="Write a JUnit XML report.")
@click.option("--report", type=click.Path(dir_okay=False), metavar="FILE", help="Write the JSON report.")
@options.jobs
@options.events
@options.builder_instance
@options.copy
@options.no_stat_cache
@options.format
def warm(
    target: tuple[str, ...],
    check: bool,
    junit: str | None,
    report: str | None,
    form: str,
    builder_instance: tuple[str, ...],
    **wishes: Any,
) -> None:
    """Check, build and push every image that TARGETS need, for a CI job that runs before anyone waits for them.

    stdout: as of build; with --check a line an image with its state. Where GITHUB_STEP_SUMMARY is set, a table is
    added to that file.
    """
    for file in (report, junit):
        if file:
            check_writable(Path(file))  # an hour of building is not the time to find out
    run = Run(target, Wishes(builder_instances=builder_instance, **wishes))
    if check:
        records, code, title = _checked(run, form)
    else:
        run.ensure()
        run.tell()
        for line in cache_balance(run.recorder.images, wishes["cache_to"]):
            say(line)
        for line in run.result_lines(form):
            click.echo(line)
        records, code, title = run.records(), run.exit_code, headline(run.endings)
    value = {"version": 1, "seconds": round(run.total_s, 3), "images": records} if check else run.run_record()
    if report:
        write_whole(Path(report), json.dumps(value, indent=1))
    if junit:
        write_whole(Path(junit), junit_xml(records, run.total_s))
    _add_to_summary(run, records, title)
    sys.exit(code)


def _checked(run: Run, form: str) -> tuple[list[dict[str, Any]], int, str]:
    answers = run.look()
    records = [_answer_record(target.origin, answer) for target, answer in zip(run.targets, answers, strict=True)]
    for record in records:
        text = f"{record['outcome']}\t{record['image']}"
        click.echo(json.dumps(record) if form == "json" else text)
    run.tell_problems()
    told: set[str] = set()
    for answer in answers:
        if answer.error is not None and str(answer.error) not in told:
            told.add(str(answer.error))
            say(f"error: {answer.error}" + (f"\nhint: {answer.error.hint}" if answer.error.hint else ""))
    states = [record["outcome"] for record in records]
    title = f"{len(states)} images: " + ", ".join(
        f"{states.count(state)} {state}" for state in ("present", "missing", "unknown") if state in states
    )
    say(f"{title}; {run.total_s:.2f} s")
    code = _UNKNOWN if "unknown" in states else _MISSING if "missing" in states else 0
    return records + run.problem_records(), max(code, run.exit_code), title


def _answer_record(origin: str, answer: LookUp) -> dict[str, Any]:
    record: dict[str, Any] = {"origin": origin, "image": str(answer.reference), "tag": answer.reference.tag}
    if answer.error is not None:
        error = {"type": type(answer.error).__name__, "message": str(answer.error), "hint": answer.error.hint}
        return {**record, "outcome": "unknown", "reason": str(answer.error), "error": error}
    if answer.descriptor is None:
        return {**record, "outcome": "missing", "reason": "it does not exist"}
    return {**record, "digest": str(answer.descriptor.digest), "outcome": "present", "reason": "it exists"}


def _add_to_summary(run: Run, records: list[dict[str, Any]], title: str) -> None:
    summary = run.settings.step_summary
    pushed = f"; {run.sizes.line}" if run.sizes is not None else ""
    if summary is not None:
        try:
            with summary.open("a", encoding="utf-8") as stream:
                stream.write(markdown_summary(records, f"{title}; {run.total_s:.1f} s{pushed}"))
        except OSError as error:
            say(f"warning: GITHUB_STEP_SUMMARY: {error.strerror or error}")
