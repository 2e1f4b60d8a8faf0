"""The command line: a group of commands, ours and the wings', found through entry points.

A command parses words and calls one function. Nothing heavy is imported before it runs, so that `--help` is quick.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
import warnings
from collections import Counter
from contextlib import suppress
from importlib.metadata import entry_points
from typing import Any, NoReturn, TextIO

import click

from . import __version__
from .commands.options import examples
from .errors import BadInput, UnknownName
from .signals import INTERRUPTED, STOPPED, TERMINATED, Terminated, prompt_end


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


LONGEST = 1000  # letters of a sentence; click repeats all the words that it did not expect, and there may be 100,000


class Warnings:
    """Shows warnings as a user reads them: without a line of ours, and of many of one kind three and their number."""

    SHOWN = 3

    def __init__(self) -> None:
        self.counts: Counter[tuple[type[Warning], str, int]] = Counter()

    def __call__(
        self, message: Warning | str, category: type[Warning], filename: str, lineno: int,
        file: TextIO | None = None, line: str | None = None,
    ) -> None:  # fmt: skip
        """Take one, in the place of `warnings.showwarning`; a kind is what one line of code says."""
        self.counts[category, filename, lineno] += 1
        if self.counts[category, filename, lineno] <= self.SHOWN:
            self._say(f"{message}")

    def close(self) -> None:
        """Say how many were not shown."""
        for count in self.counts.values():
            if count > self.SHOWN:
                self._say(f"{count - self.SHOWN:,} more of this kind, {count:,} in all")
        self.counts.clear()

    def _say(self, text: str) -> None:
        with suppress(OSError):
            click.echo(f"Warning: {text}", err=True)


def main() -> None:
    """Run a command; what a user did wrong, or the machine lacks, is one sentence and exit code 2, no traceback."""
    warnings.showwarning = told = Warnings()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files are any bytes, and terminals not all UTF-8
    try:
        try:
            with prompt_end():
                tokenlens(standalone_mode=False)
        finally:
            told.close()
    except BadInput as error:
        _end(f"Error: {error}", 2)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        said = error.format_message()
        _end(f"Error: {said if len(said) < LONGEST else f'{said[:LONGEST]} ...'}", error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _end(STOPPED, INTERRUPTED)
    except Terminated:
        _end(STOPPED, TERMINATED)
    except MemoryError as error:
        _end(f"Error: the memory does not suffice ({error}); give fewer images at a time, or leave more of it free", 2)
    except OSError as error:
        _end(f"Error: {_lost_output(error) or _refused(error)}", 2)


def _end(said: str, code: int) -> NoReturn:
    with suppress(OSError):  # nowhere to say it; the code says that something is wrong
        click.echo(said, err=True)
    sys.exit(code)


def _lost_output(error: OSError) -> str:
    """What is wrong with standard output, where printing failed; what could not be written is then let go."""
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    if frame.f_code is not click.echo.__code__:
        return ""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would try the rest again at its end
    return f"standard output cannot be written ({error.strerror}); what was made is kept, send the words elsewhere"


def _refused(error: OSError) -> str:
    """A file, folder or address that the machine refuses, where nobody nearer to it had a word for it."""
    what = f"{error.filename} cannot be used" if error.filename else "the machine refuses"
    return f"{what} ({error.strerror or error}); look at what lies there and at its permissions"
