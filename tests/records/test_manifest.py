"""Tables that are made together appear together, and say what they were made of."""

import json
import os
import random
import shutil
import warnings
from pathlib import Path

import pandas as pd
import pyarrow.parquet
import pytest

from tokenlens.errors import BadInput
from tokenlens.records import tables as table
from tokenlens.records.manifest import MANIFEST, Manifest, Origin, notices

NAMES = ("comparison", "heatmap", "runs")
OLD, NEW = Origin({"a": "1", "b": "2"}), Origin({"a": "1", "b": "3"})


def made(images: int) -> dict[str, pd.DataFrame]:
    """Tables whose every number is `images`."""
    frames = {}
    for name in NAMES:
        kinds = table.COLUMNS[name]
        rows = {column: ["x"] if kind == "str" else [images] for column, kind in kinds.items()}
        frames[name] = table.conform(pd.DataFrame(rows), name)
    return frames


def put(folder: Path, images: int, origin: Origin, csv: bool = False) -> None:
    with table.writing(folder) as results:
        results.put(made(images), csv, origin)


def seen(folder: Path) -> set[int]:
    """Of which comparisons the tables of a folder are, by their numbers."""
    return {int(table.read(folder, name).iloc[0][{"comparison": "n", "heatmap": "n", "runs": "images"}[name]])
            for name in NAMES}  # fmt: skip


@pytest.mark.parametrize("csv", [False, pytest.param(True, marks=pytest.mark.long)])
def test_killed_at_any_call_of_the_system_a_folder_holds_one_comparison(csv: bool, tmp_path: Path) -> None:
    put(tmp_path / "start", 1, OLD)
    found, at = set[int](), 0
    while True:
        out = tmp_path / f"{at}"
        shutil.copytree(tmp_path / "start", out)
        if (child := os.fork()) == 0:
            try:
                die_at(at)
                put(out, 2, NEW, csv)
            finally:
                os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
            break
        (images,) = seen(out)  # one, and whole
        assert notices(out, None) == []
        found.add(images)
        put(out, 3, OLD)
        assert seen(out) == {3} and sorted(path.name for path in out.iterdir() if path.suffix != ".lock") == [
            ".lock", *(f"{name}.parquet" for name in ("comparison", "heatmap")), MANIFEST, "runs.parquet"]  # fmt: skip
        at += 1
    assert at > 20 and found == {1, 2}


def die_at(count: int) -> None:
    """Kill this process at its n-th call that changes a file system."""
    import signal
    import sys

    calls = [0]

    def hook(event: str, args: tuple[object, ...]) -> None:
        changes = event in ("os.rename", "os.remove", "os.mkdir", "os.truncate")
        if changes or (event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)):
            calls[0] += 1
            if calls[0] > count:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def test_tables_say_what_they_were_made_of(tmp_path: Path) -> None:
    put(tmp_path, 1, OLD)
    told = pyarrow.parquet.read_schema(tmp_path / "runs.parquet").metadata[b"tokenlens"]
    assert json.loads(told) == {"comparison": OLD.comparison, "runs": dict(OLD.runs)}
    manifest = Manifest.read(tmp_path)
    assert {name: manifest.origin(name) for name in NAMES} == dict.fromkeys(NAMES, OLD)
    with table.writing(tmp_path) as results:
        results.put({"runs": made(2)["runs"]}, True, NEW)
    assert Manifest.read(tmp_path).origin("runs") == NEW
    (notice,) = notices(tmp_path, None)
    assert "are of 2 comparisons (comparison, heatmap; runs); make them anew" in notice
    put(tmp_path, 2, NEW)
    assert notices(tmp_path, None) == [] and list(Manifest.read(tmp_path).comparisons) == [NEW.comparison]


@pytest.mark.parametrize("csv", [False, True])
def test_no_flipped_bit_is_silent(csv: bool, tmp_path: Path) -> None:
    put(tmp_path / "whole", 1, OLD, csv)
    before = {name: table.read(tmp_path / "whole", name) for name in NAMES}
    rng, told = random.Random(0), 0
    for number in range(120):
        out = tmp_path / f"{number}"
        shutil.copytree(tmp_path / "whole", out)
        path = rng.choice(sorted(path for path in out.iterdir() if path.name != ".lock"))
        content = bytearray(path.read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        try:
            for name in NAMES:
                pd.testing.assert_frame_equal(table.read(out, name), before[name])
        except BadInput as error:
            assert str(out) in str(error) and "anew" in str(error)
            told += 1
    assert told > 90


def test_a_parquet_file_alone_has_checksums(tmp_path: Path) -> None:
    put(tmp_path / "out", 77, OLD)
    alone = tmp_path / "comparison.parquet"
    content = bytearray((tmp_path / "out" / "comparison.parquet").read_bytes())
    at = content.index(b"\x4d\x00\x00\x00\x00\x00\x00\x00")  # the 77 of a page
    alone.write_bytes(content)
    assert len(table.read(alone, "comparison")) == 1
    content[at] ^= 1
    alone.write_bytes(content)
    with pytest.raises(BadInput, match=r"cannot be read .*CRC"):
        table.read(alone, "comparison")


def test_a_change_by_hand_is_told_with_the_way_out(tmp_path: Path) -> None:
    put(tmp_path, 1, OLD, csv=True)
    path = tmp_path / "runs.csv"
    path.write_text(path.read_text().replace("1", "2"))
    for place in (tmp_path, path):
        with pytest.raises(BadInput, match=r"was changed since it was written; .*manifest.json, if the change"):
            table.read(place, "runs")
    (tmp_path / MANIFEST).unlink()
    assert len(table.read(tmp_path, "runs")) == 1


def test_a_damaged_manifest_is_told_and_written_anew(tmp_path: Path) -> None:
    put(tmp_path, 1, OLD)
    (tmp_path / MANIFEST).write_text("{}")
    with pytest.raises(BadInput, match=r"manifest.json cannot be read \(it does not match its digest\)"):
        table.read(tmp_path, "runs")
    with pytest.warns(UserWarning, match="it is written anew"):
        put(tmp_path, 2, NEW)
    assert seen(tmp_path) == {2}


def test_two_that_merge_lose_no_row(tmp_path: Path) -> None:
    row = made(1)["runs"]
    children = []
    for number in range(4):
        if (child := os.fork()) == 0:
            warnings.simplefilter("ignore")  # it says whom it waits for
            try:
                for part in range(5):
                    table.merge(row.assign(run=f"{number}-{part}"), tmp_path, "runs", ["run"])
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
    assert len(table.read(tmp_path, "runs")) == 20


def test_a_link_in_a_tables_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "runs.parquet").symlink_to("precious")
    with pytest.raises(BadInput, match=r"runs\.parquet is a link"):
        put(tmp_path, 1, OLD)
    assert (tmp_path / "precious").read_text() == "kept"
    assert not list(tmp_path.glob(".*.next")) and not (tmp_path / MANIFEST).exists()
