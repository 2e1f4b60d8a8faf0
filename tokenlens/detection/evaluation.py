"""Average precision as COCO counts it, by pycocotools: `truth` and `results` are what its files hold."""

from __future__ import annotations

import contextlib
import io
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import needed
from .data import COCO_BOUNDS

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
MOST = 1e5**2  # pixels; as pycocotools has it


def average_precision(
    truth: dict[str, Any],
    results: list[dict[str, Any]],
    kind: Literal["bbox", "segm"] = "bbox",
    bounds: tuple[float, float] = COCO_BOUNDS,
) -> dict[str, float]:
    """The twelve numbers of COCO's evaluation, in percent; NaN where the truth has nothing of a size.

    Args:
        truth: COCO's instances: images, categories, annotations.
        results: COCO's results: image_id, category_id, score, and bbox or segmentation.
        kind: boxes or masks.
        bounds: areas in pixels between small, medium and large objects.

    Raises:
        BadInput: pycocotools is not installed.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # it tells a terminal what it does
        session = _matched(truth, results, kind, bounds)
        session.accumulate()
        session.summarize()
    return {
        name: 100 * float(value) if value >= 0 else float("nan")
        for name, value in zip(NAMES, session.stats, strict=True)
    }


def drawn_precision(
    truth: dict[str, Any], results: list[dict[str, Any]], drawn: NDArray[np.int64],
    bounds: tuple[float, float] = COCO_BOUNDS,
) -> NDArray[np.float64]:  # fmt: skip
    """AP of boxes in percent where other images had been met: of all, small, medium and large objects.

    Args:
        truth: as in `average_precision`.
        results: of boxes.
        drawn: (draws, images) places of images in the order of their ids, some several times: a bootstrap.
        bounds: areas in pixels between small, medium and large objects.

    Returns:
        (draws, 4), NaN where nothing of a size was drawn.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        session = _matched(truth, results, "bbox", bounds, at_most=[100])
        images = len(session.params.imgIds)
        matched = np.array(session.evalImgs, dtype=object).reshape(-1, images)
        found = np.full((len(drawn), 1 + len(bounds) + 1), np.nan)
        for row, chosen in zip(found, drawn, strict=True):
            session.evalImgs = matched[:, chosen].ravel().tolist()
            session.accumulate()
            for size, precision in enumerate(np.moveaxis(session.eval["precision"][..., 0], -1, 0)):
                if (precision > -1).any():
                    row[size] = 100 * precision[precision > -1].mean()
    return found


def _matched(
    truth: dict[str, Any], results: list[dict[str, Any]], kind: str, bounds: tuple[float, float],
    at_most: list[int] | None = None,
) -> Any:  # fmt: skip
    """COCO's session in which each image's results are matched with what is there."""
    coco = needed("pycocotools.coco", "detection", "average precision")
    evaluate = needed("pycocotools.cocoeval", "detection", "average precision")
    there = coco.COCO()
    there.dataset = truth
    there.createIndex()
    found = there.loadRes(results) if results else _nothing(coco.COCO(), truth)
    session = evaluate.COCOeval(there, found, kind)
    medium, large = bounds
    session.params.areaRng = [[0, MOST], [0, medium], [medium, large], [large, MOST]]
    session.params.maxDets = at_most or session.params.maxDets
    session.evaluate()
    return session


def _nothing(empty: Any, truth: dict[str, Any]) -> Any:
    """Results of a detector that found nothing, which pycocotools does not read."""
    empty.dataset = {**truth, "annotations": []}
    empty.createIndex()
    return empty
