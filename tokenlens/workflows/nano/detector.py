"""Train the nano detector on the embedded set `scenes`: `python -m tokenlens.workflows.nano.detector --help`.

The ViT starts from the backbone `nano`; no tokens are reduced in training. Pictures are drawn once, by all cores, and
kept in memory (and in a file, with `--cache`); each is seen mirrored every other time. The learning rate falls to zero
over the minutes that are given.

Shapes: B images, G objects of an image.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from tokenlens.data.embedded.scenes import CLASSES, painted, visible
from tokenlens.detection.evaluation import average_precision
from tokenlens.detection.mask_rcnn import Frame, MaskRCNN, Objects
from tokenlens.detection.nano import NANO
from tokenlens.errors import BadInput
from tokenlens.weights import nano_path
from tokenlens.workflows.nano.train import learning_rate, normalised, parameter_groups

log = logging.getLogger(__name__)
MOST = 5  # objects of a picture
CHUNK = 250  # pictures that a process draws at once
SIDE, SEEN = 112, NANO.short
WARMUP = 0.03  # of all time


@dataclass
class Pictures:
    """Drawn pictures, in memory."""

    images: NDArray[np.uint8]
    """(n, 112, 112, 3)"""
    classes: NDArray[np.int64]
    """(n, 5); -1: there are fewer objects"""
    masks: NDArray[np.uint8]
    """(n, 5, 112, 14): eight pixels a byte"""


def draw(split: str, first: int, last: int) -> Pictures:
    """Pictures `first` to `last` of a split."""
    count = last - first
    images = np.zeros((count, SIDE, SIDE, 3), np.uint8)
    kinds, masks = np.full((count, MOST), -1), np.zeros((count, MOST, SIDE, SIDE), bool)
    for row, index in enumerate(range(first, last)):
        images[row], classes, covers = painted(split, index)
        kinds[row, : len(classes)], masks[row, : len(classes)] = classes, visible(covers)
    return Pictures(images, kinds, np.packbits(masks, axis=-1))


def cached(split: str, count: int, cache: Path | None, workers: int) -> Pictures:
    """The first `count` pictures of a split, drawn by many processes, or read from where an earlier run put them."""
    path = None if cache is None else cache.with_name(f"{cache.stem}-{split}-{count}.npz")
    if path is not None and path.is_file():
        with np.load(path) as there:
            return Pictures(there["images"], there["classes"], there["masks"])
    starts = range(0, count, CHUNK)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        ends = [min(start + CHUNK, count) for start in starts]
        parts = list(pool.map(draw, [split] * len(starts), starts, ends))
    found = Pictures(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("images", "classes", "masks"))
    )
    if path is not None:
        np.savez(path, images=found.images, classes=found.classes, masks=found.masks)
    return found


def boxes_of(masks: Tensor) -> Tensor:
    """(G, 4) float32: the boxes around masks (G, H, W) bool, none of them empty."""
    found = []
    for axis in (1, 2):  # columns, then rows, that hold a pixel
        there = masks.any(axis).to(torch.int64)
        first, last = there.argmax(1), there.shape[1] - there.flip(1).argmax(1)
        found.append((first, last))
    (left, right), (top, bottom) = found
    return torch.stack([left, top, right, bottom], 1).float()


def batch_of(pictures: Pictures, rows: NDArray[np.int64], flip: bool, device: str) -> tuple[Tensor, list[Objects]]:
    """Images (B, 3, 224, 224) as the detector sees them, and what is to be found in each."""
    images = torch.from_numpy(pictures.images[rows]).to(device).permute(0, 3, 1, 2)
    masks = torch.from_numpy(np.unpackbits(pictures.masks[rows], axis=-1)).to(device).bool()
    if flip:
        images, masks = images.flip(-1), masks.flip(-1)
    seen = functional.interpolate(normalised(images), (SEEN, SEEN), mode="bilinear")
    objects = []
    for kinds, of in zip(pictures.classes[rows], masks, strict=True):
        count = int((kinds >= 0).sum())
        there = of[:count].repeat_interleave(SEEN // SIDE, 1).repeat_interleave(SEEN // SIDE, 2)
        objects.append(Objects(boxes_of(there), torch.from_numpy(kinds[:count]).to(device), there))
    return seen, objects


def batches(pictures: Pictures, size: int, device: str) -> Iterator[tuple[Tensor, list[Objects]]]:
    """Without end, in an order drawn anew in each round."""
    rng = np.random.default_rng(0)
    while True:
        order = rng.permutation(len(pictures.images))
        for start in range(0, len(order) - size + 1, size):
            yield batch_of(pictures, order[start : start + size], bool(rng.integers(2)), device)


@torch.no_grad()
def precision(model: MaskRCNN, pictures: Pictures, device: str, size: int = 32) -> dict[str, float]:
    """AP and AP50 of boxes over all of these pictures, in percent."""
    model.eval()
    truth: dict[str, Any] = {"images": [], "annotations": []}
    truth["categories"] = [{"id": number, "name": name} for number, name in enumerate(CLASSES)]
    results: list[dict[str, Any]] = []
    for start in range(0, len(pictures.images), size):
        rows = np.arange(start, min(start + size, len(pictures.images)))
        images, objects = batch_of(pictures, rows, False, device)
        found = model(images, [Frame((SEEN, SEEN), (SEEN, SEEN))] * len(rows))
        for row, there, seen in zip(rows.tolist(), objects, found, strict=True):
            truth["images"].append({"id": row, "height": SEEN, "width": SEEN})
            for box, kind in zip(_sided(there.boxes), there.classes.tolist(), strict=True):
                number = len(truth["annotations"]) + 1
                truth["annotations"].append({"id": number, "image_id": row, "category_id": kind, "bbox": box,
                                             "area": box[2] * box[3], "iscrowd": 0})  # fmt: skip
            results += [
                {"image_id": row, "category_id": kind, "bbox": box, "score": score}
                for box, kind, score in zip(
                    _sided(seen.boxes), seen.classes.tolist(), seen.scores.tolist(), strict=True
                )
            ]
    model.train()
    return average_precision(truth, results)


def _sided(boxes: Tensor) -> list[list[float]]:
    """COCO's boxes: the corner, width and height."""
    return torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).tolist()


def started(seed: int = 0) -> MaskRCNN:
    """A detector whose ViT is `nano`'s: patches of eight pixels, seen at twice their size."""
    torch.manual_seed(seed)
    model = MaskRCNN(NANO)
    state = {name: weight.float() for name, weight in load_file(nano_path()).items()}
    kernel = state["patch_embed.proj.weight"]
    state["patch_embed.proj.weight"] = kernel.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4
    own = model.backbone.state_dict()
    model.backbone.load_state_dict({name: weight for name, weight in state.items() if name in own}, strict=False)
    return model


def save(model: nn.Module, out: Path) -> None:
    """The weights in float16."""
    state = {
        name: weight.half() if weight.is_floating_point() else weight for name, weight in model.state_dict().items()
    }
    save_file({name: weight.cpu().contiguous() for name, weight in state.items()}, out)


@click.command()
@click.option("--device", default="cpu", show_default=True)
@click.option("--minutes", default=8.0, show_default=True, help="Time to train, without the drawing before it.")
@click.option("--out", type=click.Path(path_type=Path), default="nano-detector.safetensors", show_default=True)
@click.option("--cache", type=click.Path(path_type=Path), help="Keep the drawn pictures beside this name.")
@click.option("--pictures", default=24000, show_default=True, help="Drawn to train on.")
@click.option("--held-out", default=512, show_default=True, help="Pictures of the split val that AP is taken of.")
@click.option("--batch", default=32, show_default=True)
@click.option("--rate", default=1e-3, show_default=True, help="Highest learning rate.")
@click.option("--workers", default=os.cpu_count(), show_default=True, help="Processes that draw.")
def main(
    device: str, minutes: float, out: Path, cache: Path | None, pictures: int, held_out: int, batch: int, rate: float,
    workers: int,
) -> None:  # fmt: skip
    """Train the embedded detector and write its weights."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    begun = time.monotonic()
    train, held = (cached(split, count, cache, workers) for split, count in (("train", pictures), ("val", held_out)))
    log.info("drew %d pictures in %.0f s", len(train.images) + len(held.images), time.monotonic() - begun)
    model = started().to(device).train()
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.05), lr=rate, betas=(0.9, 0.98))
    begun = told = time.monotonic()
    done = 0
    mean: dict[str, float] = {}
    for step, (images, objects) in enumerate(batches(train, batch, device)):
        progress = (time.monotonic() - begun) / (60 * minutes)
        if progress >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(int(1e4 * progress), 10_000, int(1e4 * WARMUP), rate)
        losses = model.losses(images, objects, step)
        loss = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        done = step + 1
        if done % 20 == 0:
            mean = {name: 0.8 * mean.get(name, value.item()) + 0.2 * value.item() for name, value in losses.items()}
        if done % 200 == 0:
            words = ", ".join(f"{name} {value:.3f}" for name, value in mean.items())
            log.info("step %d: %s, %.0f s", done, words, time.monotonic() - begun)
        if time.monotonic() - told > 120:
            save(model, out)
            tell(model, held, device)
            told = time.monotonic()
    save(model, out)
    log.info("step %d: %.2f MB in %s", done, out.stat().st_size / 1e6, out)
    tell(model, held, device)


def tell(model: MaskRCNN, held: Pictures, device: str) -> None:
    """Say how good it is; training goes on where pycocotools is not installed."""
    try:
        found = precision(model, held, device)
    except BadInput as error:
        log.info("%s", error)
    else:
        log.info("held out: box AP %.1f, box AP50 %.1f", found["AP"], found["AP50"])


if __name__ == "__main__":
    main()
