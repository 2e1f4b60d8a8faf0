"""`tokenlens methods`: what there is to choose from."""

from __future__ import annotations

import click


@click.command()
def methods() -> None:
    """List the methods: what they do, what they need, where they come from."""
    from ..methods import methods as registered

    rows: list[tuple[str, ...]] = [("method", "family", "training", "needs", "paper", "options", "what it does")]
    for name, method in registered().items():
        reducer = method.reducer
        options = ", ".join(f"{option}={value}" for option, value in method.defaults.items())
        cells = ("needed" if reducer.trained else "", ", ".join(reducer.needs), reducer.paper, options)
        rows.append((name, reducer.family, *(cell or "-" for cell in cells), method.card))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    for row in rows:
        click.echo("  ".join([*(word.ljust(width) for word, width in zip(row, widths, strict=False)), row[6]]))
