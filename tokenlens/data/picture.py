"""One image file of any kind as plain 8-bit RGB.

What is done, in this order: the first frame or page is taken; deep grey (16 or 32 bit, float) is scaled to 8 bit and
not clipped; transparency is laid on white; CMYK and the rest are converted without their colour profile; the
orientation that the camera wrote is applied.
"""

from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from tokenlens.errors import check_no_pipe

WHITE = (255, 255, 255, 255)
SCALES = (255.0, 4095.0, 65535.0)  # of 8, 12 and 16 bit
OVERSHOOT = 0.01  # of the brightest; so far below 0 resampling may have led
ORIENTATION = 0x0112  # the EXIF tag; its values, and what undoes them:
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_rgb(file: str | BinaryIO) -> Image.Image:
    """Read an image file.

    Args:
        file: its path, or the file, open; what it holds is told from its first bytes and not from its name.

    Returns:
        A PIL image in mode RGB.

    Raises:
        Exception: whatever Pillow raises for a file that is not a complete image of a known format.
    """
    if isinstance(file, str):
        check_no_pipe(Path(file))
    with Image.open(file, formats=formats()) as image:
        image.load()
        turn = UPRIGHT.get(_orientation(image))
        rgb = _to_rgb(image)
    return rgb if turn is None else rgb.transpose(turn)


@cache
def formats() -> tuple[str, ...]:
    """Photographs and drawings only: some of Pillow's other formats start a program to be read."""
    Image.init()
    wanted = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
    return tuple(name for name in wanted if name in Image.OPEN)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # a broken EXIF block says nothing about the pixels
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode[0] in "IF":
        return Image.fromarray(_eight_bit(np.asarray(image), image.mode)).convert("RGB")
    if image.has_transparency_data:
        front = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", front.size, WHITE), front).convert("RGB")
    return image.convert("RGB")


def _eight_bit(values: np.ndarray, mode: str) -> np.ndarray:
    """Scale deep grey (H, W) to uint8.

    The full scale of 16 bit without a sign is 65535. Of the other kinds it is the least of `SCALES` that the brightest
    pixel fits (for floats also 1), beyond them that pixel. Values well below 0 have no such scale, as of images that
    were normalised or count Hounsfield units: ValueError.
    """
    grey = np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0)
    low, top = float(grey.min(initial=0.0)), float(grey.max(initial=0.0))
    if -low > OVERSHOOT * top:
        raise ValueError(f"its values go down to {low:g}, so what is black is not known; save it as 8 bit")
    scales = {"F": (1.0, *SCALES), "I": SCALES}.get(mode, SCALES[-1:])
    full = next((scale for scale in scales if top <= scale), top)
    return np.rint(grey.clip(0) * (255.0 / full)).astype(np.uint8)
