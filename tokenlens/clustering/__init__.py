"""Exact batched clustering that methods call, on CPUs and accelerators."""

from .batch import Linkage, Metric, agglomerative
from .euclidean import euclidean

__all__ = ["Linkage", "Metric", "agglomerative", "euclidean"]
