"""A whole detector with a method of the registry in its backbone."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.schedule import STUDY_BLOCKS
from ..methods import method as method_named
from .adapter import reduced
from .mask_rcnn import MaskRCNN


def reduced_detector(
    detector: MaskRCNN,
    method: str = "atc-average",
    keep_rate: float | Sequence[float] = 0.5,
    blocks: Sequence[int] = STUDY_BLOCKS,
    options: Sequence[str] = (),
    seed: int = 0,
) -> MaskRCNN:
    """A copy of a detector, in evaluation mode, that reduces tokens in its backbone; see `adapter.reduced`.

    Args:
        options: of the method, as the command line has them: "linkage=single".
    """
    model = MaskRCNN(detector.config)
    model.load_state_dict(detector.state_dict())
    settings = method_named(method).parse(options)
    model.backbone = reduced(model.backbone, method, keep_rate, blocks, seed=seed, **settings)
    return model.eval()
