"""Reduced models as ONNX files, checked in onnxruntime before they are put in place."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .core.reduced_vit import ReducedViT
from .errors import BadInput
from .extraction.reduced_models import Models
from .hosts.loading import input_of
from .methods import methods
from .records.atomic import whole

OPSET = 18
TOLERANCE = 1e-4
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
LARGEST = 2_000_000_000  # bytes; a single ONNX file holds no more


@dataclass
class Export(Models):
    """What `tokenlens export` was asked for; the fields are its options."""

    out: Path = Path("model.onnx")
    opset: int = OPSET

    def run(self) -> str:
        """Do it; returns a line on what was written."""
        asked = self.completed()
        planned = asked.planned()
        if len(planned) != 1:
            raise BadInput(f"{len(planned)} models were asked for and a file holds one; give one method and keep rate")
        ((name, amount),) = planned
        check_portable(name)
        host = asked.host()
        model = asked.build(host, name, amount)
        differs = export_onnx(model, asked.out, asked.opset, _told(model, name, host.model))
        left = " ".join(map(str, model.keep))
        return (
            f"{name} of {host.model}, asked to leave {left} tokens: {asked.out}, opset {asked.opset}, "
            f"{asked.out.stat().st_size / 1e6:.1f} MB, within {differs:.1e} of torch in onnxruntime"
        )


def check_portable(name: str) -> None:
    """Refuse a method that ONNX cannot express: one that draws, clusters, or keeps another number in every image."""
    if not methods()[name].reducer.portable:
        able = ", ".join(name for name, method in methods().items() if method.reducer.portable)
        raise BadInput(f"{name} decides in a way that ONNX cannot express; methods that can be exported: {able}")


def export_onnx(model: ReducedViT, path: Path, opset: int = OPSET, told: dict[str, str] | None = None) -> float:
    """Write a model: images (batch, 3, H, W) float32 -> logits (batch, classes), for any batch size.

    Args:
        model: of a method that is `portable`.
        path: of the file; a file that is there is replaced, once the new one has passed the check.
        opset: of ONNX, 18 or newer.
        told: what to write into the file's metadata.

    Returns:
        The largest difference of a logit in onnxruntime from torch's, over the largest logit where that exceeds 1.

    Raises:
        BadInput: a package is missing, the file would be too large, the exporter fails, the two runtimes differ by more
            than 1e-4, or the file cannot be written.
    """
    _check_packages()
    size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    if size > LARGEST:
        raise BadInput(f"the model has {size / 1e9:.1f} GB of weights and an ONNX file holds 2; take a smaller model")
    model = model.eval().float().cpu()
    config = input_of(model.vit)
    images = torch.randn(3, *config["input_size"], generator=torch.Generator().manual_seed(0))
    with whole(path) as partial:
        _write(model, images[:2], partial, opset, told or {})
        try:
            differs = max(_difference(model, images[:count], partial) for count in (3, 1))
        except Exception as error:  # onnxruntime has its own, and no base for them
            reason = str(error).split("\n")[0]
            raise BadInput(f"onnxruntime cannot run it at opset {opset} ({reason}); try another --opset") from error
        if not differs <= TOLERANCE:  # NaN is refused too
            raise BadInput(
                f"in onnxruntime the exported model differs from torch by {differs:.1e}, more than {TOLERANCE:g}, so "
                "nothing was written; look at the weights, or try another --opset"
            )
    return differs


def _check_packages() -> None:
    for package in PACKAGES:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise BadInput(
                f"writing ONNX needs {package}, which is not installed; pip install tokenlens-vit[export]"
            ) from error


def _write(model: ReducedViT, images: Tensor, path: Path, opset: int, told: dict[str, str]) -> None:
    batch = torch.export.Dim("batch")
    names: dict[str, Any] = {"input_names": ["images"], "output_names": ["logits"]}
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                model, (images,), dynamo=True, opset_version=opset, dynamic_shapes=({0: batch},), verbose=False, **names
            )
    except Exception as error:  # the exporter fails in many ways of its own, and of onnxscript's
        reason = str(error).split("\n")[0]
        raise BadInput(f"the model cannot be exported at opset {opset} ({reason}); try another --opset") from error
    assert program is not None
    program.model.metadata_props.update(told)
    program.save(path, external_data=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns and logs about matters of its own; what counts is checked afterwards."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@torch.no_grad()
def _difference(model: ReducedViT, images: Tensor, path: Path) -> float:
    onnxruntime: Any = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # it would print what is raised
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    wanted = model(images)
    (found,) = session.run(None, {"images": images.numpy()})
    largest = max(1.0, float(wanted.abs().max()))
    return float((torch.from_numpy(found) - wanted).abs().max()) / largest


def _told(model: ReducedViT, method: str, host: str) -> dict[str, str]:
    config, left = input_of(model.vit), model.keep
    words = {"method": method, "model": host, "blocks": model.blocks, "keep": left}
    words |= {name: config[name] for name in ("mean", "std", "interpolation", "crop_pct")}
    listed = {name: " ".join(map(str, value)) if isinstance(value, tuple) else value for name, value in words.items()}
    return {f"tokenlens.{name}": str(value) for name, value in listed.items()}
