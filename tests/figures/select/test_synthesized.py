"""Pictures that `tokenlens synthesize` drew, as figures and reports show them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import xarray as xr
from PIL import Image

from tokenlens.errors import BadInput
from tokenlens.figures.select.synthesized import read_drawn


def test_a_picture_is_a_png_whatever_else_its_name_promises(
    make_synthesized: Callable[..., xr.Dataset], tmp_path: Path
) -> None:
    run, image = make_synthesized("tome"), Image.new("RGB", (4, 3))
    run.encoding["source"] = str(tmp_path / "runs/drawn")
    (tmp_path / "drawn").mkdir()
    image.save(tmp_path / "drawn/0_0.png")
    (shown,) = read_drawn(run, ["shapes/0_0"])
    assert shown.shape == (3, 4, 3)
    image.save(tmp_path / "drawn/0_0.png", format="EPS")  # which Pillow hands to Ghostscript
    with pytest.raises(BadInput, match=r"0_0.png cannot be read as a picture \(cannot identify image"):
        read_drawn(run, ["shapes/0_0"])
