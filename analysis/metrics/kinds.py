"""What metrics are taken of, and what all metrics of a kind have in common: axes, nulls, tests, targets."""

from __future__ import annotations

from typing import Literal

Of = Literal[
    "kept", "group", "object", "segments", "layout", "attention", "insertion", "deletion", "depth", "heatmap", "feature"
]  # fmt: skip
CURVES: tuple[Of, ...] = ("insertion", "deletion")
"""curves of what a model makes of a part of the patches, beside the share of them that it is shown"""
MEANS: tuple[Of, ...] = ("kept", "group", "object", "segments", "layout", "attention", *CURVES, "depth")
"""taken image by image, and averaged"""
PAIRS: tuple[Of, ...] = ("kept", "group")
"""those of them that put two runs beside each other, and not one run beside something"""
IMAGE_BY_IMAGE = ("method", "capacity", "keep_rate", "seed", "change")  # of runs over the same images
CROSSED = "capacity+keep_rate"  # what lower keep rates keep of higher ones', which few metrics can tell
AXES: dict[Of, tuple[str, ...]] = {
    **dict.fromkeys((*PAIRS, "feature"), IMAGE_BY_IMAGE), **dict.fromkeys(("object", "segments"), ("object",)),
    "layout": ("layout",), "attention": ("attention",), **dict.fromkeys(CURVES, ("curve",)),
    "depth": ("radial",),
    "heatmap": ("method", "capacity", "keep_rate", "dataset", "seed"),
}  # fmt: skip
"""along which they are taken if not told"""
MORE_AXES: dict[Of, tuple[str, ...]] = {"kept": (CROSSED,), "group": (CROSSED,), "heatmap": (CROSSED, "radial")}
"""along which they can be taken too"""
NULLS: dict[Of, tuple[str, ...]] = {
    **dict.fromkeys(MEANS, ("analytic", "other-image", "torus", "permutation")),
    **dict.fromkeys(("depth", "layout", "attention"), ("analytic",)), **dict.fromkeys(CURVES, ()),
    "heatmap": ("torus", "permutation", "analytic"), "feature": ("analytic", "permutation"),
}  # fmt: skip
"""what they can be put beside, what it is if not told first; see `analysis.nulls`"""
ONE_NULL: dict[Of, str] = {
    "layout": "a pattern is beside its own grid, for which nothing else can stand",
    "attention": "which patches are still there to be attended to is another question on every image",
    "depth": "the distance from the centre is the same on every image",
    **dict.fromkeys(CURVES, "what other patches tell a model is another run, such as one of the method random"),
}
"""why the analytic null is the only one, or there is none"""
TESTS: dict[Of, str] = {
    **dict.fromkeys(MEANS, "of the mean of value less chance over images, by Student's t"),
    **dict.fromkeys(CURVES, "none, since what chance gives is not known; the table curves has differences of two runs"),
    "heatmap": "of the value among those with one map moved or shuffled; of EMD, a transport each, only with --null",
    "feature": "of the value among those of 19 permutations, only with --null permutation, which decompose all anew",
}
"""what z and p are"""
CEILINGS: dict[Of, str] = {
    **dict.fromkeys(MEANS, "none, since one run is beside what does not vary"),
    **dict.fromkeys(PAIRS, "what two seeds of the runs give; halves of the images tell nothing of one image's pattern"),
    "heatmap": "what a run's map gives beside its own on other images, by resamples",
    "feature": "what two seeds of the runs give; on the same images a run is beside itself the same",
}
"""the most that two runs could be alike"""
TARGETS: dict[Of, str] = {
    **dict.fromkeys(MEANS, "the mean over all images of which these are some"),
    "heatmap": "the value of the mean maps over all images of which these are some",
    "feature": "the value of the covariances over all images of which these are some",
}
"""what an estimate, and its interval, are of"""
READS: dict[Of, str] = {
    **dict.fromkeys((*MEANS, "heatmap", "feature"), "more alike"),
    **dict.fromkeys(("object", "segments", *CURVES), "better"),
    **dict.fromkeys(("layout", "depth"), ""),
}  # fmt: skip
"""what a value that is nearer to the best is; empty: neither end is better"""
