"""The methods, one file each. To add one, write its file and put its name here."""

# isort: off
from . import (  # noqa: F401  importing registers; the order is the study's
    topk,
    evit,
    dynamicvit,
    ats,
    tome,
    kmedoids,
    dpcknn,
    sit,
    patchmerger,
    sinkhorn,
    atc,
    radial,
    random,
    none,
)

# isort: on
from .base import Method, Reducer, Stage, method, methods, register

__all__ = ["Method", "Reducer", "Stage", "method", "methods", "register"]
