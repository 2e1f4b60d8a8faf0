"""`tokenlens demo`: the whole walk on what comes with the package."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill

import click

from .listing import WIDTH
from .options import DEVICE, examples, list_option

EXAMPLES = examples(
    "tokenlens demo",
    "tokenlens demo --photographs",
    "tokenlens demo --images 64 --out somewhere",
    "tokenlens demo --method topk,pitome,mctf,dtem,l2,random",
)


@click.command(epilog=EXAMPLES)
@click.option(
    "--photographs", is_flag=True, help="Ten photographs through DINOv2-S instead; with the extra photographs."
)
@click.option("--images", type=click.IntRange(min=8), help="How many.  [default: 256, or all there are]")
@list_option("--method", help="One or more, between commas.  [default: those of the study]")
@click.option("--device", type=DEVICE, default="auto", show_default=True, help="Where to compute.")
@click.option("--out", type=click.Path(path_type=Path), default="demo", show_default=True, help="Folder.")
def demo(photographs: bool, images: int | None, method: tuple[str, ...], device: str, out: Path) -> None:
    """Extract, compare, draw and report every method, on the embedded images and weights; minutes, offline.

    Prints of each method accuracy, tokens left, the share of the object's patches that were kept, and the overlap
    with a disc around the centre (l2) and with chance (random); a line on each of the study's findings; and last the
    page to look at.
    """
    from ..workflows.demo import EMBEDDED, PHOTOGRAPHS
    from ..workflows.demo import demo as run_demo

    def tell(text: str) -> None:
        click.echo(fill(text, WIDTH, subsequent_indent="     "), err=True)

    for line in run_demo(out, PHOTOGRAPHS if photographs else EMBEDDED, images, device, method or None, tell):
        click.echo(line)
