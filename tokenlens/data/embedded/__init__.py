"""Sets that are drawn when asked for, so that everything works offline and the truth about them is known."""

from .open import CLASSES, SETS, SIZES, EmbeddedSet, open_embedded, shapes

__all__ = ["CLASSES", "SETS", "SIZES", "EmbeddedSet", "open_embedded", "shapes"]
