"""The models that tokens run through, one file a family. To add one, write its file and put its name here."""

from .._moved import left_names
from . import timm_eva, timm_hybrid, timm_relative, timm_vit, windowed  # noqa: F401  importing registers

__getattr__ = left_names(__name__)
