"""Runs whose images have grids of several sizes, in the upper left of the largest one."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tokenlens.analysis.compare import compare
from tokenlens.analysis.ragged import stretched
from tokenlens.errors import BadInput

MakeRun = Callable[..., xr.Dataset]
METHODS = ("topk", "random", "tome", "kmedoids")


def padded(run: xr.Dataset, rows: int, columns: int) -> xr.Dataset:
    """The same run on a larger grid."""
    side = run.attrs["grid"][0]
    place = (np.arange(side)[:, None] * columns + np.arange(side)).ravel()
    outside = {"kept": False, "object": False, "valid": False, "group": -1}
    held = run.assign(valid=(("image", "patch"), np.ones((run.sizes["image"], side * side), bool)))
    found = {}
    for name, array in held.data_vars.items():
        if "patch" in array.dims:
            wide = np.full((*array.shape[:-1], rows * columns), outside[str(name)], array.dtype)
            wide[..., place] = array.values
            array = xr.DataArray(wide, dims=array.dims)
        found[name] = (array.dims, array.values)
    patch = np.arange(rows * columns)
    coords = {"image": run["image"].values, "stage": run["stage"].values, "patch": patch,
              "row": ("patch", patch // columns), "column": ("patch", patch % columns)}  # fmt: skip
    return xr.Dataset(found, coords, run.attrs | {"grid": [rows, columns]})


def table(runs: list[xr.Dataset], **options: Any) -> pd.DataFrame:
    found = compare(runs, resamples=20, **options).comparison
    return found.set_index(["run_a", "run_b", "axis", "metric", "stage"]).sort_index()


@pytest.fixture(scope="module")
def runs(make_run: MakeRun) -> list[xr.Dataset]:
    return [make_run(method, images=6, side=4, draw=i, objects=True) for i, method in enumerate(METHODS)]


def test_places_outside_the_images_change_no_value_and_no_chance(runs: list[xr.Dataset]) -> None:
    """Of what is compared image by image."""
    plain, wide = table(runs), table([padded(run, 6, 5) for run in runs])
    of_patches = ("iou", "corrected_iou", "overlap_coefficient", "vmeasure", "ami", "foreground_recall")
    for name in (*of_patches, "moran", "pieces", "boundary_recall"):
        a, b = (frame.xs(name, level="metric")[["value", "chance", "low", "high"]] for frame in (plain, wide))
        assert len(a)
        pd.testing.assert_frame_equal(a, b)


def test_whole_grids_are_like_grids_of_which_nothing_is_said(runs: list[xr.Dataset]) -> None:
    plain, whole = table(runs), table([padded(run, 4, 4) for run in runs])
    pd.testing.assert_frame_equal(plain, whole)


def test_maps_are_stretched_by_areas(runs: list[xr.Dataset]) -> None:
    run = padded(runs[0], 6, 5)
    valid, shape = np.zeros((3, 6, 5), bool), [(6, 5), (3, 5), (4, 2)]
    maps = np.random.default_rng(0).random((3, 6, 5))
    for image, (rows, columns) in enumerate(shape):
        valid[image, :rows, :columns] = True
    found = stretched(maps.reshape(3, 30), valid.reshape(3, 30), run).reshape(3, 6, 5)
    assert np.allclose(found[0], maps[0])
    assert np.allclose(found[1], np.repeat(maps[1, :3], 2, axis=0))  # each of its rows is two of the common grid
    assert np.allclose(found[2].mean(), maps[2, :4, :2].mean())


def test_what_lies_outside_cannot_be_moved_in(runs: list[xr.Dataset]) -> None:
    with pytest.raises(BadInput, match="grids of several sizes"):
        compare([padded(run, 6, 5) for run in runs], null="torus")


def test_pictures_in_a_mirror_are_not_put_beside_grids_of_several_sizes(runs: list[xr.Dataset]) -> None:
    plain = padded(runs[0], 6, 5).assign_attrs(run="plain", dataset="embedded:shapes")
    turned = plain.assign_attrs(run="turned", dataset="embedded:shapes@mirror=1")
    with pytest.warns(UserWarning, match="plain have grids of several sizes, .* where turned shows them"):
        found = compare([plain, turned], ["change", "layout"], resamples=5).comparison
    assert set(found["axis"]) == {"layout"}
