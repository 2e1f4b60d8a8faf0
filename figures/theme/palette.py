"""How each method is drawn and called, in every figure: one order, one palette.

A family has a hue, a line and its own markers; within a family methods go from dark to light. So methods are told apart
in colour, by the colour-blind (hues after Okabe and Ito, 2008), and in grey, where the marker decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any
from zlib import crc32

import matplotlib
import numpy as np

from tokenlens.records.run import CAPACITIES


@dataclass(frozen=True)
class Look:
    """How a method is drawn, and its name for readers."""

    name: str
    color: str
    marker: Any
    family: str


# in the order of the studies
LOOKS = {
    "none": Look("Un-reduced", "#000000", "*", "none"),
    "topk": Look("Top-K", "#08306b", "o", "pruning"),
    "evit": Look("EViT", "#1f6cb0", "s", "pruning"),
    "dynamicvit": Look("DynamicViT", "#5aa5dc", "^", "pruning"),
    "ats": Look("ATS", "#9fcdf0", "D", "pruning"),
    "tome": Look("ToMe", "#6b2500", "v", "merging"),
    "kmedoids": Look("K-Medoids", "#cc4d12", "p", "merging"),
    "dpcknn": Look("DPC-KNN", "#ff8c40", "h", "merging"),
    "sit": Look("SiT", "#85196f", "P", "soft"),
    "patchmerger": Look("PatchMerger", "#b0569f", "X", "soft"),
    "sinkhorn": Look("Sinkhorn", "#e0a3cf", "H", "soft"),
    "atc": Look("ATC", "#5d5700", "8", "merging"),
    "atc-single": Look("ATC single", "#998f28", "<", "merging"),
    "atc-complete": Look("ATC complete", "#d3a800", ">", "merging"),
    "atc-average": Look("ATC average", "#ecca45", "d", "merging"),
    "l1": Look("ℓ1", "#004d3a", "+", "radial"),
    "l2": Look("ℓ2", "#009e73", "x", "radial"),
    "linf": Look("ℓ∞", "#55b596", "1", "radial"),
    "random": Look("Random", "#8c8c8c", ".", "random"),
}
# for methods of other packages; a marker of three numbers is a star: points, kind, angle
SPARE = ("#4f3b78", "#7d7a3c", "#2f6f7a", "#a05a5a")
MARKERS: tuple[Any, ...] = (
    "|", "2", "3", "4", "_", (4, 1, 0), (3, 1, 0), (6, 2, 0), (8, 1, 0), (4, 1, 45), (3, 1, 180)
)  # fmt: skip
_shown: ContextVar[tuple[str, ...]] = ContextVar("shown", default=())  # of other packages, in their order
ORDER = tuple(LOOKS)
NAMES = {method: look.name for method, look in LOOKS.items()}
LINES: dict[str, Any] = {
    "none": "-", "pruning": "-", "merging": "--", "soft": "-.", "radial": ":", "random": (0, (1, 3))
}  # fmt: skip

METRICS = {
    "iou": "IoU", "corrected_iou": "IoU above chance", "ioa": "IoA", "homogeneity": "homogeneity",
    "completeness": "completeness", "vmeasure": "NMI", "ami": "AMI", "ari": "ARI",
    "foreground_recall": "object kept", "foreground_precision": "on the object",
    "kl": "KL", "kl_reverse": "KL reversed", "js": "JS",
    "js_published": "JS as published", "pcc": "PCC", "scc": "SCC", "sim": "SIM", "emd": "EMD",
    "depth_spearman": "ρ of depth and radius", "depth_kendall": "τ of depth and radius",
    "heatmap_spearman": "ρ of heat map and radius", "heatmap_kendall": "τ of heat map and radius",
    "procrustes": "Procrustes", "cka": "CKA", "pwcca": "PWCCA", "pwcca_reverse": "PWCCA reversed",
    "mean_cca": "mean CCA", "mean_squared_cca": "mean squared CCA",
}  # fmt: skip


MEASURES = {"top1": "top-1 accuracy", "top5": "top-5 accuracy", "mAP": "mAP", "given": "accuracy", "": "accuracy"}


@contextmanager
def among(methods: Iterable[str]) -> Iterator[None]:
    """Tell these methods apart where they come from other packages or are variants: by their order among them."""
    before = _shown.set(tuple(method for method in in_order(methods) if method not in LOOKS))
    try:
        yield
    finally:
        _shown.reset(before)


def color(method: str) -> str:
    """A method's colour, #rrggbb."""
    return _look(method).color


def marker(method: str) -> Any:
    """A method's marker as matplotlib takes it; no two of our methods share one."""
    return _look(method).marker


def linestyle(method: str) -> Any:
    """The line of a method's family, as matplotlib takes it."""
    return LINES.get(_look(method).family, (0, (5, 1, 1, 1, 1, 1)))


def label(method: str) -> str:
    """A method's name for readers: its own where it is none of ours."""
    return NAMES.get(method, method)


def place(dataset: str) -> str:
    """A data set's name for readers, without the path to it: embedded:shapes is shapes."""
    return PurePath(dataset.partition(":")[2] or dataset).name or dataset


def order_key(method: str) -> tuple[int, str]:
    """Sorts methods as in the studies: a variant after the method it is named after, strangers last and by name."""
    return (ORDER.index(_known(method)) if _known(method) else len(ORDER)), method


def in_order(methods: Iterable[str]) -> list[str]:
    """Each method once, as in the studies."""
    return sorted(set(methods), key=order_key)


def size_key(capacity: str) -> tuple[int, str]:
    """Sorts capacities from small to large; strangers last and by name."""
    return (CAPACITIES.index(capacity) if capacity in CAPACITIES else len(CAPACITIES)), capacity


def by_size(capacities: Iterable[str]) -> list[str]:
    """Each capacity once, from small to large."""
    return sorted(set(capacities), key=size_key)


def ink(ground: Any) -> str:
    """Black or white, whichever has the greater contrast ratio (WCAG 2) with a colour (3,), 0 to 1, of the ground."""
    part = np.asarray(ground, dtype=np.float64)[:3]
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    bright = float(linear @ (0.2126, 0.7152, 0.0722)) + 0.05
    return "black" if bright / 0.05 >= 1.05 / bright else "white"


def rate_color(rate: float) -> Any:
    """A keep rate's colour: dark where few tokens are left, light where most are, in grey too."""
    return matplotlib.colormaps["viridis"](0.05 + 0.85 * min(max(rate, 0.0), 1.0))


def _known(method: str) -> str:
    """The method of ours that a name stands for: itself, or what it is a variant of, as atc-ward of atc."""
    return method if method in LOOKS else next((m for m in ORDER if method.startswith(f"{m}-")), "")


def _look(method: str) -> Look:
    """A method's own look; a variant has its method's colour and line, and among others a marker of its own."""
    if method in LOOKS:
        return LOOKS[method]
    shown, known = _shown.get(), _known(method)
    if method not in shown and known:
        return LOOKS[known]
    number = shown.index(method) if method in shown else crc32(method.encode())
    shape, spare = MARKERS[number % len(MARKERS)], SPARE[number % len(SPARE)]
    return Look(method, LOOKS[known].color, shape, LOOKS[known].family) if known else Look(method, spare, shape, "")
