"""Things made of parts: what birds and the objects of `scenes` are drawn from.

A thing lies in a frame of its own: it looks to the right, y goes down, and 1 is its size in pixels. A pose puts it on
the canvas, mirrored or not. Three kinds of part suffice: an oval, a dome (the upper half of one), and a wedge, which
grows from a root, is straight or bent, and wider or narrower at its end (beaks, feathers, legs, roofs, hulls).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .outlines import Floats
from .paint import blend, local, shaded, soft

INK = 0.4  # how much darker a part is at its outline


@dataclass(frozen=True)
class Part:
    """One part, in its thing's frame; `ink` says which colour of the palette it takes."""

    kind: str
    ink: int
    x: float
    y: float
    length: float  # of an oval or a dome: from the middle to the end; of a wedge: from the root to the end
    width: float  # half of it; of a wedge: at the root
    end: float = 0.0  # half the width of a wedge at its end
    turn: float = 0.0  # degrees from right towards down
    bend: float = 0.0  # how far the end of a wedge is bent away, towards its right hand


@dataclass(frozen=True)
class Pose:
    """Where a thing stands, in pixels, and how it is turned, in radians."""

    x: float
    y: float
    size: float
    turn: float
    mirrored: bool

    def at(self, x: float, y: float) -> tuple[float, float]:
        """A place of the thing's frame on the canvas."""
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        x = -x if self.mirrored else x
        return self.x + self.size * (cos * x - sin * y), self.y + self.size * (sin * x + cos * y)


def oval(ink: int, x: float, y: float, length: float, width: float, turn: float = 0.0) -> Part:
    """An oval around (x, y)."""
    return Part("oval", ink, x, y, length, width, turn=turn)


def disc(ink: int, x: float, y: float, radius: float) -> Part:
    """A disc around (x, y)."""
    return Part("oval", ink, x, y, radius, radius)


def dome(ink: int, x: float, y: float, length: float, width: float) -> Part:
    """The upper half of an oval around (x, y)."""
    return Part("dome", ink, x, y, length, width)


def wedge(
    ink: int, x: float, y: float, turn: float, length: float, width: float, end: float = 0.0, bend: float = 0.0
) -> Part:
    """A wedge from its root (x, y)."""
    return Part("wedge", ink, x, y, length, width, end, turn, bend)


def paint_parts(canvas: Floats, cover: Floats, pose: Pose, parts: Iterable[Part], palette: Sequence[Floats]) -> None:
    """Paint a thing part by part; what it covers is added to `cover` (112, 112)."""
    for part in parts:
        turn = math.radians(part.turn)
        across = 0.5 * part.length if part.kind == "wedge" else 0.0  # from a wedge's root to the middle of its box
        x, y = pose.at(part.x + across * math.cos(turn), part.y + across * math.sin(turn))
        widest = max(part.width, part.end + abs(part.bend))
        radius = pose.size * (math.hypot(across, widest) if across else max(part.length, widest)) + 1
        box, u, v = local(x, y, radius, pose.turn + (math.pi - turn if pose.mirrored else turn))
        if u.size:
            edge = _edge(part, u, -v if pose.mirrored else v, pose.size)
            alpha = soft(edge)
            shade = 1 - INK * soft(-0.5 - 0.8 * edge)
            blend(canvas, box, alpha, shaded(palette[part.ink], shade))
            np.maximum(cover[box], alpha, out=cover[box])


def _edge(part: Part, u: Floats, v: Floats, size: float) -> Floats:
    """Distance to the part's outline in pixels, about right near it, negative inside."""
    length, width = size * part.length, size * part.width
    edge: Floats
    if part.kind == "wedge":
        along = u / length + 0.5
        middle = v - size * part.bend * along * along if part.bend else v
        edge = np.maximum(abs(middle) - (width + (size * part.end - width) * along), abs(u) - 0.5 * length)
    else:
        edge = (np.hypot(u / length, v / width) - 1) * min(length, width)
        if part.kind == "dome":
            edge = np.maximum(edge, v)
    return edge
