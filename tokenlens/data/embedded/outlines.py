"""Outlines by name, as signed distances.

Shapes: h, w the sides of a box of pixels; u, v are coordinates around the centre, broadcast to (h, w), in pixels.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]  # float32 throughout


def edge_of(outline: str, u: Floats, v: Floats, radius: float) -> Floats:
    """Distance in pixels to the outline, negative inside, about right near it; no point lies beyond `radius`."""
    away: Floats = np.hypot(u, v)
    near: Floats = np.minimum(abs(u), abs(v))
    far: Floats = np.maximum(abs(u), abs(v))
    edge: Floats
    if outline == "square":
        edge = far - 0.76 * radius
    elif outline == "cross":
        edge = np.maximum(far - 0.93 * radius, near - 0.36 * radius)
    elif outline == "heart":
        half = 0.46 * radius
        u, v = u + 0.5 * half, v + 0.5 * half
        lobes = np.minimum(np.hypot(u - half, v), np.hypot(u, v - half)) - half
        edge = np.minimum(np.maximum(abs(u), abs(v)) - half, lobes)
    elif outline == "disc":
        edge = away - 0.92 * radius
    elif outline == "ring":
        edge = abs(away - 0.69 * radius) - 0.29 * radius
    elif outline == "crescent":
        edge = np.maximum(away - radius, 0.72 * radius - np.hypot(u - 0.5 * radius, v))
    else:
        edge = away - radius * _reach(outline, np.arctan2(v, u))
    return edge


def _reach(outline: str, angle: Floats) -> Floats:
    """How far an outline reaches towards an angle, as a share of its radius: flowers, regular polygons, stars."""
    reach: Floats
    if outline == "flower":
        reach = 0.83 + 0.17 * np.cos(6 * angle)
    else:  # the straight line from a corner to the waist between two corners
        corners, waist = {"triangle": (3, 0.5), "hexagon": (6, math.cos(math.pi / 6)), "star": (5, 0.56)}[outline]
        half = math.pi / corners
        folded = abs((angle + half) % (2 * half) - half)
        across, along = waist * math.sin(half), 1 - waist * math.cos(half)
        reach = across / (across * np.cos(folded) + along * np.sin(folded))
    return reach
