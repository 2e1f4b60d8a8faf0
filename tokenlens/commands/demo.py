"""`tokenlens demo`: the whole walk on what comes with the package."""

from __future__ import annotations

from pathlib import Path

import click

from .options import DEVICE, examples, list_option

EXAMPLES = examples(
    "tokenlens demo",
    "tokenlens demo --images 64 --out somewhere",
    "tokenlens demo --method topk,pitome,mctf,dtem,l2,random",
)


@click.command(epilog=EXAMPLES)
@click.option("--images", type=click.IntRange(min=8), default=256, show_default=True, help="Held-out images.")
@list_option("--method", help="One or more, between commas.  [default: those of the study]")
@click.option("--device", type=DEVICE, default="auto", show_default=True, help="Where to compute.")
@click.option("--out", type=click.Path(path_type=Path), default="demo", show_default=True, help="Folder.")
def demo(images: int, method: tuple[str, ...], device: str, out: Path) -> None:
    """Extract, compare, draw and report every method, on the embedded images and weights; minutes, offline.

    Prints the study's findings, and of each run accuracy, tokens left, the share of the object's patches that were
    kept, and the overlap with a disc around the centre (l2) and with chance (random).
    """
    from ..workflows.demo import demo as run_demo

    for line in run_demo(out, images, device, method or None):
        click.echo(line)
