"""The command ``imagespec``. stdout carries the result, one reference a line or JSON; stderr carries the talk.

Exit codes: 0 done · 1 absent (``exists``) · 2 the input is wrong · 3 a registry cannot tell or refuses · 4 the
engine or a build step failed · 5 bytes are not what they should be · 70 a bug of ours · 130 interrupted.
"""

from __future__ import annotations

import errno
import gc
import io
import os
import signal
import sys
from importlib import import_module
from typing import Any, BinaryIO, Final, NoReturn, TextIO, cast

import click

from imagespec.cli.naming import say
from imagespec.errors import Cancelled, EngineError, ImageSpecError
from imagespec.report import error_lines

__all__ = ["cli", "main"]

BUG: Final = 70
# Wherever it shows first, also at the line that is the result.
_THE_MACHINES: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


# Where each command is, and what it does in a few words. A module is imported when its command is asked for: none waits
# for what another needs, and the list of commands waits for none of them.
_COMMANDS: Final = {
    "build": ("building", "Look images up, build and push those that are absent."),
    "cache": ("caching", "Show or prune what the daemonless builder keeps."),
    "dockerfile": ("looking", "Print the Dockerfile that the buildkit builder would use."),
    "doctor": ("helping", "Look at what a build needs on this machine, with each fix."),
    "exists": ("looking", "Say whether images exist: exit 0 present, 1 absent."),
    "explain": ("explaining", "Say which package, line, variable or file changed the tag."),
    "images": ("images", "List the images that flytekit's tasks need."),
    "plan": ("looking", "Show what would be built, and why; nothing is touched."),
    "prune": ("pruning", "Delete images of a repository that no target needs."),
    "report": ("reporting", "Write one HTML page about a run."),
    "schema": ("helping", "Print the JSON Schema of spec files, for editors."),
    "tag": ("tagging", "Print an image's name and tag."),
    "warm": ("warming", "For CI: make sure that every image of a code base exists."),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name, None when there is none."""
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"imagespec.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="imagespec-builder", prog_name="imagespec")
def cli() -> None:
    """Turn a declared ImageSpec into a container image in a registry, and never build the same thing twice.

    \b
    Example:
      imagespec build image.yaml
    """


def main() -> NoReturn:
    """Run the command and exit with its documented code; errors go to stderr without a traceback."""
    # Who is asked to end (a CI job does so) ends as after Ctrl-C: with what it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.stdout, sys.stderr = _heedless(sys.stdout), _heedless(sys.stderr)
    try:
        _run()
    finally:
        # The interpreter's last collection would walk through all that there is, and free what ends with the process.
        gc.freeze()


class _Heedless(io.FileIO):
    """A stream whose reader may go: what is written then goes nowhere, and work and exit code stay what they are.

    Another error is raised for the result, not for the talk, and once: what is buffered still must not raise it again
    when the interpreter ends.
    """

    is_talk = False

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if not self.is_talk and not isinstance(error, BrokenPipeError):
                raise
            return len(data)


def _heedless(stream: TextIO) -> TextIO:
    try:
        raw = _Heedless(stream.fileno(), "wb", closefd=False)
    except (OSError, ValueError, AttributeError):
        return stream  # closed, or not a file
    raw.is_talk = stream is sys.stderr
    stream.flush()
    buffered = cast("BinaryIO", io.BufferedWriter(raw))
    return io.TextIOWrapper(buffered, stream.encoding, stream.errors, line_buffering=raw.is_talk or stream.isatty())


def _run() -> NoReturn:
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except ImageSpecError as error:
        _fail(error)
    except (click.exceptions.Abort, KeyboardInterrupt):
        _fail(Cancelled("stopped: no image was pushed that was not finished", hint="start it again to go on"))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _THE_MACHINES:
            place = f"{error.filename}: " if error.filename else ""
            problem = f"{place}{(error.strerror or str(error)).lower()}"
            _fail(EngineError(f"stopped: {problem}", hint="make room for it, and start it again to go on"))
        import traceback

        traceback.print_exc()
        say("error: this is a bug of imagespec, or an exception in your own module (see above)")
        sys.exit(BUG)


def _fail(error: ImageSpecError) -> NoReturn:
    for line in error_lines(error):
        say(line)
    sys.exit(error.exit_code)
