"""The models that tokens run through, one file a family. To add one, write its file and put its name here."""

from .._moved import left_names
from . import (  # noqa: F401  importing registers
    hf_vision,
    open_clip,
    timm_eva,
    timm_hybrid,
    timm_naflex,
    timm_relative,
    timm_vit,
    torchvision_vit,
    windowed,
)

__getattr__ = left_names(__name__)
