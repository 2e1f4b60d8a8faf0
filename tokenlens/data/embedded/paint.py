"""What the embedded sets are painted with: a canvas, textures, colours, soft edges (numpy alone).

A canvas is (112, 112, 3) float32 in 0..1, 14 x 14 patches of 8 pixels. Every thing is painted into the box of pixels
around it, so that small things are cheap. Shapes: h, w the sides of such a box.
"""

from __future__ import annotations

import math
from colorsys import hsv_to_rgb
from functools import cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from .outlines import Floats, edge_of

Box = tuple[slice, slice]

SIDE, PATCH = 112, 8
GRID = np.arange(SIDE, dtype=np.float32) + np.float32(0.5)
TAU = 2 * math.pi


def generator(name: str, split: str, index: int) -> np.random.Generator:
    """The source of all that is random in one picture."""
    return np.random.Generator(np.random.PCG64([crc32(name.encode()), crc32(split.encode()), index]))


def color(hue: float, saturation: float, value: float) -> Floats:
    """(3,) RGB of a colour whose hue goes round from 0 to 1."""
    return np.array(hsv_to_rgb(hue % 1, saturation, value), np.float32)


def contrast(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Two colours that stand apart: a strong one, and a dark or a light one."""
    hue, drift, one, two, saturation, dark = rng.random(6).tolist()
    other = hue + 0.5 * (drift - 0.5)
    if dark < 0.5:
        strong, far = (0.35 + 0.5 * saturation, 0.82 + 0.18 * one), (0.4 + 0.4 * two, 0.12 + 0.22 * two)
    else:
        strong, far = (0.65 + 0.3 * saturation, 0.4 + 0.25 * one), (0.04 + 0.24 * two, 0.93 + 0.07 * one)
    return color(hue, *strong), color(other, *far)


def crop(bank: Floats, rng: np.random.Generator, turns: int = 8) -> Floats:
    """A window (112, 112) of one texture of the bank, mirrored and turned at random; `turns` 4: only mirrored."""
    which, row, column, turn = rng.integers(0, (len(bank), *(np.array(bank.shape[1:]) - SIDE), turns))
    window = bank[which, row : row + SIDE, column : column + SIDE]
    window = window[:: -1 if turn & 1 else 1, :: -1 if turn & 2 else 1]
    return window.T if turn & 4 else window


@cache
def clouds() -> Floats:
    """(texture, 224, 224) in 0..1: smooth noise of two octaves, some of it stretched into streaks."""
    rng, side = np.random.default_rng(crc32(b"clouds")), 2 * SIDE

    def spread(cells: int) -> Floats:
        place = np.arange(side) * cells / side
        left = place.astype(int)
        rise = (place - left) ** 2 * (3 - 2 * (place - left))
        weights = np.zeros((side, cells + 1), np.float32)
        weights[np.arange(side), left], weights[np.arange(side), left + 1] = 1 - rise, rise
        return weights

    bank = []
    for rows, columns in [(4, 4), (7, 7), (12, 12), (20, 20), (30, 30), (6, 24), (10, 40), (4, 48)] * 4:
        field = np.zeros((side, side), np.float32)
        for octave, weight in ((1, 1.0), (3, 0.35)):
            lattice = rng.random((rows * octave + 1, columns * octave + 1), dtype=np.float32)
            field += weight * (spread(rows * octave) @ lattice @ spread(columns * octave).T)
        bank.append((field - field.min()) / (field.max() - field.min()))
    return np.stack(bank)


@cache
def _grain() -> Floats:
    return np.random.default_rng(crc32(b"grain")).normal(0, 0.012, (2, 2 * SIDE, 2 * SIDE)).astype(np.float32)


def background(rng: np.random.Generator) -> Floats:
    """A canvas of clouds between two colours."""
    hue, drift, saturation, value, depth = rng.random(5).tolist()
    dark = color(hue, 0.15 + 0.35 * saturation, 0.28 + 0.45 * value)
    light = color(hue + 0.25 * (drift - 0.5), 0.1 + 0.25 * saturation, 0.42 + 0.45 * value + 0.08 * depth)
    return between(dark, light, crop(clouds(), rng))


def between(one: Floats, other: Floats, share: Floats) -> Floats:
    """Colours (h, w, 3) from one to the other; channels lie apart in memory, so that numpy runs along rows."""
    planes: Floats = one[:, None, None] + share[None] * (other - one)[:, None, None]
    return planes.transpose(1, 2, 0)


def shaded(paint: Floats, shade: Floats) -> Floats:
    """Colours (h, w, 3): one colour, lighter or darker."""
    planes: Floats = paint[:, None, None] * shade[None]
    return planes.transpose(1, 2, 0)


def local(x: float, y: float, radius: float, angle: float) -> tuple[Box, Floats, Floats]:
    """The box (h, w) around a centre, and the turned coordinates of its pixels; empty outside the canvas."""
    rows, columns = (slice(max(int(c - radius), 0), max(min(int(c + radius) + 2, SIDE), 0)) for c in (y, x))
    down, right = (GRID[rows] - y)[:, None], (GRID[columns] - x)[None]
    cos, sin = math.cos(angle), math.sin(angle)
    return (rows, columns), cos * right + sin * down, cos * down - sin * right


def soft(edge: Floats) -> Floats:
    """How much of a pixel is covered, 0..1, of the distance to an outline in pixels."""
    cover: Floats = np.minimum(np.maximum(0.5 - edge, 0), 1)  # np.clip takes longer on small boxes
    return cover


def blend(canvas: Floats, box: Box, cover: Floats, paint: Floats) -> None:
    """Paint a colour (3,), or colours (h, w, 3), over a box as far as `cover` (h, w) says."""
    part = canvas[box]
    part += cover[..., None] * (paint - part)


def distract(canvas: Floats, rng: np.random.Generator) -> None:
    """Paint a small plain blob, or a line, anywhere."""
    x, y, angle, size, hue, saturation, value, kind = rng.random(8).tolist()
    line = kind < 0.35
    radius = 8 + 12 * size if line else 3.5 + 4.5 * size
    box, u, v = local(SIDE * x, SIDE * y, 1.3 * radius, TAU * angle)
    if line:
        edge = np.maximum(abs(u) - radius, abs(v) - 1.1)
    else:
        edge = edge_of(("disc", "square", "triangle")[int(3 * (kind - 0.35) / 0.65)], u, v, radius)
    blend(canvas, box, soft(edge), color(hue, 0.2 + 0.6 * saturation, 0.3 + 0.65 * value))


def finish(canvas: Floats, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The picture (112, 112, 3): the canvas with some grain, rounded."""
    canvas += crop(_grain(), rng)[..., None]
    np.clip(canvas, 0, 1, out=canvas)
    canvas *= 255
    canvas += 0.5
    return canvas.astype(np.uint8, order="C")


def empty_cover() -> Floats:
    """(112, 112) of which nothing is covered."""
    return np.zeros((SIDE, SIDE), np.float32)


def patches(cover: Floats, least: float = 0.25) -> NDArray[np.bool_]:
    """(14, 14) the patches of which a cover (112, 112) takes at least this share, or, of small things, the most."""
    share = cover.reshape(SIDE // PATCH, PATCH, SIDE // PATCH, PATCH).mean((1, 3))
    covered: NDArray[np.bool_] = share >= min(least, share.max())
    return covered
