"""`tokenlens demo`: the whole walk on what comes with the package."""

from __future__ import annotations

from pathlib import Path

import click

from .options import DEVICE, examples

EXAMPLES = examples(
    "tokenlens demo",
    "tokenlens demo --images 64 --out somewhere",
)


@click.command(epilog=EXAMPLES)
@click.option("--images", type=click.IntRange(min=8), default=256, show_default=True, help="Held-out images.")
@click.option("--device", type=DEVICE, default="auto", show_default=True, help="Where to compute.")
@click.option("--out", type=click.Path(path_type=Path), default="demo", show_default=True, help="Folder.")
def demo(images: int, device: str, out: Path) -> None:
    """Extract, compare, draw and report every method, on the embedded images and weights; minutes, offline.

    Prints the study's findings, and of each run accuracy, tokens left, the share of the object's patches that were
    kept, and the overlap with a disc around the centre (l2) and with chance (random).
    """
    from ..workflows.demo import demo as run_demo

    for line in run_demo(out, images, device):
        click.echo(line)
