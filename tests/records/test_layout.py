"""A run on disk: plain readers open it, its bits are guarded, and runs of the first schema are read."""

import shutil
import tarfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from tokenlens.errors import BadInput
from tokenlens.records import atomic, packing
from tokenlens.records import writer as writing
from tokenlens.records.layout import Layout, contents
from tokenlens.records.run import Run
from tokenlens.records.store import StoreError, content, open_run, open_runs
from tokenlens.records.writer import RunWriter

OLD = Path(__file__).with_name("schema-1.tar.xz")  # five images, extracted before chunks had checksums


def run_of(**changes: Any) -> Run:
    facts: dict[str, Any] = {"dataset": "d", "split": "val", "images": 8, "content": "c", "model": "m", "weights": "w"}
    facts |= {"method": "topk", "keep_rate": 0.5, "blocks": (1,), "keep": (2,)}
    return Run(**{**facts, **changes})


def batch(first: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(first)
    return {
        "kept": rng.random((4, 1, 4)) < 0.5,
        "group": rng.integers(-1, 3, (4, 1, 4), dtype=np.int16),
        "tokens_left": np.full((4, 1), 2, np.int16),
        "label": np.arange(first, first + 4, dtype=np.int32),
    }


@pytest.fixture
def writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunWriter:
    """Of eight images in chunks of four; the first four are written."""
    monkeypatch.setattr(writing, "CHUNK", 4)
    begun = RunWriter(tmp_path / "runs", run_of(), {"grid": [2, 2]}, list("abcdefgh"), 4)
    begun.add(batch(0))
    return begun


def test_plain_xarray_opens_a_run_without_a_warning_while_it_grows(writer: RunWriter) -> None:
    for step in range(3):  # a warning would be an error
        (writer.folder / "kept" / "c.0123.partial").write_text("half")
        plain, ours = xr.open_zarr(writer.folder), open_run(writer.folder)
        assert set(plain.coords) == {"image", "stage", "patch", "row", "column"}
        assert plain.isel(image=slice(0, ours.sizes["image"])).load().equals(ours.load())
        if step == 0:
            writer.add(batch(4))
        elif step == 1:
            writer.finish({"top1": 1.0})
    assert open_run(writer.folder).sizes["image"] == 8


def test_every_flipped_bit_is_told(writer: RunWriter) -> None:
    writer.add(batch(4))
    whole, rng = open_run(writer.folder).load(), np.random.default_rng(0)
    files = sorted(path for path in writer.folder.rglob("*") if path.is_file() and path.parent.name != "kept")
    told = 0
    for path in files:
        before = path.read_bytes()
        for at in rng.choice(len(before), min(len(before), 3), replace=False):
            damaged = bytearray(before)
            damaged[at] ^= 1 << int(rng.integers(8))
            path.write_bytes(damaged)
            try:
                xr.testing.assert_identical(open_run(writer.folder, check=None).load(), whole)
                assert path.name == "zarr.json"  # of an array, which nobody reads; or a blank of the run's own
            except StoreError as error:
                told += 1
                assert str(writer.folder) in str(error) and "move it away" in str(error)
        path.write_bytes(before)
    assert told > 25


def test_a_damaged_chunk_is_named_and_never_read(writer: RunWriter) -> None:
    chunk = writer.folder / "kept" / "c" / "0" / "0" / "0"
    content_ = bytearray(chunk.read_bytes())
    content_[-6] ^= 1
    chunk.write_bytes(content_)
    lazily = open_run(writer.folder)  # chunks are looked at when they are asked for
    with pytest.raises(ValueError, match="checksum"):
        lazily["kept"].load()
    with pytest.raises(StoreError, match=r"\(kept/c/0/0/0 is damaged\)"):
        open_run(writer.folder, check=["kept"])
    assert open_run(writer.folder, check=["group"]).sizes["image"] == 4
    with pytest.warns(UserWarning, match=r"kept/c/0/0/0 is damaged"):
        assert open_runs(writer.folder.parent, check=None) == []


@pytest.mark.parametrize("size", [0, 4])
def test_a_chunk_of_nothing_is_damaged(size: int, writer: RunWriter) -> None:
    (writer.folder / "kept" / "c" / "0" / "0" / "0").write_bytes(bytes(size))  # of nothing zero is the right checksum
    with pytest.raises(StoreError, match=r"\(kept/c/0/0/0 is damaged\)"):
        open_run(writer.folder, check=["kept"])


def test_the_digest_of_a_run_changes_with_it(writer: RunWriter) -> None:
    begun = open_run(writer.folder)
    first = content(begun)
    assert contents(writer.folder.parent) == {writer.run.name: first}
    writer.add(batch(4))
    assert content(begun) == first  # of what was opened
    second = content(open_run(writer.folder))
    writer.finish({"top1": 1.0})
    third = content(open_run(writer.folder))
    zarr.open_group(writer.folder, mode="r+")["kept"][:] = True
    fourth = content(open_run(writer.folder))
    assert len({first, second, third, fourth}) == 4
    moved = writer.folder.parent.rename(writer.folder.parent.with_name("elsewhere"))
    assert contents(moved) == {writer.run.name: fourth}


@pytest.mark.parametrize("early", [True, False])
def test_what_is_removed_while_it_is_written_is_said_and_nothing_stays(
    early: bool, writer: RunWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = atomic.sync

    def late(path: Path) -> None:
        shutil.rmtree(writer.folder.parent, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)  # as zarr makes a chunk's folder
        sync(path)

    if early:
        shutil.rmtree(writer.folder.parent)
    else:
        monkeypatch.setattr(atomic, "sync", late)
    with pytest.raises(BadInput, match=r"was removed while it was being written; give the same command again"):
        writer.add(batch(4))
    assert not writer.folder.exists()
    monkeypatch.setattr(atomic, "sync", sync)
    again = RunWriter(tmp_path / "runs", run_of(), {"grid": [2, 2]}, list("abcdefgh"), 4)
    again.add(batch(0))
    again.add(batch(4))
    assert open_run(again.folder, check=None).sizes["image"] == 8


def test_only_who_writes_a_run_alone_clears_away_what_was_being_written(writer: RunWriter) -> None:
    (half := writer.folder / "kept" / "c.0123.partial").write_text("half")
    other = RunWriter(writer.folder.parent, run_of(), {"grid": [2, 2]}, list("abcdefgh"), 4)
    assert half.exists()  # whoever writes it may be alive
    writer.add(batch(4))
    assert other.written == 4
    with other.alone():
        assert not half.exists() and other.written == 8


@pytest.fixture
def old(tmp_path: Path) -> Path:
    with tarfile.open(OLD) as packed:
        packed.extractall(tmp_path / "old", filter="data")
    (folder,) = (tmp_path / "old").iterdir()
    return folder


def test_a_run_of_the_first_schema_is_read(old: Path) -> None:
    run = open_run(old, check=None)
    assert run.attrs["schema"] == 1 and run.sizes["image"] == 5
    assert run["kept"].sum(("image", "patch")).values.tolist() == [5 * 98, 5 * 49, 5 * 24]
    assert run["tokens_left"].values.tolist() == [[98, 49, 24]] * 5
    chunk = old / "kept" / "c" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:20])
    with pytest.raises(StoreError, match=r"\(kept/c/0/0/0 is damaged\)"):
        open_run(old, check=None)


def test_a_run_of_the_first_schema_without_chunks_of_zeros(old: Path) -> None:
    attributes = zarr.open_group(old, mode="r+", use_consolidated=False).attrs
    del attributes["arrays"]
    shutil.rmtree(old / "kept" / "c")
    assert not open_run(old)["kept"].values.any()
    shutil.rmtree(old / "image")
    with warnings.catch_warnings(), pytest.raises(StoreError, match="it has lost image"):
        open_run(old)


@pytest.fixture
def grown(writer: RunWriter, monkeypatch: pytest.MonkeyPatch) -> RunWriter:
    """All eight images are written, and two chunks are many."""
    monkeypatch.setattr(packing, "FROM", 2)
    writer.add(batch(4))
    return writer


def files_of(writer: RunWriter) -> list[str]:
    return sorted(p.relative_to(writer.folder).as_posix() for p in writer.folder.rglob("*") if p.is_file())


def test_many_chunks_become_few_files_which_plain_readers_open(grown: RunWriter) -> None:
    before, opened = open_run(grown.folder).load(), open_run(grown.folder)
    chunks = files_of(grown)
    grown.finish({"top1": 1.0})
    packed = [file for file in files_of(grown) if file not in chunks]
    assert sorted(packed) == ["group/c.0.0.0", "kept/c.0.0.0", "label/c.0", "tokens_left/c.0.0"]
    assert len(files_of(grown)) == len(chunks) - 4
    for one in (
        xr.open_zarr(grown.folder),
        xr.open_zarr(grown.folder, consolidated=False),
        open_run(grown.folder, None),
    ):
        assert one.load().equals(before)
        assert one["label"][5].item() == 5  # of a part of a file
    assert opened["kept"].load().equals(before["kept"])  # opened before
    (grown.folder / "group" / "c.0.0.0").unlink()
    with pytest.raises(FileNotFoundError, match=r"group/c/\d/0/0 has gone"):  # never zeros
        opened["group"].load()


@pytest.mark.parametrize("moment", ["lost", "damaged"])
def test_a_run_whose_chunks_are_packed_while_it_is_opened(
    moment: str, grown: RunWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, look = open_run(grown.folder).load(), getattr(Layout, moment)

    def packed(*given: Any) -> Any:
        grown.finish({})
        return look(*given)

    monkeypatch.setattr(Layout, moment, packed)
    there = open_run(grown.folder, check=None)
    assert there.equals(before) and there.attrs["complete"]


def test_chunks_that_are_packed_on_a_store_after_a_run_was_opened(bucket: Path, grown: RunWriter) -> None:
    made = RunWriter(bucket, grown.run, {"grid": [2, 2]}, grown.ids, 4)
    for first in (0, 4):
        made.add(batch(first))
    opened = open_run(made.folder)
    made.finish({})
    assert opened.load().equals(open_run(grown.folder))


def test_the_digest_of_packed_runs(grown: RunWriter) -> None:
    grown.finish({})
    (other,) = open_runs(grown.folder.parent)
    assert len(content(other)) == 16


def test_every_flipped_bit_of_packed_chunks_is_told(grown: RunWriter) -> None:
    grown.finish({})
    told = contents(grown.folder.parent)
    rng = np.random.default_rng(0)
    for name in ("kept/c.0.0.0", "label/c.0"):
        path = grown.folder / name
        whole = path.read_bytes()
        for place in (*rng.integers(0, len(whole), 8), 0, len(whole) - 1):
            changed = bytearray(whole)
            changed[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(changed)
            with pytest.raises(StoreError, match=rf"{name} is damaged"):
                open_run(grown.folder, check=None)
        path.write_bytes(whole[:20])
        with pytest.raises(StoreError, match=rf"{name} is damaged"):
            open_run(grown.folder, check=None)
        path.write_bytes(whole)
    assert contents(grown.folder.parent) == told


def test_packing_goes_on_wherever_it_was_killed(
    grown: RunWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, whole = open_run(grown.folder).load(), tmp_path / "whole"
    shutil.copytree(grown.folder.parent, whole)
    finish(whole)
    replaced, rename = [0], Path.replace

    def counted(self: Path, target: Path) -> Path:
        replaced[0] -= 1
        if not replaced[0]:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", counted)
    kills = 0
    while True:
        kills += 1
        place = tmp_path / f"{kills}"
        shutil.copytree(grown.folder.parent, place)
        replaced[0] = kills
        try:
            finish(place)
            break
        except KeyboardInterrupt:
            xr.testing.assert_equal(open_run(place / grown.run.name, check=None).load(), before)
            replaced[0] = -1
            assert files_of(finish(place)) == files_of(finish(whole))
    assert kills > 8


def finish(place: Path) -> RunWriter:
    again = RunWriter(place, run_of(), {"grid": [2, 2]}, list("abcdefgh"), 4)
    with again.alone():
        if not again.complete:
            again.finish({"top1": 1.0})
    return again
