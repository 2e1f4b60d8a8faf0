"""The methods, one file each. To add one, write its file and put its name here."""

# isort: off
from . import (  # noqa: F401  importing registers; the study's methods come first, in its order
    none,
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
    pitome,
    tofu,
    diffrate,
    mctf,
    tps,
    dtem,
    ltmp,
    diffrate_learned,
    gtp,
    evovit,
    avit,
    visionzip,
    divprune,
    avgpool,
    downsample,
)

# isort: on
from ..core.reducer import Reducer, Stage
from .registry import Method, expanded, method, methods, register

__all__ = ["Method", "Reducer", "Stage", "expanded", "method", "methods", "register"]
