"""The ten things that stand in the pictures of the embedded set `scenes`, each a few parts, from back to front."""

from __future__ import annotations

from .parts import Part, disc, dome, oval, wedge

MAIN, OTHER, DARK, PALE = range(4)  # colours of an object's palette
THINGS: dict[str, tuple[Part, ...]] = {
    "house": (
        wedge(MAIN, 0, 0.85, -90, 0.95, 0.62, 0.62),
        wedge(OTHER, 0, -0.05, -90, 0.8, 0.85),
        wedge(DARK, -0.25, 0.85, -90, 0.5, 0.15, 0.15),
        wedge(PALE, 0.26, 0.45, -90, 0.3, 0.16, 0.16),
    ),
    "tree": (
        wedge(DARK, 0, 0.95, -90, 0.9, 0.15, 0.1),
        disc(MAIN, -0.38, 0.05, 0.4),
        disc(MAIN, 0.38, 0.05, 0.4),
        disc(MAIN, 0, -0.4, 0.5),
    ),
    "car": (
        wedge(OTHER, 0, 0.1, -90, 0.45, 0.58, 0.36),
        wedge(PALE, -0.02, 0.06, -90, 0.3, 0.42, 0.3),
        wedge(MAIN, -0.95, 0.25, 0, 1.9, 0.24, 0.2),
        disc(DARK, -0.5, 0.48, 0.25),
        disc(DARK, 0.5, 0.48, 0.25),
        disc(PALE, -0.5, 0.48, 0.1),
        disc(PALE, 0.5, 0.48, 0.1),
    ),
    "boat": (
        wedge(DARK, 0, 0.5, -90, 1.4, 0.05, 0.05),
        wedge(PALE, 0.07, 0.25, -90, 1.1, 0.06),
        wedge(OTHER, 0.08, -0.35, 0, 0.75, 0.52),
        wedge(MAIN, 0, 0.8, -90, 0.42, 0.5, 0.92),
    ),
    "fish": (
        wedge(OTHER, -0.4, 0, 180, 0.52, 0.08, 0.42),
        wedge(OTHER, -0.05, -0.2, -115, 0.4, 0.28, 0.1),
        oval(MAIN, 0.18, 0, 0.72, 0.4),
        wedge(OTHER, 0.12, 0.1, 165, 0.3, 0.05, 0.16),
        disc(PALE, 0.58, -0.1, 0.11),
        disc(DARK, 0.6, -0.1, 0.055),
    ),
    "mushroom": (
        wedge(PALE, 0, 0.85, -90, 0.95, 0.26, 0.2),
        dome(MAIN, 0, 0.12, 0.9, 0.95),
        disc(OTHER, -0.42, -0.18, 0.15),
        disc(OTHER, 0.08, -0.48, 0.17),
        disc(OTHER, 0.46, -0.12, 0.13),
    ),
    "cup": (
        oval(MAIN, 0.62, 0.1, 0.32, 0.36),
        oval(DARK, 0.62, 0.1, 0.16, 0.2),
        wedge(MAIN, -0.1, 0.8, -90, 1.3, 0.46, 0.66),
        wedge(OTHER, -0.1, 0.3, -90, 0.28, 0.57, 0.6),
        oval(DARK, -0.1, -0.5, 0.66, 0.16),
    ),
    "umbrella": (
        wedge(DARK, 0, -0.5, 90, 1.2, 0.05, 0.05),
        wedge(DARK, 0, 0.7, 90, 0.26, 0.05, 0.06, 0.24),
        dome(MAIN, 0, 0.05, 0.98, 0.85),
        dome(OTHER, 0, 0.05, 0.33, 0.82),
        wedge(DARK, 0, -0.75, -90, 0.2, 0.05, 0.02),
    ),
    "butterfly": (
        oval(MAIN, -0.48, -0.3, 0.5, 0.36, 35),
        oval(MAIN, 0.48, -0.3, 0.5, 0.36, -35),
        oval(OTHER, -0.36, 0.38, 0.38, 0.28, -45),
        oval(OTHER, 0.36, 0.38, 0.38, 0.28, 45),
        disc(PALE, -0.55, -0.36, 0.15),
        disc(PALE, 0.55, -0.36, 0.15),
        oval(DARK, 0, 0.05, 0.12, 0.6),
    ),
    "rocket": (
        wedge(DARK, -0.2, 0.4, 130, 0.5, 0.24, 0.06),
        wedge(DARK, 0.2, 0.4, 50, 0.5, 0.24, 0.06),
        wedge(PALE, 0, 0.6, 90, 0.4, 0.2),
        oval(MAIN, 0, -0.12, 0.36, 0.86),
        disc(OTHER, 0, -0.3, 0.19),
        wedge(OTHER, 0, 0.62, -90, 0.16, 0.2, 0.28),
    ),
}
