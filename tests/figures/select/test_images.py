"""Which rows of a run are those of images that are asked for."""

import numpy as np
import pytest
import xarray as xr

from tokenlens.figures.select.images import ids_with_pictures, rows_holding


@pytest.mark.parametrize("ids", [["7", "3", "5"], [7, 3, 5]])
def test_rows_are_those_of_the_names_in_the_order_that_is_asked_for(ids: list[str] | list[int]) -> None:
    run = xr.Dataset({"label": ("image", np.arange(3))}, {"image": ids}, {"written": 2})
    assert rows_holding(run["image"], ["5", "none", "7"]).tolist() == [2, -1, 0]
    assert rows_holding(run["image"], []).tolist() == []
    assert ids_with_pictures(run).tolist() == ["7", "3"]
