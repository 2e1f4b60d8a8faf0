"""The models that tokens run through, one file a family. To add one, write its file and put its name here."""

from . import timm_vit  # noqa: F401  importing registers
