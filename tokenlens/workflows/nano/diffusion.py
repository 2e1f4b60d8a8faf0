"""Train the pipeline `nano` on the embedded set `shapes`: `python -m tokenlens.workflows.nano.diffusion --help`.

Ten minutes on a data-centre GPU. Pictures are drawn once, by all processors, and kept in a file. The weights that are
written are the moving average, in float16, every minute and at the end; beside them a PNG of samples.
Shapes: B pictures.
"""

from __future__ import annotations

import logging
import math
import os
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import click
import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tokenlens.data.embedded import CLASSES, shapes
from tokenlens.synthesis.nano import NOTHING, SCHEDULER, SIDE, UNET, NanoPipeline, fold, words
from tokenlens.synthesis.recognition import recognise

log = logging.getLogger(__name__)
FORGET = 0.1  # share of the classes that are withheld, so that guidance has its other branch
WARMUP = 0.02  # share of the time
MOST = 20.0  # weight of an error where there is hardly any noise


def picture(index: int) -> NDArray[np.uint8]:
    """(SIDE, SIDE, 3): picture `index` of the training split."""
    return shapes("train", index)[0]


def drawn(count: int, cache: Path) -> Tensor:
    """(count, 3, SIDE, SIDE) uint8: the first pictures of the training split, from the file or into it."""
    shape = (count, SIDE, SIDE, 3)
    if not cache.is_file() or np.load(cache, mmap_mode="r").shape != shape:
        began = time.monotonic()
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            pictures = np.stack(list(pool.map(picture, range(count), chunksize=256)))
        np.save(cache, pictures)
        log.info("drew %d pictures in %.0f s", count, time.monotonic() - began)
    return torch.from_numpy(np.load(cache)).permute(0, 3, 1, 2).contiguous()


def loss_of(unet: nn.Module, scheduler: DDIMScheduler, pictures: Tensor, classes: Tensor) -> Tensor:
    """Mean squared error of the picture, weighed as one of the velocity (Salimans & Ho, 2022, arXiv:2202.00512).

    Of 48 channels of noise a network of 64 cannot tell much, of the picture it can; so that is what it predicts.
    """
    latents = fold(pictures)
    noise = torch.randn_like(latents)
    times = torch.randint(scheduler.config.num_train_timesteps, (len(latents),), device=latents.device)
    classes = classes.masked_fill(torch.rand(len(latents), device=latents.device) < FORGET, NOTHING)
    said = unet(scheduler.add_noise(latents, noise, times), times, words(unet, classes), class_labels=classes).sample
    weight = (1 / (1 - scheduler.alphas_cumprod[times])).clamp(max=MOST)
    return (weight * (said.float() - latents).square().mean((1, 2, 3))).mean()


def sample(unet: UNet2DConditionModel, each: int, guidance: float) -> list[Image.Image]:
    """`each` pictures of every class, the classes one after the other."""
    pipeline = NanoPipeline(unet.eval(), DDIMScheduler(**SCHEDULER))
    pipeline.set_progress_bar_config(disable=True)
    prompts = [name for name in CLASSES for _ in range(each)]
    generator = torch.Generator("cpu").manual_seed(0)
    return list(pipeline(prompts, guidance_scale=guidance, generator=generator).images)


def recognised(pictures: list[Image.Image], device: torch.device) -> float:
    """The share of `sample`'s pictures that the embedded ViT takes for what they should be."""
    pixels = torch.from_numpy(np.stack([np.asarray(one) for one in pictures])).permute(0, 3, 1, 2)
    classes = torch.arange(len(CLASSES)).repeat_interleave(len(pictures) // len(CLASSES))
    return float((recognise(pixels.to(device))[1].cpu() == classes).float().mean())


def save(unet: UNet2DConditionModel, out: Path, each: int) -> None:
    """Weights in float16, and a picture of so many samples of each class, a class a row."""
    save_file({name: weight.half().contiguous() for name, weight in unet.state_dict().items()}, out)
    if not each:
        return
    sheet = Image.new("RGB", (SIDE * each, SIDE * len(CLASSES)))
    for number, one in enumerate(sample(unet, each, 2.0)):
        sheet.paste(one, (number % each * SIDE, number // each * SIDE))
    sheet.save(out.with_suffix(".png"))


@click.command()
@click.option("--minutes", default=8.0, show_default=True, help="Of training, beside the drawing of the pictures.")
@click.option("--images", default=100_000, show_default=True, help="Pictures to draw.")
@click.option("--batch", default=256, show_default=True, help="Pictures a step.")
@click.option("--rate", default=1e-3, show_default=True, help="Highest learning rate.")
@click.option("--samples", default=20, show_default=True, help="Of each class, to look at and to be recognised.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--cache", type=click.Path(path_type=Path), default="nano-shapes.npy", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default="nano-diffusion.safetensors", show_default=True)
def main(
    minutes: float, images: int, batch: int, rate: float, samples: int, device: str, cache: Path, out: Path
) -> None:
    """Train the embedded diffusion model and write its weights."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.manual_seed(0)
    place = torch.device(device)
    pictures = drawn(images, cache).to(place)
    unet = UNet2DConditionModel(**UNET).to(place)
    scheduler = DDIMScheduler(**SCHEDULER)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.to(place)
    average = AveragedModel(unet, multi_avg_fn=get_ema_multi_avg_fn(0.999))
    fused = place.type == "cuda"
    optimizer = torch.optim.AdamW(unet.parameters(), lr=rate, weight_decay=0.01, betas=(0.9, 0.99), fused=fused)
    half = torch.autocast("cuda", torch.bfloat16) if place.type == "cuda" else nullcontext()
    log.info("%.2f million parameters", sum(p.numel() for p in unet.parameters()) / 1e6)
    began = told = saved = time.monotonic()
    step = 0
    while (share := (time.monotonic() - began) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = rate * min(share / WARMUP, 0.5 * (1 + math.cos(math.pi * share)))
        chosen = torch.randint(images, (batch,), device=place)
        seen = pictures[chosen]
        if step % 2:  # a shape in a mirror is a shape
            seen = seen.flip(-1)
        with half:
            loss = loss_of(unet, scheduler, seen, chosen % len(CLASSES))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(unet)
        step += 1
        if time.monotonic() - told > 10:
            told = time.monotonic()
            log.info("step %d: loss %.4f, %.0f s", step, loss.item(), told - began)
        if time.monotonic() - saved > 60:
            save(average.module, out, samples)
            saved = time.monotonic()
    save(average.module, out, samples)
    for guidance in (1.0, 1.5, 2.0, 3.0, 5.0) if samples else ():
        right = recognised(sample(average.module, samples, guidance), place)
        log.info("%d steps, guidance %g: %.1f %% recognised", step, guidance, 100 * right)


if __name__ == "__main__":
    main()
