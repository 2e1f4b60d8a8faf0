"""Conditions on runs: read from the command line, and met."""

import subprocess
import sys
from typing import Any

import pytest
import xarray as xr

from tokenlens.errors import BadInput, UnknownName
from tokenlens.records.where import parse_where, select


def run(method: str, **attrs: Any) -> xr.Dataset:
    return xr.Dataset(attrs={"method": method, "keep_rate": 0.5, "complete": True} | attrs)


def test_conditions_are_read() -> None:
    assert parse_where(("method=topk|tome, keep_rate = 0.5", "method=sit")) == {
        "method": ["topk", "tome", "sit"], "keep_rate": ["0.5"]}  # fmt: skip
    for wrong in ("method", "=topk", "method="):
        with pytest.raises(BadInput, match="is no condition; write KEY=VALUE"):
            parse_where([wrong])


def test_runs_are_chosen_by_attribute() -> None:
    runs = [run("topk"), run("evit"), run("topk", keep_rate=0.7), run("tome", keep_rate=None)]
    chosen = lambda *where: [runs.index(one) for one in select(runs, parse_where(where))]  # noqa: E731
    assert chosen() == [0, 1, 2, 3]
    assert chosen("method=topk") == [0, 2]
    assert chosen("method=topk|evit,keep_rate=0.50") == [0, 1]
    assert chosen("complete=TRUE", "keep_rate=none") == [3]
    assert chosen("method=sit") == []
    with pytest.raises(UnknownName, match="metod"):
        chosen("metod=topk")


def test_choosing_needs_nothing_heavy() -> None:
    code = "import sys, tokenlens.records.where; assert not {'torch', 'xarray', 'numpy'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
