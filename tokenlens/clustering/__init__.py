"""Exact batched clustering that methods call, on CPUs and accelerators."""

from .batch import Linkage, Metric, agglomerative

__all__ = ["Linkage", "Metric", "agglomerative"]
