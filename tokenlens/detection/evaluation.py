"""Average precision as COCO counts it, by pycocotools: `truth` and `results` are what its files hold."""

from __future__ import annotations

import contextlib
import io
from typing import Any, Literal

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
    coco = needed("pycocotools.coco", "detection", "average precision")
    evaluate = needed("pycocotools.cocoeval", "detection", "average precision")
    with contextlib.redirect_stdout(io.StringIO()):  # it tells a terminal what it does
        there = coco.COCO()
        there.dataset = truth
        there.createIndex()
        found = there.loadRes(results) if results else _nothing(coco.COCO(), truth)
        session = evaluate.COCOeval(there, found, kind)
        medium, large = bounds
        session.params.areaRng = [[0, MOST], [0, medium], [medium, large], [large, MOST]]
        session.evaluate()
        session.accumulate()
        session.summarize()
    return {
        name: 100 * float(value) if value >= 0 else float("nan")
        for name, value in zip(NAMES, session.stats, strict=True)
    }


def _nothing(empty: Any, truth: dict[str, Any]) -> Any:
    """Results of a detector that found nothing, which pycocotools does not read."""
    empty.dataset = {**truth, "annotations": []}
    empty.createIndex()
    return empty
