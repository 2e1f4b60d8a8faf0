"""The pictures of the embedded set `shapes`, painted when asked for (numpy alone).

A picture is 112 x 112 pixels, 14 x 14 patches of 8. One object of ten classes lies anywhere on a textured background,
among plain blobs and lines. A class is an outline and what fills it ("dotted triangle"); colours, their order, phase,
turn, size and place are drawn anew for every picture, so no pixel by itself tells the class. The object's place on
the patch grid is known, and classes take turns: picture i shows class i mod 10.

A picture depends on (bias, split, index) alone. Shapes: h, w the sides of the box of pixels around one thing.
"""

from __future__ import annotations

from functools import cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from .outlines import Floats, edge_of
from .paint import (
    SIDE,
    TAU,
    background,
    between,
    blend,
    contrast,
    distract,
    empty_cover,
    finish,
    generator,
    local,
    patches,
    soft,
)

CLASSES = (
    "striped disc",
    "checkered square",
    "dotted triangle",
    "ringed star",
    "zigzag cross",
    "spoked ring",
    "speckled hexagon",
    "banded heart",
    "mosaic flower",
    "shaded crescent",
)
PERIODS = {  # in pixels
    "striped": 4.2,
    "checkered": 11,
    "dotted": 7.5,
    "ringed": 7,
    "zigzag": 7,
    "banded": 10.5,
    "spoked": 1,
    "shaded": 1,
}


def shapes(split: str, index: int, bias: float = 0.0) -> tuple[NDArray[np.uint8], int, NDArray[np.bool_]]:
    """Draw one picture: the image (112, 112, 3) uint8, its label, the object's patches (14, 14) bool, never empty.

    `bias` says how far the object is moved towards the centre: 0 not at all, 1 all the way. A patch belongs to the
    object when at least a quarter of it does.
    """
    rng = generator("shapes", split, index)
    label = index % len(CLASSES)
    canvas = background(rng)
    for _ in range(rng.integers(3, 7)):
        distract(canvas, rng)
    cover = _object(canvas, rng, label, bias)
    return finish(canvas, rng), label, patches(cover)


@cache
def _cells() -> Floats:
    """(256, 256) cells of value 0, 1/2 or 1: what speckles and mosaics are looked up in."""
    return np.random.default_rng(crc32(b"cells")).integers(0, 3, (256, 256)).astype(np.float32) / 2


def _object(canvas: Floats, rng: np.random.Generator, label: int, bias: float) -> Floats:
    """Paint the object; returns how much of every pixel it covers, (112, 112) in 0..1."""
    fill, outline = CLASSES[label].split()
    size, x, y, angle, order = rng.random(5).tolist()
    radius = 17.5 + 10.5 * size
    x, y = (radius + 1 + (c + bias * (0.5 - c)) * (SIDE - 2 * radius - 2) for c in (x, y))
    box, u, v = local(x, y, radius + 5, TAU * angle)
    edge = edge_of(outline, u, v, radius)
    one, two = contrast(rng)
    if order < 0.5:
        one, two = two, one
    inside = between(one, two, _fill(fill, x, y, radius, rng))
    inside *= (1 + 0.13 * v / radius)[..., None]
    inside *= (1 - 0.45 * np.clip(edge + 2, 0, 1))[..., None]
    canvas[box] *= (1 - 0.4 * np.clip(1 - edge / 4, 0, 1))[..., None]
    alpha = soft(edge)
    blend(canvas, box, alpha, inside)
    cover = empty_cover()
    cover[box] = alpha
    return cover


def _fill(fill: str, x: float, y: float, radius: float, rng: np.random.Generator) -> Floats:
    """What fills the object: (h, w) in 0..1, from one colour to the other, turned and shifted at random."""
    angle, *phase, scale = rng.random(4).tolist()
    _, u, v = local(x, y, radius + 5, TAU * angle)
    if fill in ("speckled", "mosaic"):
        cell = 2.2 + 0.8 * scale if fill == "speckled" else 5.5 + 1.5 * scale
        row, column = (((w + 64) / cell + 180 * p).astype(int) for w, p in zip((v, u), phase, strict=True))
        cells: Floats = _cells()[row, column]
        return cells
    pace = TAU / (PERIODS[fill] * (0.92 + 0.25 * scale))
    a, b = pace * u + TAU * phase[0], pace * v + TAU * phase[1]
    wave: Floats
    if fill == "shaded":
        wave = 1.2 * u / radius
    elif fill == "checkered":
        wave = 4 * np.sin(a) * np.sin(b)
    elif fill == "dotted":
        wave = 1.5 * (np.cos(a) + np.cos(b) - 0.5)
    elif fill == "ringed":
        wave = 2 * np.sin(pace * np.hypot(u, v) + TAU * phase[0])
    elif fill == "zigzag":
        wave = 2 * np.sin(a + TAU * abs((b / TAU) % 2 - 1))
    elif fill == "spoked":
        wave = 4 * np.sin(int(9 + 4 * scale) * np.arctan2(v, u))
    else:
        wave = 2 * np.sin(a)
    wave = np.clip(0.5 + 0.5 * wave, 0, 1)
    return wave
