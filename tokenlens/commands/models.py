"""`tokenlens models`: which models can be reduced."""

from __future__ import annotations

import click

from .listing import Row, json_option, show
from .options import examples, items


@click.command(
    "models",
    epilog=examples("tokenlens models", "tokenlens models dinov3", "tokenlens models 'vit_small*' --json"),
)
@json_option("All that is known")
@click.argument("search", nargs=-1, metavar="[SEARCH]...", callback=items)
def models(search: tuple[str, ...], as_json: bool) -> None:
    """List the models that --model takes: their family, class token and positions.

    With words those whose names hold one of them, or fit one with * in it; where none can be reduced, why.
    """
    from ..hosts.catalogue import hosted

    rows = []
    for name, host in hosted(search):
        token = "class token" if host.has_class_token else "no class token"
        facts = {"class token": host.has_class_token, "positions in every block": host.has_positions}
        rows.append(Row(name, host.family, f"{token}{', positions in blocks' * host.has_positions}", facts))
    show("model", rows, as_json=as_json)
