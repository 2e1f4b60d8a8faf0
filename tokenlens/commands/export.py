"""`tokenlens export`: a reduced model as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import examples, model_options

EXAMPLES = examples(
    "tokenlens export --method topk --keep-rate 0.5 --out topk.onnx",
    "tokenlens export --weights finetuned/NAME/best.safetensors --opset 20",
)


@click.command(epilog=EXAMPLES)
@model_options
@click.option("--out", type=click.Path(path_type=Path), default="model.onnx", show_default=True, help="File to write.")
@click.option("--opset", type=click.IntRange(min=18), default=18, show_default=True, help="Of ONNX.")
def export(models: dict[str, Any], **settings: Any) -> None:
    """Write a reduced model as ONNX, for any batch size.

    The file is put in place once onnxruntime gives the same logits as torch, to 1e-4. Methods that draw, cluster, or
    keep another number of tokens in every image are refused.
    """
    from ..export import Export

    click.echo(Export(**settings, **models).run())
