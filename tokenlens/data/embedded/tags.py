"""The pictures of the embedded set `tags`: no objects, but sixteen attributes of the whole picture.

Four groups of four tags: texture, palette, weather, layout. Of each group a picture has one tag or none, with equal
chances, and tag i mod 16 is always among those of picture i: a fifth of the pictures have any one tag. What a tag
leaves open (hue, turn, period, phase, strength, place) is drawn anew for every picture, and plain blobs lie about.

A picture depends on (split, index) alone. There is no mask: every patch tells something.
"""

from __future__ import annotations

from functools import cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from .outlines import Floats
from .paint import GRID, SIDE, TAU, between, blend, clouds, color, crop, distract, finish, generator, local, soft

GROUPS = {
    "texture": ("stripes", "dots", "checks", "waves"),
    "palette": ("warm", "cool", "pastel", "grey"),
    "weather": ("rain", "snow", "fog", "night"),
    "layout": ("horizon", "diagonal", "frame", "mirror"),
}
CLASSES = tuple(tag for group in GROUPS.values() for tag in group)


def tags(split: str, index: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_], None]:
    """Draw one picture: the image (112, 112, 3) uint8, its tags (16,) bool, and no mask."""
    rng = generator("tags", split, index)
    label = choose(rng, index % len(CLASSES))
    texture, palette, weather, layout = (
        next((tag for tag in group if label[CLASSES.index(tag)]), "") for group in GROUPS.values()
    )
    field = 0.45 * crop(clouds(), rng) + 0.55 * _pattern(texture, rng)
    one, two, three = _colors(palette, rng)
    canvas = between(one, two, field)
    for _ in range(rng.integers(3, 7)):
        distract(canvas, rng)
    _lay_out(layout, canvas, three, rng)
    _weather(weather, canvas, rng)
    return finish(canvas, rng), label, None


def choose(rng: np.random.Generator, always: int) -> NDArray[np.bool_]:
    """(16,) the tags of a picture: of each group one of five with equal chances, four tags and none; and `always`."""
    label = np.zeros((len(GROUPS), 5), bool)
    label[np.arange(len(GROUPS)), rng.integers(0, 5, len(GROUPS))] = True
    label[always // 4] = np.arange(5) == always % 4
    return label[:, :4].ravel()


def _pattern(texture: str, rng: np.random.Generator) -> Floats:
    """A regular pattern (112, 112) in 0..1, or more clouds."""
    if not texture:
        return crop(clouds(), rng)
    turn, period, *phase = rng.random(4).tolist()
    _, u, v = local(SIDE / 2, SIDE / 2, SIDE, TAU * turn)
    pace = TAU / (8 + 6 * period)
    a, b = pace * u + TAU * phase[0], pace * v + TAU * phase[1]
    if texture == "stripes":
        wave = 3 * np.sin(a)
    elif texture == "dots":
        wave = 2.5 * (np.cos(a) + np.cos(b) - 0.8)
    elif texture == "checks":
        wave = 5 * np.sin(a) * np.sin(b)
    else:
        wave = 3 * np.sin(a + 1.6 * np.sin(0.6 * b))
    pattern: Floats = np.clip(0.5 + 0.5 * wave, 0, 1)
    return pattern


def _colors(palette: str, rng: np.random.Generator) -> list[Floats]:
    """Three colours of a palette; without a tag, one warm, one cool and one green."""
    hue, saturation, value = rng.random((3, 3))
    order = rng.permutation(3)
    value = np.array([0.3, 0.85, 0.6])[order] + 0.15 * (value - 0.5)
    saturation = 0.5 + 0.4 * saturation
    if palette == "warm":
        hue = -0.04 + 0.19 * hue
    elif palette == "cool":
        hue = 0.47 + 0.24 * hue
    elif palette == "pastel":
        saturation, value = 0.12 + 0.2 * saturation, 0.92 + 0.1 * (value - 0.5)
    elif palette == "grey":
        saturation = 0.06 * saturation
    else:
        hue = np.array([0.02, 0.58, 0.33])[rng.permutation(3)] + 0.1 * hue
    return [color(*numbers) for numbers in zip(hue.tolist(), saturation.tolist(), value.tolist(), strict=True)]


def _lay_out(layout: str, canvas: Floats, third: Floats, rng: np.random.Generator) -> None:
    """Part the picture: a ground below a horizon, two halves, a frame, or a half and its mirror image."""
    place, turn, wide = rng.random(3).tolist()
    everywhere = (slice(None), slice(None))
    if layout == "mirror":
        half = SIDE // 2
        if turn < 0.5:
            canvas[:, half:] = canvas[:, half - 1 :: -1]
        else:
            canvas[half:] = canvas[half - 1 :: -1]
    elif layout == "frame":
        edge = np.minimum(np.minimum(GRID, SIDE - GRID)[:, None], np.minimum(GRID, SIDE - GRID)[None])
        blend(canvas, everywhere, 0.85 * soft(edge - 7 - 7 * wide), third)
    elif layout:
        lean = (turn - 0.5) * 0.2 if layout == "horizon" else (1 if turn < 0.5 else -1) * (0.7 + 0.6 * wide)
        line = (0.35 + 0.35 * place) * SIDE + lean * (GRID - SIDE / 2)
        blend(canvas, everywhere, 0.75 * soft(line[None] - GRID[:, None]), third)


def _weather(weather: str, canvas: Floats, rng: np.random.Generator) -> None:
    """Let it rain or snow, fog the picture, or darken it to a night with a moon."""
    x, y, strength = rng.random(3).tolist()
    everywhere = (slice(None), slice(None))
    if weather == "rain":
        blend(canvas, everywhere, (0.55 + 0.3 * strength) * crop(_streaks(), rng, 4), color(0.6, 0.08, 0.95))
    elif weather == "snow":
        blend(canvas, everywhere, crop(_flakes(), rng), color(0.6, 0.02, 1))
    elif weather == "fog":
        thick = 0.45 + 0.15 * strength + 0.2 * crop(clouds(), rng)
        blend(canvas, everywhere, thick, color(0.6, 0.03, 0.8))
    elif weather == "night":
        canvas *= 0.35 + 0.15 * strength
        box, u, v = local(SIDE * (0.1 + 0.8 * x), SIDE * (0.08 + 0.25 * y), 9, 0)
        blend(canvas, box, soft(np.hypot(u, v) - 7), color(0.14, 0.25, 1))


@cache
def _streaks() -> Floats:
    """(2, 224, 224) in 0..1: slanted lines of rain."""
    rng, side = np.random.default_rng(crc32(b"streaks")), 2 * SIDE
    bank = np.zeros((2, side, side), np.float32)
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    for which, slant in enumerate((0.2, 0.35)):
        for x, y, length in rng.random((260, 3)) * (1.3 * side, side, 9):
            off = abs(columns - x + slant * rows)
            near = np.clip(1.4 - off, 0, 1) * (abs(rows - y) < 5 + length)
            np.maximum(bank[which], near, out=bank[which])
    return bank


@cache
def _flakes() -> Floats:
    """(2, 224, 224) in 0..1: flakes of snow, soft and of many sizes."""
    rng, side = np.random.default_rng(crc32(b"flakes")), 2 * SIDE
    bank = np.zeros((2, side, side), np.float32)
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    for which in range(2):
        for x, y, size in rng.random((230, 3)) * (side, side, 1.6):
            near = np.clip(1.2 + size - np.hypot(columns - x, rows - y), 0, 1)
            np.maximum(bank[which], near, out=bank[which])
    return bank
