"""The pictures of the embedded set `scenes`: up to five objects each, large and small, one before the other.

A label says of each of ten classes whether an object of it is there: (10,) bool, one to five of them true. Sizes differ
by a factor of three; an object may hide a part of another, never most of it. What tells a class is how its parts stand
to each other (things.py); colours are drawn anew for every object.

Picture i shows class i mod 10, and others at random. A picture depends on (bias, split, index) alone.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .outlines import Floats
from .paint import SIDE, background, color, contrast, distract, empty_cover, finish, generator, patches
from .parts import Pose, paint_parts
from .scene_objects import THINGS

CLASSES = tuple(THINGS)
THIRDS = (243.0, 490.0)  # pixels: between the thirds of the training objects by the area that is seen
TRIES = 6  # places for an object, until one is free
STRIDE = 2.0  # pixels
TURNS = tuple(cmath.rect(1, math.radians(angle)) for angle in (0, 12, -12, 30, -30))  # around what stands in the way


def scenes(split: str, index: int, bias: float = 0.0) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]:
    """Draw one picture: the image (112, 112, 3) uint8, its labels (10,) bool, the objects' patches (14, 14) bool.

    `bias` says how far the objects walk towards the centre: 0 not at all, 1 until they stand there, close together. A
    patch is an object's when at least a quarter of it shows objects; every object has one.
    """
    image, classes, covers = painted(split, index, bias)
    label = np.zeros(len(CLASSES), bool)
    label[classes] = True
    return image, label, np.any([patches(cover) for cover in [*covers, np.max(covers, axis=0)]], axis=0)


def painted(split: str, index: int, bias: float = 0.0) -> tuple[NDArray[np.uint8], list[int], list[Floats]]:
    """One picture (112, 112, 3), and of each object, from back to front, its class and what it covers (112, 112)."""
    rng = generator("scenes", split, index)
    canvas = background(rng)
    for _ in range(rng.integers(2, 5)):
        distract(canvas, rng)
    placed = arrange(rng, index % len(CLASSES), bias)
    covers: list[Floats] = []
    for which, pose in placed:
        cover = empty_cover()
        paint_parts(canvas, cover, pose, THINGS[CLASSES[which]], _palette(rng))
        covers.append(cover)
    return finish(canvas, rng), [which for which, _ in placed], covers


def instances(split: str, index: int, bias: float = 0.0) -> tuple[list[int], NDArray[np.bool_]]:
    """The classes of a picture's objects, from back to front, and the pixels (objects, 112, 112) where each is seen."""
    _, classes, covers = painted(split, index, bias)
    return classes, visible(covers)


def visible(covers: Sequence[Floats]) -> NDArray[np.bool_]:
    """(objects, 112, 112): where an object covers at least half a pixel, and none of those after it does."""
    seen = np.stack(covers) >= 0.5
    hidden = np.zeros_like(seen[0])
    for mask in seen[::-1]:
        mask &= ~hidden
        hidden |= mask
    return seen


def arrange(rng: np.random.Generator, first: int, bias: float) -> list[tuple[int, Pose]]:
    """The classes and poses of a picture's objects, from back to front; one for which there is no room is left out.

    `bias` moves the objects, and changes nothing else.
    """
    count = rng.integers(2, 6)
    classes = [first, *rng.integers(len(CLASSES), size=count - 1).tolist()]
    numbers = rng.random((count, 3 + 2 * TRIES)).tolist()
    places: list[complex] = []
    sizes: list[float] = []
    poses: list[tuple[int, float, float, bool]] = []
    for which, (scale, turn, side, *free) in zip(classes, numbers, strict=True):
        size = 9 * 3**scale
        for x, y in zip(free[::2], free[1::2], strict=True):
            place = complex(x - 0.5, y - 0.5) * (SIDE - 2 * size - 2)  # seen from the centre
            if _fits(place, size, places, sizes):
                poses.append((which, size, 0.8 * (turn - 0.5), side < 0.5))
                places.append(place)
                sizes.append(size)
                break
    if bias:
        places = _gather(places, sizes, bias)
    half = SIDE / 2
    return [
        (which, Pose(half + place.real, half + place.imag, size, turn, mirrored))
        for place, (which, size, turn, mirrored) in zip(places, poses, strict=True)
    ]


def _gather(places: list[complex], sizes: list[float], bias: float) -> list[complex]:
    """Let objects walk to the centre in turns until they stand or block each other; stop at `bias` of it.

    What others block goes around them, or waits. Places are seen from the centre, and in sight of each other all along.
    At last all move together, so that at a bias of 1 the middle of their areas is in the centre.
    """
    walk = [places]
    while True:
        here = list(walk[-1])
        for i, place in enumerate(here):
            if place:
                others, theirs = here[:i] + here[i + 1 :], sizes[:i] + sizes[i + 1 :]
                nearer = place * max(1 - STRIDE / abs(place), 0)
                ways = (there for turn in TURNS if _fits(there := nearer * turn, sizes[i], others, theirs))
                here[i] = next(ways, place)
        if here == walk[-1]:
            break
        walk.append(here)
    left = [sum(map(abs, places)) for places in walk]
    until = (1 - bias) * left[0] + bias * left[-1]
    here = next((places for places, way in zip(walk, left, strict=True) if way <= until), walk[-1])
    areas = [size * size for size in sizes]
    middle = sum(area * place for area, place in zip(areas, here, strict=True)) / sum(areas)
    return [place - bias * middle for place in here]


def _fits(place: complex, size: float, others: Sequence[complex], sizes: Sequence[float]) -> bool:
    """Whether an object there lies in the picture, leaves most of every other in sight, and is in sight behind it."""
    room = SIDE / 2 - size - 0.99
    return max(abs(place.real), abs(place.imag)) <= room and all(
        abs(place - p) > (size + 0.1 * s if size > s else s + 0.1 * size) for p, s in zip(others, sizes, strict=True)
    )


def _palette(rng: np.random.Generator) -> list[Floats]:
    main, other = contrast(rng)
    hue, tint = rng.random(2).tolist()
    return [main, other, color(hue, 0.3, 0.15 + 0.1 * tint), color(hue, 0.12, 0.9 + 0.1 * tint)]
