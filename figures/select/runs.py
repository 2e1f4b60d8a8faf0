"""Which runs and which images go on a contact sheet, and the images as the model saw them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from PIL import Image

from tokenlens.errors import BadInput
from tokenlens.records.facts import facts_of

from ..parts.patch_painter import Panel, Picture
from ..theme.style import few, label, order_key
from .images import chosen_of, ids_with_pictures, rows_holding
from .setting import DEFAULT_RATE
from .where import matching

GREY = 128  # of what lies outside an image


@dataclass(frozen=True)
class Sheet:
    """The runs of one model on one data set at one keep rate: one a method, in the order of the columns."""

    dataset: str
    split: str
    model: str
    rate: str
    runs: tuple[xr.Dataset, ...]
    left_out: tuple[str, ...]

    @property
    def name(self) -> str:
        """A file name: a folder goes by its own name and not by its whole path."""
        return "-".join(_slug(word) for word in ("contact-sheet", self.place, self.model))

    @property
    def place(self) -> str:
        """The data set in a few words: of a folder's path, the last part."""
        kind, _, where = self.dataset.partition(":")
        return f"{kind}:{Path(where).name}" if kind == "folder" else self.dataset


def choose_runs(
    runs: Sequence[xr.Dataset], where: Sequence[str] = (), keep_rate: float | None = None, stage: int | None = None
) -> list[Sheet]:
    """Sort the runs into sheets.

    Args:
        runs: what `tokenlens.records.store.open_runs` found.
        where: conditions on the runs' attributes, "method=topk|tome,keep_rate=0.5"; values of one are alternatives.
        keep_rate: the rate to show; None for 0.5, or for the most frequent one where a sheet has no run at 0.5.
        stage: a block at which the shown runs must have a stage; None for no condition.

    Returns:
        One sheet for each data set, split, model and input size; of several runs of a method, the complete one with
        the lowest seed is taken and the others are named in `left_out`.

    Raises:
        BadInput: nothing is left to draw.
    """
    chosen = matching([run for run in runs if run.attrs["family"] != "none"], where)
    if not chosen:
        raise BadInput("there are no runs of a reduction method to draw: make some with `tokenlens extract`")
    if stage is not None:
        blocks = sorted({int(block) for run in chosen for block in run["stage"].values})
        chosen = [run for run in chosen if stage in run["stage"].values]
        if not chosen:
            raise BadInput(f"no run has a stage at block {stage}; the blocks are {', '.join(map(str, blocks))}")
    groups: dict[tuple[str, ...], list[xr.Dataset]] = {}
    for run in chosen:
        key = tuple(str(run.attrs.get(name, "")) for name in ("dataset", "split", "model", "input_size"))
        groups.setdefault(key, []).append(run)
    sheets = [_sheet(key, group, keep_rate) for key, group in sorted(groups.items())]
    if not any(sheets):
        rates = ", ".join(sorted({_rate(run) for run in chosen}))
        raise BadInput(f"no run has the keep rate {keep_rate:g}; the runs have {rates}")
    return [sheet for sheet in sheets if sheet]


def _sheet(key: tuple[str, ...], runs: list[xr.Dataset], keep_rate: float | None) -> Sheet | None:
    rates = Counter(map(_rate, runs))
    usual = f"{DEFAULT_RATE:g}" if f"{DEFAULT_RATE:g}" in rates else min(rates, key=lambda r: (-rates[r], r))
    rate = usual if keep_rate is None else f"{keep_rate:g}"
    columns: dict[str, xr.Dataset] = {}
    left_out = []
    for run in sorted((run for run in runs if _rate(run) == rate), key=_preference):
        if run.attrs["method"] in columns:
            left_out.append(str(run.attrs["run"]))
        else:
            columns[run.attrs["method"]] = run
    if not columns:
        return None
    return Sheet(
        key[0], key[1], key[2], rate, tuple(columns[m] for m in sorted(columns, key=order_key)), tuple(left_out)
    )


def fewer(runs: Sequence[xr.Dataset], most: int | None) -> list[xr.Dataset]:
    """The runs of so many methods at most, by `palette.few`; None for all."""
    shown = few((str(run.attrs["method"]) for run in runs), most)
    return [run for run in runs if run.attrs["method"] in shown]


def _preference(run: xr.Dataset) -> tuple[Any, ...]:
    return not run.attrs.get("complete", True), int(run.attrs.get("seed", 0) or 0), str(run.attrs["run"])


def _rate(run: xr.Dataset) -> str:
    rate = run.attrs.get("keep_rate")
    if rate is None:
        return "-"
    return ", ".join(f"{float(r):g}" for r in np.atleast_1d(rate))


def choose_images(runs: Sequence[xr.Dataset], wanted: int | Sequence[str]) -> list[str]:
    """Return at most so many image ids that all runs have, evenly spaced over those of the first run; or those wanted.

    Of a run in memory the ids are those whose pictures it holds, if it holds any.
    """
    ids = [ids_with_pictures(run) for run in runs]
    common = ids[0]
    for other in ids[1:]:
        common = common if other.equals(common) else common[common.isin(other)]
    if not len(common):
        names = ", ".join(str(run.attrs["run"]) for run in runs[:3])
        raise BadInput(f"the runs ({names}, ...) have no image in common: choose some of them with --where")
    return chosen_of(common, wanted)


def read_panel(run: xr.Dataset, ids: Sequence[str], stage: int | None, tell_block: bool = False) -> Panel:
    """Read one column: a run's patterns of the images `ids`, at block `stage` (None: its last stage)."""
    block = last_block(run) if stage is None else stage
    names = ["kept", "group", *(["valid"] if "valid" in run else [])]
    part = run[names].isel(image=rows_holding(run["image"], ids)).sel(stage=block).load()
    method, rows_columns = str(run.attrs["method"]), run.attrs["grid"]
    detail = f"keep {_rate(run)}" + (f", block {block}" if tell_block else "")
    return Panel(
        f"{label(method)}\n{detail}", part["kept"].transpose("image", "patch").values.astype(bool),
        part["group"].transpose("image", "patch").values, facts_of(run).merges,
        (int(rows_columns[0]), int(rows_columns[1])),
        part["valid"].transpose("image", "patch").values if "valid" in part else None,
    )  # fmt: skip


def last_block(run: xr.Dataset) -> int:
    """Return the block of a run's last stage."""
    return int(run["stage"].values[-1])


def read_pictures(run: xr.Dataset, ids: Sequence[str], allow_remote: bool = False) -> list[Picture]:
    """Read the images `ids` of a run's data set, each as the model saw it, (H, W, 3) uint8."""
    if "picture" in run:
        rows = rows_holding(run["pictured"], ids)
        if (rows >= 0).all():
            return [*run["picture"].values[rows]]
    images = open_images(run, allow_remote)
    place = {name: i for i, name in enumerate(images.ids)}
    gone = [i for i in ids if i not in place]
    if gone:
        raise BadInput(
            f"{len(gone)} of {len(ids)} images of {run.attrs['run']} are no longer in {place_of(run)} "
            f"({gone[0]}, ...): put them back, or extract again"
        )
    height, width = (int(n) for n in run.attrs["input_size"])
    pictures = [images.image(place[i]) for i in ids]
    if "sides" in run.attrs:
        return [fitted(picture, (height, width), run.attrs["sides"]) for picture in pictures]
    if str(run.attrs["dataset"]).startswith("embedded:") and all(p.size == (width, height) for p in pictures):
        return [np.asarray(picture, dtype=np.uint8) for picture in pictures]  # drawn in the model's own size
    crop_pct, squash = float(run.attrs.get("crop_pct") or 1.0), bool(run.attrs.get("squash"))
    return [as_seen(picture, (height, width), crop_pct, squash) for picture in pictures]


def open_images(run: xr.Dataset, allow_remote: bool = False) -> Any:
    """Open the data set of a run's images, as `tokenlens.data.ImageSet`.

    Raises:
        BadInput: it is gone; or it would be fetched because the run says so, without `allow_remote`.
    """
    from tokenlens.data import open_data
    from tokenlens.data.remote import refuse_remote

    place, split = place_of(run), str(run.attrs.get("split", "val"))
    if ":" not in place:
        raise BadInput(f"the images of {run.attrs.get('run')} were given in memory as {place!r} and are not kept; "
                       "extract with more of pictures=")  # fmt: skip
    refuse_remote(place, f"the run {run.attrs.get('run')}", allow_remote)
    kind, _, where = place.partition(":")
    if kind == "folder":  # not every image of a large folder need be decoded for the few that are shown
        from tokenlens.data.folder import open_folder

        return open_folder(where, split, check=False)
    if kind == "coco" and "sides" in run.attrs:  # a detector sees images without objects too
        from tokenlens.detection.data import open_detection

        return open_detection(place, split)
    return open_data(place, split)


def place_of(run: xr.Dataset) -> str:
    """Where a run's images were when it was made, as `open_data` takes it; older runs had it as their dataset."""
    return str(run.attrs.get("place", run.attrs["dataset"]))


def as_seen(image: Image.Image, size: tuple[int, int], crop_pct: float, squash: bool = False) -> Picture:
    """Resize and crop as timm does for evaluation: bicubic, shorter side to size / crop_pct, centre crop.

    Args:
        image: PIL image in RGB, of any size.
        size: (H, W) of the model's input.
        crop_pct: share of the resized image that the crop keeps, by its side.
        squash: both sides become size / crop_pct, as of several labels an image: nothing is cut off at 1.

    Returns:
        (H, W, 3) uint8. Source: timm.data.transforms_factory.transforms_imagenet_eval, crop_mode "center" or "squash".
    """
    height, width = size
    target = floor(height / crop_pct), floor(width / crop_pct)
    if squash:
        resized = target[1], target[0]
    elif height == width:
        short = min(image.size)
        resized = int(target[0] * image.width / short), int(target[0] * image.height / short)
    else:  # timm rounds by another rule where the input is not square
        ratio = min(image.height / target[0], image.width / target[1])
        resized = round(image.width / ratio), round(image.height / ratio)
    image = image.resize(resized, Image.Resampling.BICUBIC)
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return np.asarray(image.crop((left, top, left + width, top + height)), dtype=np.uint8)


def fitted(image: Image.Image, size: tuple[int, int], sides: Sequence[int]) -> Picture:
    """Resize as a detector does, and lay the image into the upper left of grey.

    Args:
        image: PIL image in RGB, of any size.
        size: (H, W) of the largest input.
        sides: pixels that the shorter and the longer side may have at most.

    Returns:
        (H, W, 3) uint8.
    """
    scale = min(sides[1] / max(image.size), sides[0] / min(image.size))
    width, height = (max(int(side * scale + 0.5), 1) for side in image.size)
    picture = np.full((*size, 3), GREY, np.uint8)
    picture[:height, :width] = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))[
        : size[0], : size[1]
    ]
    return picture


def _slug(text: str) -> str:
    return "-".join("".join(c if c.isalnum() or c in "._" else " " for c in text).split()).strip(".") or "unnamed"
