"""The grammar that all commands share: lists, numbers, folders of runs, examples, and which models are meant.

Whatever takes a list takes commas and repetition alike: `--method a,b --method c`. NAME=VALUE lists are split at the
commas before the next name only, so that a value may hold commas of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from ..errors import BadInput
from ..records.place import place

Command = Callable[..., None]
SEED = click.IntRange(0, 2**63 - 1)  # torch counts no further
DEVICE = click.Choice(["auto", "cpu", "cuda"])
_COUNT = click.IntRange(min=1)


class _Place(click.ParamType):  # type: ignore[type-arg]  # not generic in older Click
    """A path of this machine, or of an object store."""

    name = "path"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        return place(value)


PLACE = _Place()
_BEFORE_A_NAME = re.compile(r",(?=\s*[\w.-]+\s*=)")


def items(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """Split what was given at commas; () where nothing was given."""
    return _split(parameter, given, re.compile(","))


def _pairs(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    return _split(parameter, given, _BEFORE_A_NAME)


def _split(parameter: click.Parameter, given: tuple[str, ...], comma: re.Pattern[str]) -> tuple[str, ...]:
    found = tuple(word.strip() for text in given for word in comma.split(text) if word.strip())
    if given and not found:
        raise BadInput(f"{parameter.opts[-1]} {','.join(given)!r} names nothing; name one or more, or leave it out")
    return found


def list_option(*names: str, **settings: Any) -> Callable[[Command], Command]:
    """An option of several values, between commas or repeated; the command gets a tuple."""
    return click.option(*names, multiple=True, callback=items, **settings)


def pairs_option(*names: str, metavar: str = "NAME=VALUE,...", **settings: Any) -> Callable[[Command], Command]:
    """An option of several NAME=VALUE, between commas or repeated; the command gets a tuple of them."""
    return click.option(*names, multiple=True, callback=_pairs, metavar=metavar, **settings)


def pictures_of(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> int | tuple[str, ...]:
    """How many pictures, or which: one whole number, or the names of some."""
    named = items(context, parameter, given)
    if len(named) != 1 or not named[0].lstrip("-").isdecimal():
        return named
    return int(_COUNT(named[0], parameter, context))


def pictures_option(default: int, help: str) -> Callable[[Command], Command]:
    """`--images`, a count or names; the command gets it as `images`."""
    return click.option(
        "--images", multiple=True, default=[str(default)], callback=pictures_of, metavar="NUMBER|NAME,...",
        help=f"{help}  [default: {default}]",
    )  # fmt: skip


def where_option(what: str = "Runs") -> Callable[[Command], Command]:
    """`--where`, whose grammar is that of `tokenlens.records.where`; the command gets a tuple of texts."""
    help = f"{what} with these attributes only: dataset=embedded:shapes,model=nano; one of several: method=topk|tome."
    return click.option("--where", multiple=True, metavar="KEY=VALUE,...", help=help)


def remote_option(command: Command) -> Command:
    """`--allow-remote`; the command gets it as `allow_remote`."""
    help = "Fetch from the network what only a file names: a run, a header, a recipe."
    return click.option("--allow-remote", is_flag=True, help=help)(command)


def graph_option(command: Command) -> Command:
    """`--graph`, of a command that runs a model on many batches; the command gets it as `graph`."""
    help = "One CUDA graph a forward pass; auto: on a GPU, where a method can be captured."
    choice = click.Choice(["auto", "yes", "no"])
    return click.option("--graph", type=choice, default="auto", show_default=True, help=help)(command)


def shard_option(command: Command) -> Command:
    """`--shard`, of a command that several processes may carry out together."""
    help = "Be one of several processes: 3/64.  [default: as torchrun and accelerate launch say]"
    return click.option("--shard", metavar="NUMBER/OF", help=help)(command)


def examples(*lines: str) -> str:
    """The end of a command's help, as it is."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def numbers(value: str, kind: Any, what: str, separator: str = "/") -> list[Any]:
    """Numbers between separators, or BadInput."""
    try:
        return [kind(word) for word in value.split(separator)]
    except ValueError as error:
        raise BadInput(f"{what} {value!r} is not made of numbers; for example {_EXAMPLES[what]}") from error


_EXAMPLES = {
    "keep rate": "0.5, or 0.7/0.5/0.3 for one a block",
    "blocks": "3,6,9",
    "keep": "98/49/24",
    "remove": "8, or 0,8,16 for several",
    "batch size": "1,32",
    "ratio": "0.3,0.5",
    "steps": "0,10,25",
}


def blocks_of(words: tuple[str, ...]) -> list[int] | None:
    """What `--blocks` says; None where it says nothing."""
    return numbers(",".join(words), int, "blocks", ",") if words else None


def rate_of(text: str) -> float | list[float]:
    """One keep rate, or one for each block: "0.5", "0.7/0.5/0.3"."""
    rates = numbers(text, float, "keep rate")
    return rates[0] if len(rates) == 1 else rates


def there(option: str, folder: Path | None, default: str) -> Path:
    """A folder that is named has to be there; the default one need not."""
    if folder is not None and not folder.is_dir():
        what = option.strip("-")
        raise BadInput(f"there is no folder {folder}; say with {option} where the {what} are, or leave the option out")
    return Path(default) if folder is None else folder


def runs_argument(command: Command) -> Command:
    """RUNS, a folder: the command's argument, or as ever its option --runs; the command gets it as `runs`, or None."""

    @wraps(command)
    def parsed(runs: Path | None, runs_option: Path | None, **settings: Any) -> None:
        if runs is not None and runs_option is not None:
            raise BadInput(f"two folders of runs are given, {runs} and --runs {runs_option}; give one")
        command(runs=runs_option if runs is None else runs, **settings)

    click.option("--runs", "runs_option", type=PLACE, metavar="RUNS", help="The same as the argument.")(parsed)
    click.argument("runs", required=False, type=PLACE)(parsed)
    return parsed


def model_options(command: Command) -> Command:
    """The options of `tokenlens.extraction.reduced_models.Models`; the command gets its fields as a dict, `models`."""

    @wraps(command)
    def parsed(
        method: tuple[str, ...],
        keep_rate: tuple[str, ...],
        keep: str,
        blocks: Any,
        remove: tuple[str, ...],
        **settings: Any,
    ) -> None:
        models = {name: settings.pop(name) for name in _AS_THEY_ARE}
        models["methods"] = method or None
        models["keep_rates"] = [rate_of(rate) for rate in keep_rate]
        models["keep"] = numbers(keep, int, "keep") if keep else None
        models["blocks"] = blocks_of(blocks)
        models["remove"] = numbers(",".join(remove), int, "remove", ",") if remove else None
        command(models=models, **settings)

    for option in reversed(_MODELS):
        option(parsed)
    return parsed


_AS_THEY_ARE = ("decreasing", "options", "model", "weights", "heads", "img_size", "device", "seed")
_MODELS: list[Callable[[Command], Command]] = [
    list_option(
        "--method", help="One or more, a family, or all, between commas.  [default: topk, or what --weights says]"
    ),
    list_option(
        "--keep-rate", help="One or more, between commas; 0.7/0.5/0.3 is one a block.  [default: 0.5, or as above]"
    ),
    click.option("--keep", help="Counts instead of rates: patch tokens left after each block, 98/49/24."),
    list_option("--remove", help="Off the shelf instead: so many tokens go at every block; 0,8,16 makes three runs."),
    click.option(
        "--decreasing", is_flag=True, help="With --remove: twice as many at the first block, none at the last."
    ),
    list_option("--blocks", help="Where to reduce, 0-indexed.  [default: 3,6,9, or as above]"),
    pairs_option("--option", "options", help="Of the method, as `tokenlens methods NAME` lists them."),
    click.option(
        "--model",
        help="nano, a timm name, hf:OWNER/NAME, torchvision:NAME, or a folder of transformers.  "
        "[default: nano, or what --weights says]",
    ),
    click.option("--weights", help="A file, hf:owner/name, dinov2-small, or random.  [default: the published ones]"),
    click.option("--heads", type=_COUNT, help="Attention heads, where neither name nor weights tell."),
    click.option(
        "--img-size", type=_COUNT, help="Pixels of an image's side; positions are interpolated.  [default: the model's]"
    ),
    click.option("--device", type=DEVICE, default="auto", show_default=True, help="Where to compute."),
    click.option("--seed", type=SEED, default=0, show_default=True, help="Of whatever is drawn."),
]
