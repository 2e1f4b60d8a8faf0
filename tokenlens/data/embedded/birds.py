"""The pictures of the embedded set `birds`: one bird of twenty kinds, told apart by small parts.

Five parts differ, each in up to five ways: beak, tail, wing, crest and the region around the eye. Any two kinds share
at most one of them, and every way of a part is shared by four kinds or more: no part alone tells the kind, any two do
(a Reed-Solomon code over the five ways). What all birds share varies from picture to picture: colours, size, pose,
turn of head, tail and body, place, background. Leaves lie over a few parts.

Kinds take turns: picture i shows kind i mod 20. A picture depends on (bias, split, index) alone.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .outlines import Floats
from .paint import (
    SIDE,
    TAU,
    background,
    blend,
    color,
    contrast,
    distract,
    empty_cover,
    finish,
    generator,
    local,
    patches,
    shaded,
    soft,
)
from .parts import Part, Pose, disc, oval, paint_parts, wedge

BEAKS = ("finch", "heron", "parrot", "spoonbill", "curlew")
TAILS = ("forked", "streaming", "fanned", "stubby")
CLASSES = tuple(f"{tail} {beak}" for tail in TAILS for beak in BEAKS)
SPOTS = ((-0.08, 0.03), (0.08, -0.06), (0.1, 0.09), (0.26, 0.0))  # on the wing, along it and across
LEAST = 0.1  # share of a patch
# colours of a bird's palette
BODY, BELLY, WING, MARK, HORN, EYE, PALE = range(7)


def birds(split: str, index: int, bias: float = 0.0) -> tuple[NDArray[np.uint8], int, NDArray[np.bool_]]:
    """Draw one picture: the image (112, 112, 3) uint8, its label, the bird's patches (14, 14) bool, never empty.

    `bias` says how far the bird is moved towards the centre: 0 not at all, 1 all the way. A patch belongs to the bird
    when at least a tenth of it shows bird, so that beak, crest and tail do, which tell the kind.
    """
    rng = generator("birds", split, index)
    label = index % len(CLASSES)
    canvas, cover = background(rng), empty_cover()
    for _ in range(rng.integers(2, 5)):
        distract(canvas, rng)
    pose = _pose(rng, bias)
    paint_parts(canvas, cover, pose, _bird(rng, label), _palette(rng))
    for _ in range(rng.integers(2, 6)):
        _leaf(canvas, cover, rng)
    return finish(canvas, rng), label, patches(cover, LEAST)


def ways(label: int) -> tuple[int, int, int, int, int]:
    """How a kind's beak, tail, wing, crest and eye look: each 0 to 4."""
    beak, tail = label % 5, label // 5
    return beak, tail, (beak + tail) % 5, (beak + 2 * tail) % 5, (beak + 3 * tail) % 5


def _pose(rng: np.random.Generator, bias: float) -> Pose:
    size, x, y, turn, side = rng.random(5).tolist()
    size = 28 + 11 * size
    x, y = (size + 1 + (c + bias * (0.5 - c)) * (SIDE - 2 * size - 2) for c in (x, y))
    return Pose(x, y, size, 0.9 * (turn - 0.5), side < 0.5)


def _palette(rng: np.random.Generator) -> list[Floats]:
    """Colours by number: body, belly, wing, marks, horn, eye, pale."""
    body, wing = contrast(rng)
    hue, light, horn, tint = rng.random(4).tolist()
    bright = wing.mean() < 0.5
    mark = color(hue, 0.15 if bright else 0.9, 0.95 if bright else 0.25)
    belly = 0.45 * body + 0.55 * color(0.12, 0.1 + 0.1 * light, 0.9)
    beak = color(0.04 + 0.1 * horn, 0.85, 0.95) if tint < 0.6 else color(0.1, 0.2, 0.25)
    return [body, belly, wing, mark, beak, color(0, 0, 0.05), color(0.13, 0.08, 0.98)]


def _bird(rng: np.random.Generator, label: int) -> list[Part]:
    """All parts of a bird of one kind, from back to front, in one pose of its limbs."""
    beak, tail, wing, crest, eye = ways(label)
    nod, swing, lift, plump, step = (2 * rng.random(5) - 1).tolist()
    x, y = 0.42 + 0.05 * nod, -0.36 + 0.08 * nod  # the middle of the head
    plump = 0.29 + 0.03 * plump
    return [
        wedge(HORN, -0.02, 0.3, 95 + 12 * step, 0.44, 0.025, 0.02),
        wedge(HORN, 0.1, 0.3, 80 + 12 * step, 0.42, 0.025, 0.02),
        *_tail(tail, 150 + 14 * swing),
        *_crest(crest, x, y),
        wedge(BODY, 0.18, 0.0, -55, 0.42, 0.24, 0.15),
        oval(BODY, 0, 0.06, 0.5, plump, -25),
        oval(BELLY, 0.1, 0.15, 0.33, 0.6 * plump, -28),
        *_beak(beak, x + 0.15, y + 0.02),
        disc(BODY, x, y, 0.22),
        *_eye(eye, x + 0.06, y - 0.02),
        *_wing(wing, -0.02, 0.0, 158 + 8 * lift),
    ]


def _beak(way: int, x: float, y: float) -> list[Part]:
    """Short, long, hooked, flat and broad, or curved down."""
    return [
        [wedge(HORN, x, y, 4, 0.22, 0.1)],
        [wedge(HORN, x, y, 2, 0.5, 0.055, 0.01)],
        [wedge(HORN, x, y - 0.03, -8, 0.24, 0.13, 0.05, 0.16)],
        [wedge(HORN, x, y, 6, 0.32, 0.045, 0.05), oval(HORN, x + 0.34, y + 0.04, 0.12, 0.1, 6)],
        [wedge(HORN, x, y, -6, 0.46, 0.06, 0.015, 0.26)],
    ][way]


def _tail(way: int, turn: float) -> list[Part]:
    """Forked, long and thin, a fan, or short and round."""
    x, y = -0.34, 0.18
    feathers = ((-34, WING), (34, WING), (-12, MARK), (12, WING))
    return [
        [wedge(WING, x, y, turn - 20, 0.56, 0.07, 0.03), wedge(WING, x, y, turn + 20, 0.56, 0.07, 0.03)],
        [wedge(WING, x, y, turn, 0.72, 0.1, 0.03)],
        [wedge(ink, x, y, turn + fan, 0.42, 0.05, 0.1) for fan, ink in feathers],
        [oval(WING, x - 0.06, y + 0.05, 0.22, 0.14, turn)],
    ][way]


def _wing(way: int, x: float, y: float, turn: float) -> list[Part]:
    """Plain, one bar, two bars, spots, or a pale edge."""
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))

    def on(along: float, across: float) -> tuple[float, float]:
        return x + cos * along - sin * across, y + sin * along + cos * across

    def bar(along: float) -> Part:
        return wedge(MARK, *on(along, -0.17), turn + 90, 0.34, 0.05, 0.05)

    marks = [
        [],
        [bar(0.12)],
        [bar(-0.02), bar(0.2)],
        [disc(MARK, *on(along, across), 0.055) for along, across in SPOTS],
        [oval(MARK, *on(0.1, -0.11), 0.36, 0.06, turn)],
    ][way]
    return [oval(WING, *on(0.1, 0), 0.42, 0.19, turn), *marks]


def _crest(way: int, x: float, y: float) -> list[Part]:
    """None, a spike to the back, a fan, a ball on a stalk, or a long plume."""
    return [
        [],
        [wedge(WING, x, y - 0.06, 205, 0.46, 0.15)],
        [wedge(MARK, x - 0.02, y - 0.1, turn, 0.32, 0.03, 0.06) for turn in (240, 270, 300)],
        [wedge(HORN, x, y - 0.1, 275, 0.24, 0.02, 0.02), disc(MARK, x + 0.03, y - 0.4, 0.08)],
        [wedge(MARK, x + 0.05, y - 0.12, 250, 0.42, 0.05, 0.02, -0.3)],
    ][way]


def _eye(way: int, x: float, y: float) -> list[Part]:
    """Plain, a ring, a stripe through it, a pale cheek, or a dark cap above it."""
    return [
        [],
        [disc(PALE, x, y, 0.12)],
        [wedge(EYE, x + 0.1, y + 0.01, 180, 0.34, 0.06, 0.05)],
        [oval(PALE, x - 0.07, y + 0.1, 0.11, 0.08)],
        [oval(EYE, x - 0.05, y - 0.11, 0.19, 0.07, 5)],
    ][way] + [disc(EYE, x, y, 0.055), disc(PALE, x + 0.015, y - 0.015, 0.02)]


def _leaf(canvas: Floats, cover: Floats, rng: np.random.Generator) -> None:
    """Paint a leaf anywhere, over the bird too."""
    x, y, turn, size, hue, value, bow = rng.random(7).tolist()
    length = 7 + 7 * size
    box, u, v = local(SIDE * x, SIDE * y, length + 1, TAU * turn)
    if u.size:
        edge = abs(v) - (0.3 + 0.15 * bow) * length * (1 - (u / length) ** 2)
        alpha = soft(np.maximum(edge, abs(u) - length))
        vein = 1 - 0.3 * np.clip(1.2 - abs(v), 0, 1) - 0.35 * np.clip(1 + 0.8 * edge, 0, 1)
        blend(canvas, box, alpha, shaded(color(0.2 + 0.2 * hue, 0.55, 0.35 + 0.35 * value), vein))
        cover[box] *= 1 - alpha
