"""The metrics, in the order in which they are listed."""

from . import overlap, partition, foreground, attention, causal, heatmap, radial, spatial, features  # noqa: F401, I001  # importing registers them
