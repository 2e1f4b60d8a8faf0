"""Runs and tables on Google's storage, through its own client, are those on disk; leases hold there."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tokenlens.records import tables, writer
from tokenlens.records.leases import Leaseholder
from tokenlens.records.place import place

from .gs_server import Server
from .test_stores import assert_same_runs

pytestmark = [pytest.mark.long, pytest.mark.skipif(find_spec("gcsfs") is None, reason="needs the extra gs")]


@pytest.fixture(scope="session", autouse=True)  # as that of S3
def server() -> Iterator[Server]:
    """A server with a bucket, to which the client in this process is pointed."""
    import fsspec.config

    made = Server("bucket")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", made.url)
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # asks Google itself what kind of bucket it is
        patch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
        yield made
    made.shutdown()
    made.server_close()


def test_extracted_and_compared_there(call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "CHUNK", 2)
    words = ("--method", "topk,l2", "--limit", 6, "--batch-size", 2)
    some = ("--axis", "method", "--metric", "iou", "--resamples", 10)
    for folder in (str(tmp_path), "gs://bucket"):
        assert call("extract", *words, "--out", f"{folder}/runs").code == 0
        assert call("compare", f"{folder}/runs", "--out", f"{folder}/results", *some).code == 0
    assert_same_runs(tmp_path / "runs", "gs://bucket/runs")
    for name in ("comparison", "runs", "tokens"):
        pd.testing.assert_frame_equal(tables.read(tmp_path / "results", name), tables.read("gs://bucket/results", name))
    assert not [*place("gs://bucket/runs").glob(".leases*")]


def test_only_one_has_a_lease_and_a_bucket_is_not_made(call: Any) -> None:
    with Leaseholder(place("gs://bucket/shared"), {}) as one, Leaseholder(place("gs://bucket/shared"), {}) as two:
        assert one.exclusive and one.take("run/0") and not two.take("run/0")
        one.give("run/0")
        assert two.take("run/0")
    assert [*place("gs://bucket/shared").rglob("*")] == []
    said = call("extract", "--out", "gs://nowhere/runs").sentence
    assert said == "there is no bucket gs://nowhere, and none is made here; make it first, or give another place"
