"""The same on a real S3 server, of this machine's loopback: conditions, a missing bucket, a server that goes away."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Timer
from typing import Any

import pandas as pd
import pytest

from tokenlens.errors import BadInput
from tokenlens.extraction.feed import Feed
from tokenlens.figures.report import write
from tokenlens.records import leases, store, tables, writer
from tokenlens.records.place import place

from .test_stores import SETTINGS, assert_same_runs

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::DeprecationWarning")]  # the server's own


class Server:
    """Moto's, which may be stopped and started again; what it holds outlives that."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        self.make, self.place = ThreadedMotoServer, ("127.0.0.1", 0)
        self.start()
        self.place = self.made.get_host_and_port()

    def start(self) -> None:
        self.made = self.make(*self.place, verbose=False)
        self.made.start()

    def stop(self) -> None:
        self.made.stop()


# clients keep the server that they began with, also where tests of other modules come between
@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server with a bucket, to which this process's environment points."""
    made = Server()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"AWS_ENDPOINT_URL": "http://{}:{}".format(*made.place), "AWS_ACCESS_KEY_ID": "testing",
                            "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}.items():  # fmt: skip
            patch.setenv(name, value)
        import s3fs

        s3fs.S3FileSystem(use_listings_cache=False).mkdir("bucket")
        yield made
    made.stop()


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "CHUNK", 2)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs on disk."""
    from tokenlens.extraction.jobs import Job

    out = tmp_path_factory.mktemp("here") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "CHUNK", 2)
        list(Job(**SETTINGS, out=out, progress=False).results())
    return out


def test_a_bucket_that_is_not_there_is_refused_before_anything_is_read(
    server: Server, call: Any, tmp_path: Path
) -> None:
    said = call("extract", "--out", "s3://nowhere/runs").sentence
    assert said == "there is no bucket s3://nowhere, and none is made here; make it first, or give another place"
    assert "there is no folder s3://bucket/none" in call("compare", "s3://bucket/none").sentence


def test_extracted_compared_and_drawn_there(
    server: Server, call: Any, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--method", "topk,l2", "--limit", 6, "--batch-size", 2)
    assert call("extract", *words, "--out", "s3://bucket/runs").code == 0
    assert_same_runs(local, "s3://bucket/runs")
    some = ("--axis", "method", "--metric", "iou", "--resamples", 10)
    for runs, out in (("s3://bucket/runs", "s3://bucket/results"), (local, tmp_path / "results")):
        assert call("compare", runs, "--out", out, *some).code == 0
    for name in ("comparison", "runs", "tokens"):
        pd.testing.assert_frame_equal(tables.read(tmp_path / "results", name), tables.read("s3://bucket/results", name))
    both = ("s3://bucket/runs", "--results", "s3://bucket/results")
    drawn = call("figures", "tokens_left", *both, "--out", "s3://bucket/figures", "--format", "png")
    assert drawn.out.split() == ["s3://bucket/figures/tokens_left.png", "s3://bucket/figures/tokens_left.txt"]
    monkeypatch.setattr(write, "figures_section", lambda *_: "")  # every figure is drawn elsewhere
    said = call("report", *both, "--split", "--out", "s3://bucket/report")
    assert said.out.startswith("s3://bucket/report/index.html (")
    folder = place("s3://bucket/report")
    (data,) = [path for path in folder.iterdir() if path.is_dir()]
    assert data.name in (folder / "index.html").read_text() and (data / "index.js").is_file()
    assert not [path for path in place("s3://bucket").rglob("*lock*")]


def test_a_server_that_goes_away_for_a_while_is_waited_for_and_else_told(
    server: Server, run_job: Any, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, puts = Feed.put, list[int]()

    def away(self: Feed, first: int) -> None:
        puts.append(first)
        if len(puts) == 3:
            server.stop()
            if returns:
                Timer(0.2, server.start).start()
        put(self, first)

    monkeypatch.setattr(Feed, "put", away)
    returns = False
    with pytest.raises(BadInput, match=r"cannot be read or written there \(.*\); what was written is kept"):
        run_job("s3://bucket/away", **SETTINGS)
    server.start()
    monkeypatch.setattr(leases, "EXPIRY", 1.0)  # of what it could not give back
    assert {run.attrs["written"] for run in store.open_runs("s3://bucket/away")} <= {2, 4, 6}
    puts[:], returns = [], True
    assert len(run_job("s3://bucket/away", **SETTINGS)) == 2
    assert len(puts) >= 3
    assert_same_runs(local, "s3://bucket/away")


def test_two_processes_share_a_run(server: Server, local: Path) -> None:
    words = ["extract", "--method", "topk,l2", "--limit", "6", "--batch-size", "2", "--out", "s3://bucket/shared"]
    parts = [subprocess.Popen([sys.executable, "-m", "tokenlens", *words, "--shard", f"{number}/2"],
                              stdout=subprocess.DEVNULL) for number in (1, 2)]  # fmt: skip
    assert [part.wait(300) for part in parts] == [0, 0]
    there = {run.attrs["method"]: run for run in store.open_runs("s3://bucket/shared", check=None)}
    for run in store.open_runs(local):
        assert there[run.attrs["method"]].attrs["complete"] and run.equals(there[run.attrs["method"]])
