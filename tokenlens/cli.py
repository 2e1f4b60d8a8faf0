"""The command line. Commands parse words and call one function; the wings add theirs through entry points.

Nothing heavy is imported before a command runs, so that `--help` is quick.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click

from . import __version__
from .errors import BadInput


class Commands(click.Group):
    """Our own commands, and those that the entry-point group `tokenlens.commands` names."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *sorted(entry.name for entry in entry_points(group="tokenlens.commands"))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        found = list(entry_points(group="tokenlens.commands", name=cmd_name))
        return found[0].load() if found else None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            if not near:
                raise
            raise click.UsageError(f"{error.message} Did you mean {near[0]!r}?", ctx) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="tokenlens")
def tokenlens() -> None:
    """Which tokens does a Vision Transformer keep or merge?

    Extract the patterns of token reduction methods, compare them, and draw them.

    \b
    tokenlens demo                    everything once, on what comes with the package
    tokenlens extract --method topk   patterns of one method into ./runs
    tokenlens compare                 all runs in ./runs against each other into ./results
    tokenlens figures                 pictures of the runs into ./figures-out
    """  # noqa: D301  a raw docstring would not hold the backspace that keeps Click from wrapping


def main() -> None:
    """Run a command; what a user did wrong is one sentence and exit code 2, without a traceback."""
    try:
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
        click.echo("Stopped. What was written is kept; the same command goes on from there.", err=True)
        sys.exit(130)


def words(value: str | None) -> list[str]:
    """Split at commas: several runs in one call."""
    return [word.strip() for word in (value or "").split(",") if word.strip()]


def numbers(value: str, kind: Any, what: str, separator: str = "/") -> list[Any]:
    """Numbers between separators, or BadInput."""
    try:
        return [kind(word) for word in value.split(separator)]
    except ValueError as error:
        raise BadInput(f"{what} {value!r} is not made of numbers; for example {_EXAMPLES[what]}") from error


_EXAMPLES = {"keep rate": "0.5, or 0.7/0.5/0.3 for one a block", "blocks": "3,6,9", "keep": "98/49/24"}


@tokenlens.command()
@click.option("--method", "method", default="topk", show_default=True, help="One or more, between commas.")
@click.option(
    "--keep-rate", "keep_rate", help="One or more, between commas; 0.7/0.5/0.3 is one a block.  [default: 0.5]"
)
@click.option("--keep", help="Counts instead of rates: patch tokens left after each block, 98/49/24.")
@click.option("--remove", type=click.IntRange(min=1), help="Off the shelf instead: so many tokens go at every block.")
@click.option("--decreasing", is_flag=True, help="With --remove: twice as many at the first block, none at the last.")
@click.option("--blocks", help="Where to reduce, 0-indexed.  [default: 3,6,9]")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="An option of the method; repeatable.")
@click.option("--model", help="nano, or a timm name.  [default: nano, or what --weights says]")
@click.option("--weights", help="A file, hf:owner/name, or random.  [default: the published ones]")
@click.option("--heads", type=click.IntRange(min=1), help="Attention heads, where neither name nor weights tell.")
@click.option("--data", default="embedded:shapes", show_default=True, help="embedded:NAME or folder:PATH.")
@click.option("--split", default="val", show_default=True, help="Part of the data: train, val or test.")
@click.option("--limit", type=click.IntRange(min=1), help="Only so many images.  [default: 1000 of an embedded set]")
@click.option("--skip-bad", is_flag=True, help="Leave out files that cannot be read, instead of refusing.")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Images at a time.")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to compute."
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="auto",
    show_default=True,
    help="auto: float32 on CPU, bfloat16 on CUDA.",
)
@click.option("--workers", type=click.IntRange(min=0), default=0, show_default=True, help="Processes that read images.")
@click.option("--features", is_flag=True, help="Store class-token features too.")
@click.option("--soft", is_flag=True, help="Store the soft maps of soft mergers too.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of whatever is drawn.")
@click.option("--out", type=click.Path(path_type=Path), default="runs", show_default=True, help="Folder of runs.")
def extract(**settings: Any) -> None:
    """Extract the patterns of one or more methods into a folder of runs.

    A run that was stopped goes on where it was, a finished one is left alone.

    \b
    tokenlens extract --method topk,tome,random --keep-rate 0.25,0.5
    tokenlens extract --method atc-average --data folder:photos --model deit_small_patch16_224
    tokenlens extract --weights best_checkpoint.pth --method dpcknn --keep-rate 0.5
    """  # noqa: D301
    from .jobs import Job

    rates = [numbers(rate, float, "keep rate") for rate in words(settings.pop("keep_rate"))]
    keep, blocks = settings.pop("keep"), settings.pop("blocks")
    job = Job(
        methods=words(settings.pop("method")),
        keep_rates=[rate[0] if len(rate) == 1 else rate for rate in rates],
        keep=numbers(keep, int, "keep") if keep else None,
        blocks=numbers(blocks, int, "blocks", ",") if blocks else None,
        **settings,
    )
    for result in job.run():
        click.echo(result)


@tokenlens.command()
@click.option("--images", type=click.IntRange(min=8), default=256, show_default=True, help="Held-out images.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default="demo", show_default=True)
@click.pass_context
def demo(ctx: click.Context, images: int, device: str, out: Path) -> None:
    """Extract, compare and draw every method, on the embedded images and weights; minutes, offline.

    Prints accuracy, tokens left, the share of the object's patches that were kept, and the overlap with a disc around
    the centre (l2) and with chance (random); writes a contact sheet.
    """
    from .demo import demo as run_demo

    def command(name: str, words: list[str]) -> None:
        found = tokenlens.get_command(ctx, name)
        assert found is not None, f"the command {name} is not installed"
        found.main(words, standalone_mode=False)

    for line in run_demo(out, images, device, command):
        click.echo(line)


@tokenlens.command()
def methods() -> None:
    """List the methods: what they do, what they need, where they come from."""
    from .methods import methods as registered

    rows: list[tuple[str, ...]] = [("method", "family", "training", "needs", "paper", "options", "what it does")]
    for name, method in registered().items():
        reducer = method.reducer
        options = ", ".join(f"{option}={value}" for option, value in method.defaults.items())
        cells = ("needed" if reducer.trained else "", ", ".join(reducer.needs), reducer.paper, options)
        rows.append((name, reducer.family, *(cell or "-" for cell in cells), method.card))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    for row in rows:
        click.echo("  ".join([*(word.ljust(width) for word, width in zip(row, widths, strict=False)), row[6]]))
