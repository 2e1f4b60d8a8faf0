"""The figures, one file each. To add one, write its file and put its name here."""

# isort: off
from . import (  # noqa: F401  importing registers; the order is that of the report
    accuracy,
    examples,
    depth,
    similarity,
    axes,
    datasets,
    proxy,
    correlations,
    chance,
    tokens_left,
    tradeoff,
    off_the_shelf,
    object,
    detections,
    detection,
    contact_sheet,
    quality,
    steps,
    latents,
)
