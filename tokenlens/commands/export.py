"""`tokenlens export`: a reduced model as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import model_options


@click.command()
@model_options
@click.option("--out", type=click.Path(path_type=Path), default="model.onnx", show_default=True, help="File to write.")
@click.option("--opset", type=click.IntRange(min=18), default=18, show_default=True, help="Of ONNX.")
def export(asked: dict[str, Any], **settings: Any) -> None:
    """Write a reduced model as ONNX, for any batch size.

    The file is put in place once onnxruntime gives the same logits as torch, to 1e-4. Methods that draw, cluster, or
    keep another number of tokens in every image are refused.

    \b
    tokenlens export --method topk --keep-rate 0.5 --out topk.onnx
    tokenlens export --weights finetuned/best.safetensors --opset 20
    """  # noqa: D301
    from ..export import Export

    click.echo(Export(**settings, **asked).run())
