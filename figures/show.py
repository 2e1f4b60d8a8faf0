"""What a person wants first, in one call: patterns on pictures, or any figure, of what Python has at hand.

Traces are read by what they offer (`kept`, `group`, `blocks`, `about`), so that nothing here needs torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from tokenlens.errors import BadInput

from .catalogue import FIGURES, Source
from .parts.patch_painter import Panel, Picture, paint
from .parts.sheet import contact_sheet
from .theme.style import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS = 8  # images that are shown, where there are more


def show(what: Any, images: Any = None, *, rows: int | None = None) -> Any:
    """Patterns on pictures: of a trace a column a stage, of runs a column a run.

    Args:
        what: a trace, with the `images` that were traced; or a run or several; or a `Comparison`, of which the figure
            `similarity` is drawn.
        images: (B, 3, H, W) floats as the model got them, (B, H, W, 3) uint8, or PIL images.
        rows: images at most; by default 8 of a trace and 4 of runs.

    Returns:
        A matplotlib Figure, which a notebook shows once.

    Raises:
        BadInput: there is nothing to show, or images that do not belong to the trace.

    Examples:
        >>> import torch, tokenlens
        >>> images = torch.zeros(2, 3, 112, 112)
        >>> _, trace = tokenlens.reduce(tokenlens.load("nano"), "topk").trace(images)
        >>> tokenlens.show(trace, images).get_axes() == []  # cells are whole pixels, in no axes
        True
    """
    if hasattr(what, "_asdict"):
        return draw("similarity", what)
    if not hasattr(what, "about"):
        return draw("contact-sheet", what, images=rows or 4, methods=None)
    panels, pictures = _panels(what, images, rows or ROWS)
    return contact_sheet(pictures, panels, what.about.method)


def plot(trace: Any, images: Any, ax: Axes | None = None, *, image: int = 0, stage: int = -1) -> Axes:
    """One image's pattern at one stage, into axes of one's own or new ones, which are returned.

    Args:
        trace: what `model.trace(images)` returned.
        images: as `show` takes them.
        ax: where to draw; None for a figure of its own.
        image: which of the images.
        stage: which of the stages, as an index.

    Examples:
        >>> import torch, tokenlens
        >>> images = torch.zeros(2, 3, 112, 112)
        >>> _, trace = tokenlens.reduce(tokenlens.load("nano"), "topk").trace(images)
        >>> tokenlens.plot(trace, images).get_title()
        'block 9, 24 tokens'
    """
    panels, pictures = _panels(trace, images, image + 1)
    panel = panels[stage]
    if ax is None:
        ax = new_figure("iccv", height=3.2).subplots()
    ax.imshow(paint(pictures[image], panel.kept[image], panel.group[image], panel.merges, panel.grid))
    ax.set_title(panel.title.replace("\n", ", "))
    ax.set_axis_off()
    return ax


def draw(name: str, what: Any, **options: Any) -> Any:
    """Any figure of `tokenlens figures --list`, of a `Comparison`, of runs, or of a list of both.

    Raises:
        Missing: they lack what the figure is of; the sentence says what makes it.

    Examples:
        >>> import tokenlens
        >>> vit, data = tokenlens.load("nano"), tokenlens.open_data("embedded:shapes", limit=2)
        >>> run = tokenlens.extract(tokenlens.reduce(vit, "topk"), data)
        >>> drawn = tokenlens.draw("tokens_left", run)
        >>> drawn.axes[0].get_ylabel() != ""
        True
    """
    return FIGURES[name].draw(Source.of(what), strict=True, **options)


def _panels(trace: Any, images: Any, most: int) -> tuple[list[Panel], list[Picture]]:
    """A column for each stage of a trace, and the pictures below."""
    if trace.about is None:
        raise BadInput("the trace does not say what it is of; show one that model.trace(images) returned")
    if trace.about.training:
        warnings.warn("the trace was made in training mode, where patterns may change from call to call; call "
                      "model.eval() first", stacklevel=3)  # fmt: skip
    about, kept, group = trace.about, trace.kept.cpu().numpy()[:most], trace.group.cpu().numpy()[:most]
    pictures = _pictures(images, about)[:most]
    if len(pictures) != len(kept):
        raise BadInput(f"the trace is of {len(trace.kept)} images and {len(pictures)} are given; give those traced")
    left = trace.tokens_left.float().mean(0).tolist()
    panels = [
        Panel(f"block {block}\n{count:g} tokens", kept[:, i], group[:, i], about.merges, about.grid)
        for i, (block, count) in enumerate(zip(trace.blocks, left, strict=True))
    ]
    return panels, pictures


def _pictures(images: Any, about: Any) -> list[Picture]:
    """Images as (H, W, 3) uint8 each."""
    if isinstance(images, Sequence) and images and isinstance(images[0], Image.Image):
        return [np.asarray(image.convert("RGB"), np.uint8) for image in images]
    if images is None:
        raise BadInput("a trace is shown on its images; give those that were traced, as in trace.show(images)")
    array = np.asarray(images.detach().float().cpu() if hasattr(images, "detach") else images)
    array = array[None] if array.ndim == 3 else array
    if array.ndim != 4 or 3 not in (array.shape[1], array.shape[-1]):
        raise BadInput(f"images are {array.dtype} {array.shape}; give (B, 3, H, W) floats or (B, H, W, 3) uint8")
    if array.dtype != np.uint8:
        mean, std = (np.asarray(values, np.float32)[:, None, None] for values in (about.mean, about.std))
        array = np.rint(255 * (array * std + mean)).clip(0, 255).astype(np.uint8)
    return list(array if array.shape[-1] == 3 else array.transpose(0, 2, 3, 1))
