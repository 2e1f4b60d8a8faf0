"""The command line: a group of commands, ours and the wings', found through entry points.

A command parses words and calls one function. Nothing heavy is imported before it runs, so that `--help` is quick.
"""

from __future__ import annotations

import sys
import warnings
from importlib.metadata import entry_points
from typing import Any

import click

from . import __version__
from .commands.options import examples
from .errors import BadInput, UnknownName
from .signals import INTERRUPTED, STOPPED, TERMINATED, Terminated, prompt_interrupt


class Commands(click.Group):
    """The commands that the entry-point group `tokenlens.commands` names."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(entry.name for entry in entry_points(group="tokenlens.commands"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = list(entry_points(group="tokenlens.commands", name=cmd_name))
        return found[0].load() if found else None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if args[0].startswith("-"):  # an option that there is not
                raise
            raise UnknownName("command", args[0], self.list_commands(ctx)) from error


EXAMPLES = examples(
    "tokenlens demo                    everything, on what comes with the package",
    "tokenlens extract --method topk   patterns of one method into ./runs",
    "tokenlens compare                 all in ./runs, into ./results",
    "tokenlens figures                 pictures of them into ./figures-out",
)


@click.group(
    cls=Commands,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@click.version_option(__version__, prog_name="tokenlens")
def tokenlens() -> None:
    """Which tokens does a Vision Transformer keep or merge?

    Extract the patterns of token reduction methods, compare them, and draw them.
    """


def main() -> None:
    """Run a command; what a user did wrong is one sentence and exit code 2, without a traceback."""
    warnings.formatwarning = lambda message, *_, **__: f"Warning: {message}\n"  # to a user, no line of ours matters
    try:
        with prompt_interrupt():
            tokenlens(standalone_mode=False)
    except BadInput as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        click.echo(f"Error: {error.format_message()}", err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo(STOPPED, err=True)
        sys.exit(INTERRUPTED)
    except Terminated:
        click.echo(STOPPED, err=True)
        sys.exit(TERMINATED)
