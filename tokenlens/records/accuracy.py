"""Accuracy in percent: top-1 and top-5 of one class an image, mean average precision of several.

Average precision as the published code has it (JoakimHaurum/TokenReduction@dc1c773, utils.py, `average_precision` and
`mAP`): images by falling score, precision at each image that is of the class, their sum divided by the number of such
images plus 1e-8. A class that no image is of counts as 0 in the mean. torchmetrics and scikit-learn agree, but for

* ties: they take images of equal score as one step, so that order says nothing. The published sort leaves ties in no
  stated order; here the later image goes first, which is what it does wherever its sort is stable. Half precision makes
  many ties;
* the scores: the published code and torchmetrics rank sigmoids in float32, which are all 1 beyond logits of 17; here
  logits are ranked.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["average_precision", "mean_average_precision", "summary", "top_k", "torchmetrics_map"]

EPSILON = 1e-8  # of the published code
APART = 0.01  # percent; mAP and torchmetrics' are given side by side from here on


def top_k(rank: ArrayLike, k: int) -> float:
    """Percent of the images whose class is among the k best, of (images,) ranks that are known."""
    return 100 * float((np.asarray(rank) < k).mean())


def average_precision(score: ArrayLike, label: ArrayLike) -> NDArray[np.float64]:
    """Average precision of each class, as the study has it (see above).

    Args:
        score: (images, classes) float: the higher, the surer; only their order counts.
        label: (images, classes) bool: the image is of the class.

    Returns:
        (classes,) float64 in [0, 1]; 0 for a class that no image is of; NaN for one with a score that is NaN, which
        has no place in any order.
    """
    scores, labels = np.asarray(score), np.asarray(label, bool)
    order = np.argsort(scores, axis=0, kind="stable")[::-1]
    right = np.take_along_axis(labels, order, axis=0)
    precision = np.cumsum(right, axis=0) / np.arange(1, len(right) + 1)[:, None]
    found: NDArray[np.float64] = (precision * right).sum(0) / (right.sum(0) + EPSILON)
    return np.where(np.isnan(scores).any(axis=0), np.nan, found)


def mean_average_precision(score: ArrayLike, label: ArrayLike) -> float:
    """Mean of `average_precision` over all classes, in percent."""
    return 100 * float(average_precision(score, label).mean())


def torchmetrics_map(score: ArrayLike, label: ArrayLike) -> float | None:
    """Mean average precision by torchmetrics, in percent; None where it is not installed. Arrays as above."""
    try:
        from torchmetrics.functional.classification import binary_average_precision
    except ModuleNotFoundError:  # it comes with the extra `train`
        return None
    import torch

    scores, labels = torch.as_tensor(np.asarray(score, np.float32)), torch.as_tensor(np.asarray(label, np.int64))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No positive samples found")  # such a class counts 0 there too
        each = [float(binary_average_precision(s, t)) for s, t in zip(scores.T, labels.T, strict=True)]
    return 100 * float(np.mean(each))


def summary(arrays: Any) -> dict[str, float]:
    """What a run's arrays amount to, over the images whose label is known.

    Args:
        arrays: by name, as in `tokenlens.records.schema`: label, and rank or score.

    Returns:
        top1 and top5; of a multi-label set mAP, and mAP_torchmetrics where that is another number; {} without labels.
    """
    label = np.asarray(arrays["label"])
    if label.ndim == 2:
        return _several(np.asarray(arrays["score"]), label) if "score" in arrays else {}
    rank = np.asarray(arrays["rank"])
    rank = rank[rank >= 0]
    return {"top1": top_k(rank, 1), "top5": top_k(rank, 5)} if len(rank) else {}


def _several(score: NDArray[Any], label: NDArray[np.bool_]) -> dict[str, float]:
    found = {"mAP": mean_average_precision(score, label)}
    theirs = torchmetrics_map(score, label)
    if theirs is not None and abs(theirs - found["mAP"]) > APART:
        found["mAP_torchmetrics"] = theirs
    return found
