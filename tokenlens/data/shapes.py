"""The pictures of the embedded set `shapes`, painted when asked for (numpy alone).

A picture is 112 x 112 pixels, 14 x 14 patches of 8. One object of ten classes lies anywhere on a textured background,
among plain blobs and lines. A class is an outline and what fills it ("dotted triangle"); colours, their order, phase,
turn, size and place are drawn anew for every picture, so no pixel by itself tells the class. The object's place on
the patch grid is known, and classes take turns: picture i shows class i mod 10.

A picture depends on (split, index) alone. Shapes: h, w the sides of the box of pixels around one thing.
"""

from __future__ import annotations

import math
from colorsys import hsv_to_rgb
from functools import cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]  # float32 throughout
Box = tuple[slice, slice]

SIDE, PATCH = 112, 8
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
GRID = np.arange(SIDE, dtype=np.float32) + np.float32(0.5)
TAU = 2 * math.pi
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


def shapes(split: str, index: int) -> tuple[NDArray[np.uint8], int, NDArray[np.bool_]]:
    """Draw one picture: the image (112, 112, 3) uint8, its label, the object's patches (14, 14) bool, never empty.

    A patch belongs to the object when at least a quarter of it does.
    """
    rng = np.random.Generator(np.random.PCG64([crc32(b"shapes"), crc32(split.encode()), index]))
    label = index % len(CLASSES)
    canvas = _background(rng)
    for _ in range(rng.integers(3, 7)):
        _distract(canvas, rng)
    cover = _object(canvas, rng, label)
    canvas += _crop(_grain(), rng)[..., None]
    np.clip(canvas, 0, 1, out=canvas)
    canvas *= 255
    canvas += 0.5
    share = cover.reshape(SIDE // PATCH, PATCH, SIDE // PATCH, PATCH).mean((1, 3))
    return canvas.astype(np.uint8), label, share >= min(0.25, share.max())


def _color(hue: float, saturation: float, value: float) -> Floats:
    return np.array(hsv_to_rgb(hue % 1, saturation, value), np.float32)


def _crop(bank: Floats, rng: np.random.Generator) -> Floats:
    """A window (112, 112) of one texture of the bank, mirrored and turned at random."""
    which, row, column, turn = rng.integers(0, (len(bank), *(np.array(bank.shape[1:]) - SIDE), 8))
    window = bank[which, row : row + SIDE, column : column + SIDE]
    window = window[:: -1 if turn & 1 else 1, :: -1 if turn & 2 else 1]
    return window.T if turn & 4 else window


@cache
def _clouds() -> Floats:
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


@cache
def _cells() -> Floats:
    """(256, 256) cells of value 0, 1/2 or 1: what speckles and mosaics are looked up in."""
    return np.random.default_rng(crc32(b"cells")).integers(0, 3, (256, 256)).astype(np.float32) / 2


def _background(rng: np.random.Generator) -> Floats:
    hue, drift, saturation, value, depth = rng.random(5).tolist()
    dark = _color(hue, 0.15 + 0.35 * saturation, 0.28 + 0.45 * value)
    light = _color(hue + 0.25 * (drift - 0.5), 0.1 + 0.25 * saturation, 0.42 + 0.45 * value + 0.08 * depth)
    return dark + _crop(_clouds(), rng)[..., None] * (light - dark)


def _local(x: float, y: float, radius: float, angle: float) -> tuple[Box, Floats, Floats]:
    """The box (h, w) around a centre, and the turned coordinates of its pixels."""
    rows, columns = (slice(max(int(c - radius), 0), min(int(c + radius) + 2, SIDE)) for c in (y, x))
    down, right = (GRID[rows] - y)[:, None], (GRID[columns] - x)[None]
    cos, sin = math.cos(angle), math.sin(angle)
    return (rows, columns), cos * right + sin * down, cos * down - sin * right


def _blend(canvas: Floats, box: Box, cover: Floats, color: Floats) -> None:
    part = canvas[box]
    part += cover[..., None] * (color - part)


def _distract(canvas: Floats, rng: np.random.Generator) -> None:
    """Paint a small plain blob, or a line, anywhere."""
    x, y, angle, size, hue, saturation, value, kind = rng.random(8).tolist()
    line = kind < 0.35
    radius = 8 + 12 * size if line else 3.5 + 4.5 * size
    box, u, v = _local(SIDE * x, SIDE * y, 1.3 * radius, TAU * angle)
    if line:
        edge = np.maximum(abs(u) - radius, abs(v) - 1.1)
    else:
        edge = _edge(("disc", "square", "triangle")[int(3 * (kind - 0.35) / 0.65)], u, v, radius)
    _blend(canvas, box, np.clip(0.5 - edge, 0, 1), _color(hue, 0.2 + 0.6 * saturation, 0.3 + 0.65 * value))


def _object(canvas: Floats, rng: np.random.Generator, label: int) -> Floats:
    """Paint the object; returns how much of every pixel it covers, (112, 112) in 0..1."""
    fill, outline = CLASSES[label].split()
    size, x, y, angle, order = rng.random(5).tolist()
    radius = 17.5 + 10.5 * size
    x, y = (radius + 1 + c * (SIDE - 2 * radius - 2) for c in (x, y))
    box, u, v = _local(x, y, radius + 5, TAU * angle)
    edge = _edge(outline, u, v, radius)
    one, two = _pair(rng)
    if order < 0.5:
        one, two = two, one
    inside = one + _fill(fill, x, y, radius, rng)[..., None] * (two - one)
    inside *= (1 + 0.13 * v / radius)[..., None]
    inside *= (1 - 0.45 * np.clip(edge + 2, 0, 1))[..., None]
    canvas[box] *= (1 - 0.4 * np.clip(1 - edge / 4, 0, 1))[..., None]
    alpha = np.clip(0.5 - edge, 0, 1)
    _blend(canvas, box, alpha, inside)
    cover = np.zeros((SIDE, SIDE), np.float32)
    cover[box] = alpha
    return cover


def _pair(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Two colours that stand apart: a strong one, and a dark or a light one."""
    hue, drift, one, two, saturation, dark = rng.random(6).tolist()
    other = hue + 0.5 * (drift - 0.5)
    if dark < 0.5:
        strong, far = (0.35 + 0.5 * saturation, 0.82 + 0.18 * one), (0.4 + 0.4 * two, 0.12 + 0.22 * two)
    else:
        strong, far = (0.65 + 0.3 * saturation, 0.4 + 0.25 * one), (0.04 + 0.24 * two, 0.93 + 0.07 * one)
    return _color(hue, *strong), _color(other, *far)


def _edge(outline: str, u: Floats, v: Floats, radius: float) -> Floats:
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


def _fill(fill: str, x: float, y: float, radius: float, rng: np.random.Generator) -> Floats:
    """What fills the object: (h, w) in 0..1, from one colour to the other, turned and shifted at random."""
    angle, *phase, scale = rng.random(4).tolist()
    _, u, v = _local(x, y, radius + 5, TAU * angle)
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
