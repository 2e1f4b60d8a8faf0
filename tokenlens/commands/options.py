"""What a user writes between commas and slashes, and the options that say which models are meant."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from ..errors import BadInput


def words(value: str | None) -> list[str]:
    """Split at commas: several runs in one call."""
    return [word.strip() for word in (value or "").split(",") if word.strip()]


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
    "batch size": "1,32",
}


def model_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of `tokenlens.extraction.reduced_models.Models`; the command gets its fields as a dict, `asked`."""

    @wraps(command)
    def parsed(method: str | None, keep_rate: str, keep: str, blocks: str, **settings: Any) -> None:
        rates = [numbers(rate, float, "keep rate") for rate in words(keep_rate)]
        asked = {name: settings.pop(name) for name in _AS_THEY_ARE}
        asked["methods"] = None if method is None else words(method)
        asked["keep_rates"] = [rate[0] if len(rate) == 1 else rate for rate in rates]
        asked["keep"] = numbers(keep, int, "keep") if keep else None
        asked["blocks"] = numbers(blocks, int, "blocks", ",") if blocks else None
        command(asked=asked, **settings)

    for option in reversed(_MODELS):
        option(parsed)
    return parsed


_AS_THEY_ARE = ("remove", "decreasing", "options", "model", "weights", "heads", "device", "seed")
allow_remote = click.option(
    "--allow-remote", is_flag=True, help="Fetch from the network what only a file names: a run, a header, a recipe."
)
SEED = click.IntRange(0, 2**63 - 1)  # torch counts no further
_COUNT = click.IntRange(min=1)
_WHERE = click.Choice(["auto", "cpu", "cuda"])
_MODELS = [
    click.option("--method", help="One or more, between commas.  [default: topk, or what --weights says]"),
    click.option(
        "--keep-rate", help="One or more, between commas; 0.7/0.5/0.3 is one a block.  [default: 0.5, or as above]"
    ),
    click.option("--keep", help="Counts instead of rates: patch tokens left after each block, 98/49/24."),
    click.option(
        "--remove", type=click.IntRange(min=1), help="Off the shelf instead: so many tokens go at every block."
    ),
    click.option(
        "--decreasing", is_flag=True, help="With --remove: twice as many at the first block, none at the last."
    ),
    click.option("--blocks", help="Where to reduce, 0-indexed.  [default: 3,6,9, or as above]"),
    click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Of the method; repeatable."),
    click.option("--model", help="nano, or a timm name.  [default: nano, or what --weights says]"),
    click.option("--weights", help="A file, hf:owner/name, or random.  [default: the published ones]"),
    click.option("--heads", type=_COUNT, help="Attention heads, where neither name nor weights tell."),
    click.option("--device", type=_WHERE, default="auto", show_default=True, help="Where to compute."),
    click.option("--seed", type=SEED, default=0, show_default=True, help="Of whatever is drawn."),
]
