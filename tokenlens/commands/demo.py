"""`tokenlens demo`: the whole walk on what comes with the package."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--images", type=click.IntRange(min=8), default=256, show_default=True, help="Held-out images.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default="demo", show_default=True)
@click.pass_context
def demo(ctx: click.Context, images: int, device: str, out: Path) -> None:
    """Extract, compare, draw and report every method, on the embedded images and weights; minutes, offline.

    Prints the study's findings, and of each run accuracy, tokens left, the share of the object's patches that were
    kept, and the overlap with a disc around the centre (l2) and with chance (random).
    """
    from ..workflows.demo import demo as run_demo

    def command(name: str, words: list[str]) -> None:
        group = ctx.find_root().command
        assert isinstance(group, click.Group)
        found = group.get_command(ctx, name)
        assert found is not None, f"the command {name} is not installed"
        found.main(words, standalone_mode=False)

    for line in run_demo(out, images, device, command):
        click.echo(line)
