"""The methods, one file each. To add one, write its file and put its name here."""

from . import (  # noqa: F401  importing registers; the order is the study's
    atc,
    ats,
    dpcknn,
    dynamicvit,
    evit,
    kmedoids,
    none,
    patchmerger,
    radial,
    random,
    sinkhorn,
    sit,
    tome,
    topk,
)
from .base import Method, Reducer, Stage, method, methods, register

__all__ = ["Method", "Reducer", "Stage", "method", "methods", "register"]
