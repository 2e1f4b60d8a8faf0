"""The columns of all tables of results, one number a row.

Tables are tidy. `stage` is a block index (for class-token features the layer's), `ALL_STAGES` where a number is of the
whole run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tokenlens.core.families import KEEPING, MERGING, UNORDERED

if TYPE_CHECKING:
    import pandas as pd

ALL_STAGES = -1
KEYS = {  # what tells a row from the others of its table, and what they are ordered by
    "comparison": ("axis", "run_a", "run_b", "metric", "stage"),
    "runs": ("run",),
    "heatmap": ("run", "patch"),
    "tokens": ("run", "statistic", "stage"),
}

_JUDGED = {  # a claim, and what speaks for or against it; bound is of an equivalence with the reference, 0 of others
    "finding": "int64", "claim": "str", "statistic": "str", "value": "float64", "low": "float64", "high": "float64",
    "reference": "float64", "bound": "float64", "n": "int64", "p": "float64", "verdict": "str", "missing": "str",
    "sensitivity": "str", "paragraph": "str",
}  # fmt: skip
COLUMNS: dict[str, dict[str, str]] = {
    # one row a pair of runs x stage x metric; for axis "radial" run_b is l1, l2 or linf, for "object" it is "object",
    # for "layout" it is "grid", for "curve" it is "shown".
    # value is of these very images, estimate of all of which they are some, low to high the 95 % interval of that; z
    # and p say how far from chance it is, ceiling what two seeds or halves of one run give, reason why none is told;
    # null names what z and p are beside, and where it was chosen chance too (see tokenlens.analysis.nulls)
    "comparison": {
        "run_a": "str", "run_b": "str", "axis": "str", "stage": "int64", "metric": "str", "value": "float64",
        "std": "float64", "n": "int64", "chance": "float64", "low": "float64", "high": "float64",
        "estimate": "float64", "z": "float64", "p": "float64", "ceiling": "float64", "reason": "str",
        "null": "str",
    },
    # one row a run: what it was, its accuracy in percent by its measure (top1, mAP, ...), what an image costs, and of
    # its method: name for readers, colour and marker (empty: to be chosen), place among methods, what its patterns are;
    # blocks, options and a digest of its images' ids tell settings apart; below is how many points it is below the
    # un-reduced model on the same images, with the interval of a paired bootstrap and the test's q (see `accuracy`)
    "runs": {
        "run": "str", "dataset": "str", "split": "str", "model": "str", "capacity": "str", "method": "str",
        "family": "str", "keep_rate": "float64", "seed": "int64", "images": "int64", "complete": "bool",
        "measure": "str", "accuracy": "float64", "gflops": "float64", "label": "str", "color": "str", "marker": "str",
        "order": "int64", "keeps": "bool", "merges": "bool", "top5": "float64", "blocks": "str", "options": "str",
        "content": "str", "schedule": "str", "below": "float64", "below_low": "float64", "below_high": "float64",
        "q": "float64",
    },
    # one row a run x patch: the mean depth, in blocks, at which the patch was dropped
    "heatmap": {
        "run": "str", "patch": "int64", "row": "int64", "column": "int64", "depth": "float64", "n": "int64",
    },
    # one row a run x statistic x stage: what was asked to remain, what did and the share of what entered the stage that
    # went (tokens_left, reduction: mean and deviation over images), and of the whole run depth: the mean over images of
    # the mean depth of their patches, its deviation over images, and depth_spread: the map's deviation over patches
    "tokens": {
        "run": "str", "statistic": "str", "stage": "int64", "value": "float64", "std": "float64", "n": "int64",
    },
    # one row an anchor x setting x stage x metric: correlation of accuracy difference and similarity
    "proxy": {
        "anchor": "str", "run": "str", "dataset": "str", "capacity": "str", "keep_rate": "float64", "stage": "int64",
        "metric": "str", "statistic": "str", "value": "float64", "n": "int64", "p": "float64", "q": "float64",
        "low": "float64", "high": "float64",
    },
    # one row a pair of levels x setting x stage x metric: over methods, correlation of what accuracy falls by from one
    # level to the other with how alike a method's patterns at both are; axis "off the shelf": over methods, or methods
    # and schedules, of what the un-reduced model is ahead by with how alike both are (see analysis.off_the_shelf)
    "across": {
        "axis": "str", "first": "str", "second": "str", "dataset": "str", "capacity": "str", "keep_rate": "float64",
        "stage": "int64", "metric": "str", "statistic": "str", "value": "float64", "n": "int64", "p": "float64",
        "q": "float64", "low": "float64", "high": "float64",
    },
    # one row a run of `swap --curves` (run_b empty) or a pair of them x curve x stage: how probable a class is to the
    # model that is shown what is kept alone (insertion), the rest alone (deletion), or all (whole), and the share shown
    # of the patches; of insertion_auc and deletion_auc the mean over all shares from the least one, shown here, to 1
    "curves": {
        "run_a": "str", "run_b": "str", "curve": "str", "stage": "int64", "shown": "float64", "value": "float64",
        "low": "float64", "high": "float64", "n": "int64",
    },
    # one row a pair of runs: their accuracies over common images and how they differ, in points, with the interval of a
    # paired bootstrap; only_a and only_b are images that one alone has right (-1: of several labels), p is McNemar's
    "accuracy": {
        "axis": "str", "run_a": "str", "run_b": "str", "measure": "str", "accuracy_a": "float64",
        "accuracy_b": "float64", "difference": "float64", "low": "float64", "high": "float64", "p": "float64",
        "q": "float64", "n": "int64", "only_a": "int64", "only_b": "int64",
    },
    # one row a run off the shelf x metric x stage: tokens asked to remain and left at the end, accuracy and how far
    # below the un-reduced model (as in `runs`, where the images tell it), and how alike the two are
    "off_the_shelf": {
        "run": "str", "dataset": "str", "model": "str", "method": "str", "schedule": "str", "keep_rate": "float64",
        "asked": "float64", "left": "float64", "accuracy": "float64", "below": "float64", "below_low": "float64",
        "below_high": "float64", "q": "float64", "metric": "str", "stage": "int64", "value": "float64",
        "chance": "float64",
    },
    # one row a finding of the study; one a question that only a known truth answers: masks of the objects, or a bias
    "findings": _JUDGED, "truth": _JUDGED,
    # one row a model x setting of `tokenlens bench`: images a second (median and quartiles), milliseconds of a forward
    # pass, its memory beyond weights and images, cost of an image, speed-up over the un-reduced model measured in turn
    # with it, the one that GFLOPs imply, and that of the host's own blocks at the tokens that were left; the share of
    # a walk that its reducers take; on a GPU how long the host computer takes to enqueue a pass, and the GPU to
    # carry it out; tokens_left is <block>:<tokens> for each stage
    "bench": {
        "model": "str", "method": "str", "keep_rate": "float64", "batch_size": "int64", "precision": "str",
        "compiled": "bool", "graph": "bool", "device": "str", "threads": "int64", "data": "str", "repeats": "int64",
        "images_per_second": "float64", "low": "float64", "high": "float64", "latency_ms": "float64",
        "peak_mb": "float64", "gflops": "float64", "speedup": "float64", "ideal_speedup": "float64",
        **dict.fromkeys(("practical_speedup", "deciding", "enqueue_ms", "gpu_ms"), "float64"),
        "tokens_left": "str", "machine": "str",
    },
    # one row a diffusion model x setting x method of `tokenlens bench --pipeline`: steps of a picture a second (median
    # and quartiles), the share of time that goes into deciding what to merge, the speed-up over the un-reduced model
    "bench_pipeline": {
        **dict.fromkeys(("model", "method", "precision", "device", "machine"), "str"),
        **dict.fromkeys(("steps", "batch_size", "threads", "repeats"), "int64"),
        **dict.fromkeys(
            ("ratio", "guidance", "steps_per_second", "low", "high", "deciding", "speedup"), "float64"
        ),
    },
    # the same of a detector, of `tokenlens bench --detector`: images a second
    "bench_detector": {
        **dict.fromkeys(("model", "weights", "method", "device", "machine"), "str"),
        **dict.fromkeys(("patches", "batch_size", "threads", "repeats"), "int64"),
        **dict.fromkeys(("keep_rate", "images_per_second", "low", "high", "deciding", "speedup"), "float64"),
    },
    # one row a set of drawn pictures x real ones x features of `tokenlens fid`; recognised: a share, NaN where unknown;
    # steps, seed (-1) and guidance (NaN) are unknown of pictures that `tokenlens synthesize` did not draw
    "quality": {
        **dict.fromkeys(("drawn", "real", "features", "model", "method"), "str"), "n_real": "int64", "n_drawn": "int64",
        **dict.fromkeys(("steps", "seed"), "int64"), "guidance": "float64",
        **dict.fromkeys(("fid", "precision", "recall", "recognised", "ratio", "seconds"), "float64"),
        **dict.fromkeys(("family", "label", "color", "marker"), "str"), "order": "int64",
    },
}  # fmt: skip

COLUMNS["steps"] = {**COLUMNS["comparison"], "step": "int64", "branch": "str"}  # of runs of `tokenlens synthesize`

_nan, _empty = (lambda rows: np.nan), (lambda rows: "")
# columns that tables of before did not have, and what they hold there
ADDED: dict[str, dict[str, Callable[[pd.DataFrame], Any]]] = {
    "comparison": {
        "estimate": lambda rows: rows["value"], "z": _nan, "p": _nan, "ceiling": _nan, "reason": _empty, "null": _empty,
    },
    "bench": {
        "graph": lambda rows: False,
        **dict.fromkeys(("practical_speedup", "deciding", "enqueue_ms", "gpu_ms"), _nan),
    },
    "quality": {"steps": lambda rows: -1, "seed": lambda rows: -1, "guidance": _nan},
    "findings": (judged := {"p": _nan, "sensitivity": _empty, "bound": lambda rows: 0.0}), "truth": judged,
    "runs": {
        "label": lambda runs: runs["method"], "color": lambda runs: "", "marker": lambda runs: "",
        "order": lambda runs: UNORDERED, "keeps": lambda runs: runs["family"].isin(KEEPING),
        "merges": lambda runs: runs["family"].isin(MERGING), "top5": _nan, "blocks": _empty, "content": _empty,
        "options": lambda runs: "{}", "schedule": _empty, "below": _nan, "below_low": _nan, "below_high": _nan,
        "q": _nan,
    },
    "off_the_shelf": {"below_low": _nan, "below_high": _nan, "q": _nan},
}  # fmt: skip
