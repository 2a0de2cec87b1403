"""The command ``imagespec``. stdout carries the result, one reference a line or JSON; stderr carries the talk.

Exit codes: 0 done · 1 absent (``exists``) · 2 the input is wrong · 3 a registry cannot tell or refuses · 4 the
engine or a build step failed · 5 bytes are not what they should be · 70 a bug of ours · 130 interrupted.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final, NoReturn

import click

from imagespec.cli.naming import say
from imagespec.errors import Cancelled, ImageSpecError
from imagespec.report import error_lines

__all__ = ["cli", "main"]

BUG: Final = 70


# Where each command is. One is imported when it is asked for: none waits for what another needs.
_HOMES: Final = {
    "build": "building",
    "cache": "caching",
    "dockerfile": "looking",
    "doctor": "helping",
    "exists": "looking",
    "explain": "explaining",
    "images": "images",
    "plan": "looking",
    "prune": "pruning",
    "report": "reporting",
    "schema": "helping",
    "tag": "tagging",
    "warm": "warming",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted(_HOMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name, None when there is none."""
        if cmd_name not in _HOMES:
            return None
        command: click.Command = getattr(import_module(f"imagespec.cli.{_HOMES[cmd_name]}"), cmd_name)
        return command


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
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except ImageSpecError as error:
        _fail(error)
    except (click.exceptions.Abort, KeyboardInterrupt):
        _fail(Cancelled("stopped: no image was pushed that was not finished", hint="start it again to go on"))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read stdout has gone; there is nobody to tell.
        sys.stderr.close()
        sys.exit(0)
    except Exception:
        import traceback

        traceback.print_exc()
        say("error: this is a bug of imagespec, or an exception in your own module (see above)")
        sys.exit(BUG)


def _fail(error: ImageSpecError) -> NoReturn:
    for line in error_lines(error):
        say(line)
    sys.exit(error.exit_code)
