"""How alike two methods merge latents, at every step of the denoiser and in every block that is reduced.

A row is a pair of methods, a column a call of the denoiser, from the first, which sees noise, to the last. Colour is
the adjusted mutual information of their groups, mean over pictures: 0 is what chance gives, 1 the same groups. A panel
is a block; of guidance's two branches each has panels of its own. Pairs are of one ratio: of the one with most pairs,
and of these the one that merges most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..catalogue import PATTERNS, figure
from ..select.synthesized import choose_synthesized
from ..source import Missing, Source
from ..theme import style

if TYPE_CHECKING:
    import pandas as pd

METRIC = "ami"
LEAST = 8  # pairs that are drawn as high as the panels of one


def numbers(source: Source) -> pd.DataFrame:
    """One row a pair of methods, branch, block and step: value, low, high."""
    rows = source.table("steps")
    runs = {str(run.attrs["run"]): str(run.attrs["method"]) for run in choose_synthesized(source.synthesized)}
    of_them = rows["run_a"].isin(list(runs)) & rows["run_b"].isin(list(runs))
    chosen = rows[of_them & (rows["axis"] == "method") & (rows["metric"] == METRIC)].copy()
    if not len(chosen):
        raise Missing(
            "no two methods that merge were compared step by step; draw pictures with two or more with `tokenlens "
            "synthesize --method atc-average,tome-sd`, and compare their runs with `tokenlens compare images/runs`"
        )
    pairs = [
        sorted((runs[a], runs[b]), key=style.order_key) for a, b in zip(chosen["run_a"], chosen["run_b"], strict=True)
    ]
    chosen["method_a"], chosen["method_b"] = zip(*pairs, strict=True)
    found = chosen[["method_a", "method_b", "branch", "stage", "step", "metric", "value", "low", "high"]]
    key = [(*map(style.order_key, pair), *rest) for pair, rest in
           zip(pairs, found[["branch", "stage", "step"]].itertuples(index=False), strict=True)]  # fmt: skip
    return found.iloc[sorted(range(len(found)), key=key.__getitem__)].reset_index(drop=True)


@figure("steps", "how alike methods merge latents, step by step", numbers, needs=["steps", PATTERNS])
def draw(source: Source, *, figure: style.Into = None, preset: str = "iccv") -> style.Canvas:
    """Draw it at the width of the page."""
    frame = numbers(source)
    pairs = list(dict.fromkeys(zip(frame["method_a"], frame["method_b"], strict=True)))
    branches, blocks = list(dict.fromkeys(frame["branch"])), sorted(frame["stage"].unique())
    steps = sorted(frame["step"].unique())
    high = 0.16 * max(len(pairs), LEAST) + 0.5
    canvas = style.canvas(figure, preset, "page", high * len(branches) + 0.4)
    panels = canvas.subplots(len(branches), len(blocks), squeeze=False, sharex=True, sharey=True)
    for row, branch in zip(panels, branches, strict=True):
        for ax, block in zip(row, blocks, strict=True):
            part = frame[(frame["branch"] == branch) & (frame["stage"] == block)]
            values = part.pivot(index=["method_a", "method_b"], columns="step", values="value")
            shown = ax.imshow(
                values.reindex(index=pairs, columns=steps).to_numpy(np.float64), vmin=0, vmax=1, cmap="viridis",
                aspect="auto", interpolation="nearest", extent=(-0.5, len(steps) - 0.5, len(pairs) - 0.5, -0.5),
            )  # fmt: skip
            ax.set_title(f"block {block}, {branch}")
            ticks = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), 6)).round().astype(int))
            ax.set_xticks(ticks, [str(steps[tick]) for tick in ticks])
            ax.set_yticks(range(len(pairs)), [f"{style.label(a)} – {style.label(b)}" for a, b in pairs])
    for ax in panels[-1]:
        ax.set_xlabel("step")
    said = style.directed(style.metric_label(METRIC), style.metric_reading(METRIC), ", ")
    canvas.colorbar(shown, ax=panels, label=said, shrink=0.8)
    return canvas
