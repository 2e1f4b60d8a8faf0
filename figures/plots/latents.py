"""Which latents a method merges as a picture comes about: one picture, from the first call of the denoiser to the last.

A row is a method, whose own picture stands at the left; a column a step. Merged places are filled with the mean colour
of their group in the finished picture, within a line whose colour stays with the group; dropped ones are dark. The
first steps see noise. Runs of one ratio and seed are shown: of most methods, and of these the one that merges most. The
block is the last one that is reduced, and under guidance the branch is the conditional one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from tokenlens.records.facts import facts_of

from ..catalogue import PATTERNS, figure, missing_where_bad
from ..parts.group_colors import group_colors
from ..parts.patch_painter import Picture, paint
from ..select.synthesized import choose_synthesized, read_drawn
from ..source import Missing, Source
from ..theme import style

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

MOST = 6  # steps across
PIXELS = 8  # of a patch


def numbers(source: Source, picture: int = 0) -> pd.DataFrame:
    """One row a method and step: tokens left, share of the places that are merged with others, largest group."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    runs, name = _shown(source, picture)
    for run in runs:
        part = _of_picture(run, name)
        for step in _steps(run):
            group = part["group"].sel(step=step).values
            sizes = np.bincount(group[group >= 0], minlength=1)
            rows.append({
                "picture": name, "method": run.attrs["method"], "ratio": 1 - run.attrs["keep_rate"],
                "block": int(part["stage"]), "branch": str(part["branch"].values), "step": step,
                "tokens_left": int(part["tokens_left"].sel(step=step)),
                "merged": float(((group >= 0) & (sizes[group.clip(0)] > 1)).mean()), "largest": int(sizes.max()),
            })  # fmt: skip
    return pd.DataFrame(rows)


@figure("latents", "which latents are merged as a picture comes about", numbers, needs=[PATTERNS])
def draw(source: Source, *, figure: style.Into = None, preset: str = "iccv", picture: int = 0) -> style.Canvas:
    """Draw it at the width of the page, of the picture of this number."""
    runs, name = _shown(source, picture)
    across = len(_steps(runs[0])) + 1
    with missing_where_bad():
        pictures = [read_drawn(run, [name])[0] if run.encoding.get("source") else None for run in runs]
    wide = style.preset(preset).page / (across + 0.4)
    canvas = style.canvas(figure, preset, "page", len(runs) * wide + 0.4)
    panels = canvas.subplots(len(runs), across, squeeze=False)
    for row, run, drawn in zip(panels, runs, pictures, strict=True):
        own = _enlarged(drawn, run)
        part = _of_picture(run, name)
        kept, group = (part[what].sel(step=_steps(run)).values for what in ("kept", "group"))
        merges, grid = facts_of(run).merges, (int(run.attrs["grid"][0]), int(run.attrs["grid"][1]))
        outlines = group_colors(group, grid) if merges else [None] * len(group)
        steps = zip(kept, group, outlines, strict=True)
        cells = [own, *(paint(own, of_step, groups, merges, grid, line) for of_step, groups, line in steps)]
        for ax, cell in zip(row, cells, strict=True):
            ax.imshow(cell)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        row[0].set_ylabel(style.label(str(run.attrs["method"])))
    for ax, step in zip(panels[0][1:], _steps(runs[0]), strict=True):
        ax.set_title(f"step {step}")
    one = runs[0].attrs
    canvas.supxlabel(f"{one['model']}, {one['dataset']}, {name}, ratio {1 - one['keep_rate']:g}", fontsize="medium")
    return canvas


def _shown(source: Source, picture: int) -> tuple[list[xr.Dataset], str]:
    """The runs with the steps of the first, and the id of a picture that all of them have drawn."""
    runs = choose_synthesized(source.synthesized)
    runs = [run for run in runs if run["step"].equals(runs[0]["step"])]
    ids = [[str(name) for name in run["image"].values[: run.attrs.get("written")]] for run in runs]
    shared = [name for name in ids[0] if all(name in others for others in ids)]
    if not shared:
        raise Missing("the runs have drawn no picture in common; go on with `tokenlens synthesize`")
    return runs, shared[min(picture, len(shared) - 1)]


def _of_picture(run: xr.Dataset, name: str) -> xr.Dataset:
    """Patterns of one picture, in the last branch and block: (step, patch)."""
    return run[["kept", "group", "tokens_left"]].sel(image=name).isel(branch=-1, stage=-1).load()


def _steps(run: xr.Dataset) -> list[int]:
    """The steps that are shown, evenly spaced among those recorded."""
    there = run["step"].values
    return [int(there[i]) for i in np.unique(np.linspace(0, len(there) - 1, min(MOST, len(there))).round().astype(int))]


def _enlarged(drawn: Picture | None, run: xr.Dataset) -> Picture:
    """A picture as large as whole pixels of each patch are; grey where it was not drawn into a file."""
    rows, columns = (int(side) * PIXELS for side in run.attrs["grid"])
    if drawn is None:
        return np.full((rows, columns, 3), 128, np.uint8)
    return np.asarray(Image.fromarray(drawn).resize((columns, rows), Image.Resampling.LANCZOS))
