"""The patterns of a run as Python has them: an `xarray.Dataset` that says in one line what it is."""

from __future__ import annotations

import json
from numbers import Number
from pathlib import Path
from typing import Any, Self

import xarray as xr

from ..words import as_html, in_a_line

WRITTEN = {"uint8": "int16", "float16": "float32"}  # what the oldest netCDF has no form of, and what is written instead
JSON_WORDS = ("true", "false", "null")


class Patterns(xr.Dataset):
    """A run, in memory or lazily from disk: a Dataset of the schema in `tokenlens.records.schema`, and all it can do.

    Examples:
        >>> import numpy as np
        >>> left = xr.Dataset({"tokens_left": (("image", "stage"), np.array([[98, 49]])), "patch": range(196)})
        >>> print(repr(Patterns.of(left.assign_attrs(method="topk"))).splitlines()[0])
        topk, 1 image, 2 stages, 196 → 98 → 49
    """

    __slots__ = ()

    @classmethod
    def of(cls, dataset: xr.Dataset) -> Self:
        """The same dataset as one of these; nothing is read or copied."""
        made = cls(dataset.data_vars, dataset.coords, dataset.attrs)
        made.encoding = dataset.encoding
        return made

    def __repr__(self) -> str:
        return f"{_line(self)}\n{super().__repr__()}"

    def _repr_html_(self) -> str:
        return as_html(_line(self)) + super()._repr_html_()

    def to_netcdf(self, path: Any = None, **settings: Any) -> Any:  # type: ignore[override]
        """As xarray's; what netCDF knows no form of is written as JSON, and `from_netcdf` reads all of it back."""
        plain = xr.Dataset(self.data_vars, self.coords).drop_encoding()
        for name, array in plain.variables.items():
            if as_written := WRITTEN.get(array.dtype.name):
                plain[name] = (array.dims, array.values.astype(as_written), {**array.attrs, "was": array.dtype.name})
            elif array.dtype.kind in "TO":
                plain[name] = array.astype(str)
        plain.attrs = {
            name: value if isinstance(value, str | Number) and not isinstance(value, bool) else json.dumps(value)
            for name, value in self.attrs.items()
        }
        return plain.to_netcdf(path, **settings)

    @classmethod
    def from_netcdf(cls, path: str | Path) -> Self:
        """A run that `to_netcdf` wrote, read into memory."""
        with xr.open_dataset(path) as opened:
            made = cls.of(opened.load())
        for array in made.variables.values():
            if "was" in array.attrs:
                array.values = array.values.astype(array.attrs.pop("was"))
        for name, value in made.attrs.items():
            if isinstance(value, str) and (value.startswith(("[", "{")) or value in JSON_WORDS):
                made.attrs[name] = json.loads(value)
        return made


def _line(run: xr.Dataset) -> str:
    if not {"image", "stage", "patch"} <= set(run.sizes) or "tokens_left" not in run or not run.sizes["image"]:
        return f"{run.attrs.get('method', 'a part of a run')}, {run.sizes.get('image', 0)} images"
    left = run["tokens_left"]
    means = left.mean([name for name in left.dims if name != "stage"]).values.tolist()
    return in_a_line(str(run.attrs.get("method", "")), run.sizes["image"], [run.sizes["patch"], *means])
