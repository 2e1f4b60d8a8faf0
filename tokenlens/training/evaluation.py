"""How good a model is on the images to judge by: each process looks at its share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import Subset

from ..core.reduced_vit import ReducedViT
from ..data import ImageSet
from ..data.loading import Loader, Loading, collate, pictures
from ..extraction.batch import ranks
from ..records.accuracy import summary

if TYPE_CHECKING:
    from accelerate import Accelerator  # type: ignore[import-untyped]


@torch.inference_mode()
def evaluate(model: ReducedViT, data: ImageSet, loading: Loading, accelerator: Accelerator) -> dict[str, float]:
    """top1 and top5 in percent, or mAP where images have several labels; the same in every process."""
    from accelerate.utils import gather_object  # type: ignore[import-untyped]

    mine = range(accelerator.process_index, len(data), accelerator.num_processes)
    shown = Subset(pictures(data, loading), mine)
    loader = Loader(shown, collate, batch_size=loading.batch_size, num_workers=loading.workers)
    was_training = model.training
    model.eval()
    found: list[np.ndarray] = []
    for images, labels, _ in loader:
        with accelerator.autocast():
            logits = model(images.to(accelerator.device)).float().cpu()
        found.append(logits.numpy() if data.multi_label else ranks(logits, labels).numpy())
    model.train(was_training)
    parts = gather_object([np.concatenate(found)] if found else [])
    if not data.multi_label:
        return summary({"label": np.empty(0), "rank": np.concatenate(parts)})
    order = np.concatenate([np.arange(rank, len(data), len(parts)) for rank in range(len(parts))])
    labels = np.stack([np.asarray(data.label(int(index))) for index in order])
    return summary({"label": labels, "score": np.concatenate(parts)})


def measure_of(data: ImageSet) -> str:
    """What the better of two models is better in."""
    return "mAP" if data.multi_label else "top1"
