"""The small detector that comes with the package: a ViT-Adapter of 64 channels for the embedded set `scenes`.

Pictures of 112 x 112 are seen at 224 x 224, so that a patch of 16 pixels is one of the set's own 14 x 14.
`python -m tokenlens.workflows.nano.detector` trains it, from the blocks of `nano`.
"""

from __future__ import annotations

from .interaction import AdapterConfig
from .mask_rcnn import DetectorConfig

NAME = "nano-detector"
GREY = (127.5, 127.5, 127.5)
NANO = DetectorConfig(
    AdapterConfig(width=64, heads=4, pretrained=(14, 14), drop_path=0.0, stem=16, deform_heads=4),
    channels=64,
    hidden=192,
    classes=10,
    proposals=100,
    sampled=64,
    long=224,
    short=224,
    mean=GREY,
    std=GREY,
)
