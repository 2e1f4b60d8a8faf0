"""A cluster's tables are those of one process, to the last bit, also when one of its processes dies."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tokenlens.analysis.cluster import Cluster
from tokenlens.analysis.compare import compare
from tokenlens.errors import BadInput
from tokenlens.records.store import open_runs

MakeRun = Callable[..., xr.Dataset]
WriteRun = Callable[..., Path]
SETTINGS: dict[str, Any] = {"chunk": 5, "resamples": 50}


class InTurn:
    """A cluster of this process alone, which pickles what would travel."""

    done = 0

    def in_order(self, function: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
        import cloudpickle

        for job in jobs:
            self.done += 1
            yield cloudpickle.loads(cloudpickle.dumps(function(cloudpickle.loads(cloudpickle.dumps(job)))))


@pytest.fixture
def runs(make_run: MakeRun, write_run: WriteRun, tmp_path: Path) -> list[xr.Dataset]:
    for method in ("topk", "evit", "tome", "sit"):
        write_run(make_run(method), tmp_path / "runs")
    shuffled = make_run("topk", rate=0.7)
    order = np.random.default_rng(0).permutation(shuffled.sizes["image"])
    write_run(shuffled.isel(image=order), tmp_path / "runs")
    return list(open_runs(tmp_path / "runs"))


def assert_same(one: Any, other: Any) -> None:
    for mine, theirs in zip(one, other, strict=True):
        pd.testing.assert_frame_equal(mine, theirs, check_exact=True)


@pytest.mark.parametrize("null", ["", "other-image", "torus"])
def test_what_travels_is_enough(runs: list[xr.Dataset], null: str) -> None:
    own = compare(runs, **SETTINGS, null=null, metrics=None if not null else ["iou"])
    assert len(own.comparison)
    there: Any = InTurn()
    assert_same(own, compare(runs, **SETTINGS, null=null, metrics=None if not null else ["iou"], cluster=there))
    assert (there.done > 0) == (null != "torus")  # what draws as it measures goes through the images in order


def test_runs_in_memory_cannot_be_read_by_others(make_run: MakeRun) -> None:
    there: Any = InTurn()
    with pytest.raises(BadInput, match="is in the memory of this process, where no other can read it"):
        compare([make_run("topk"), make_run("evit")], cluster=there)


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(BadInput, match=r"--dask my-runs is no address of a scheduler"), Cluster.reached("my-runs", 1):
        pass


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # what a killed process leaves open
def test_a_process_that_dies_changes_nothing(runs: list[xr.Dataset]) -> None:
    own = compare(runs, **SETTINGS)
    with Cluster.reached("local", 2) as cluster:
        assert cluster.dashboard.startswith("http://127.0.0.1:")
        assert_same(own, compare(runs, **SETTINGS, cluster=cluster))
        submit, count = cluster.client.submit, 0

        def killing(*given: Any, **more: Any) -> Any:
            nonlocal count
            future, count = submit(*given, **more), count + 1
            if count == 3:
                os.kill(next(iter(cluster.client.run(os.getpid).values())), signal.SIGKILL)
            return future

        cluster.client.submit = killing
        assert_same(own, compare(runs, **SETTINGS, cluster=cluster))
        assert count > 3


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_nobody_at_the_address() -> None:
    with pytest.raises(BadInput, match=r"no scheduler of Dask answers at tcp://127.0.0.1:1 "), \
            Cluster.reached("tcp://127.0.0.1:1", 1):  # fmt: skip
        pass
