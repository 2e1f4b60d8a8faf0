"""`tokenlens compare` from end to end."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import xarray as xr
import zarr
from click.testing import CliRunner, Result

from tokenlens.commands.compare import compare
from tokenlens.errors import BadInput
from tokenlens.records import tables as table
from tokenlens.records.columns import KEYS
from tokenlens.records.manifest import notices

MakeRun = Callable[..., xr.Dataset]
WriteRun = Callable[..., Path]


def names(folder: Path) -> set[str]:
    """What a person sees in a folder."""
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def call(*words: object) -> Result:
    return CliRunner().invoke(compare, [*map(str, words), "--resamples", "20"], catch_exceptions=False)


@pytest.fixture()
def runs(make_run: MakeRun, write_run: WriteRun, tmp_path: Path) -> Path:
    for method in ("topk", "evit", "tome", "sit"):
        write_run(make_run(method), tmp_path / "runs")
    write_run(make_run("topk", rate=0.7), tmp_path / "runs")
    return tmp_path / "runs"


def test_as_typed_it_compares_everything(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call().exit_code == 0
    found = table.read("results", "comparison")
    assert set(found["axis"]) == {"method", "keep_rate", "radial", "layout"}
    assert names(tmp_path / "results") == {
        "manifest.json",
        *(f"{name}.parquet" for name in ("comparison", "runs", "heatmap", "proxy", "tokens")),
    }


def test_options_choose(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["--axis", "method", "--metric", "iou", "--where", "keep_rate=0.5", "--chunk", 7, "--workers", 1, "--csv"]
    assert call(runs, "--out", out, *words).exit_code == 0
    found = table.read(out / "comparison.csv", "comparison")
    assert set(found["metric"]) == {"iou"}
    assert set(found["run_a"]) == {"evit-0.5-0"}
    assert len(table.read(out, "runs")) == 4


def test_findings_are_printed_and_written(runs: Path, tmp_path: Path) -> None:
    result = call(runs, "--out", tmp_path / "out", "--findings")
    assert result.output.count("not enough runs") >= 5
    assert len(table.read(tmp_path / "out", "findings")) == 6


@pytest.mark.filterwarnings("ignore:20 images do not determine")
def test_what_has_no_estimate_is_said_and_why(make_run: MakeRun, write_run: WriteRun, tmp_path: Path) -> None:
    for method in ("topk", "evit"):
        write_run(make_run(method, features=16, images=20), tmp_path / "runs")
    said = call(tmp_path / "runs", "--out", tmp_path / "out", "--metric", "pwcca,cka").output
    found = table.read(tmp_path / "out", "comparison")
    lacking = found[found["estimate"].isna()].groupby("metric").size()
    for metric, reason in (("pwcca", "20 images do not determine it"), ("cka", "20 images are too few to tell")):
        assert f"{lacking[metric]} values of class-token features ({metric}) have no estimate: {reason}" in said


def test_a_narrower_call_changes_its_own_rows_alone(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    call(runs, "--out", out, "--findings", "--csv")
    whole = {name: table.read(out, name) for name in ("comparison", "runs", "heatmap", "findings")}
    said = call(runs, "--out", out, "--metric", "iou", "--axis", "method", "--where", "keep_rate=0.5").output
    tables = ("comparison", "runs", "heatmap", "proxy", "tokens")
    assert names(out) == {"manifest.json", "findings.csv", *(f"{name}.parquet" for name in tables)}
    assert "comparisons" not in said and notices(out, runs) == []
    for name, frame in whole.items():
        same = table.read(out, name).sort_values(list(KEYS.get(name, ["claim"])), ignore_index=True)
        pd.testing.assert_frame_equal(same, frame.sort_values(list(KEYS.get(name, ["claim"])), ignore_index=True))


def test_rows_of_runs_that_have_changed_since_do_not_stay(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    call(runs, "--out", out, "--findings")
    group = zarr.open_group(runs / "topk-0.7-0", mode="r+")
    group["kept"][:] = ~group["kept"][:]
    (notice,) = notices(out, runs)
    assert "1 of the 5 runs that the tables in" in notice and "(topk-0.7-0); make the tables anew" in notice
    said = call(runs, "--out", out, "--axis", "method").output
    assert "left out: earlier rows of 1 runs that have changed since (topk-0.7-0)" in said
    assert "topk-0.7-0" in set(table.read(out, "runs")["run"])  # it is among those compared now
    found = table.read(out, "comparison")
    assert not len(found[found["axis"].isin(["keep_rate"])]) and len(found[found["axis"] == "radial"])
    assert "are of 2 comparisons" in said and "findings" in said


def test_tables_that_do_not_say_their_runs_are_replaced(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    call(runs, "--out", out)
    (out / "manifest.json").unlink()
    said = call(runs, "--out", out, "--axis", "method").output
    assert "do not say which runs they were made of, so they are replaced as a whole" in said
    assert set(table.read(out, "comparison")["axis"]) == {"method"}


def test_runs_without_one_rate_are_counted(runs: Path, make_run: MakeRun, write_run: WriteRun, tmp_path: Path) -> None:
    assert "no single keep rate" not in call(runs, "--out", tmp_path / "out", "--metric", "iou").output
    write_run(make_run("evit", rate=None, keep_rates=[0.7, 0.5]), runs)
    write_run(make_run("none", rate=None), runs)  # an anchor, and not left out
    said = call(runs, "--out", tmp_path / "out", "--metric", "iou").output
    assert "1 of the 7 runs has no single keep rate" in said


def test_accuracies_of_a_file_are_joined(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("run,accuracy\ntopk-0.5-0,71.5\n")
    call(runs, "--out", tmp_path / "out", "--metric", "iou", "--accuracy", tmp_path / "a.csv")
    assert 71.5 in table.read(tmp_path / "out", "runs")["accuracy"].to_list()


def test_runs_may_still_be_growing(make_run: MakeRun, write_run: WriteRun, tmp_path: Path) -> None:
    write_run(make_run("topk"), tmp_path / "runs", written=25)
    write_run(make_run("evit"), tmp_path / "runs")
    with pytest.warns(UserWarning, match=r"images left out: evit-0.5-0 \(15\) and topk-0.5-0 \(0\)"):
        call(tmp_path / "runs", "--out", tmp_path / "out", "--metric", "iou")
    assert set(table.read(tmp_path / "out", "comparison")["n"]) == {25}


def test_a_broken_store_is_named_and_skipped_or_refused(runs: Path, tmp_path: Path) -> None:
    (runs / "torn").mkdir()
    (runs / "torn" / "zarr.json").write_text("{")
    with pytest.warns(UserWarning, match="torn cannot be read"):
        assert call(runs, "--out", tmp_path / "out", "--metric", "iou").exit_code == 0
    with pytest.raises(BadInput, match="torn cannot be read"):
        call(runs, "--out", tmp_path / "out", "--strict")


@pytest.mark.parametrize("other_order", [False, True])
def test_a_damaged_chunk_is_told_with_its_run(
    runs: Path, make_run: MakeRun, write_run: WriteRun, tmp_path: Path, other_order: bool
) -> None:
    if other_order:  # read through a copy on disk
        scattered = make_run("kmedoids").isel(image=[*range(0, 40, 2), *range(1, 40, 2)])
        write_run(scattered, runs)
    (chunk,) = (runs / ("kmedoids-0.5-0" if other_order else "topk-0.5-0")).glob("kept/c/0/0/0")
    with chunk.open("r+b") as file:
        file.truncate(20)
    damaged = chunk.parents[4].name
    with pytest.warns(
        UserWarning, match=rf"{damaged} cannot be read as a run \(kept/c/0/0/0 is damaged\); move"
    ) as told:
        call(runs, "--out", tmp_path / "out", "--metric", "vmeasure", "--chunk", 3)
    assert len(told) == 1 and "\n" not in str(told[0].message)
    assert {path.name for path in runs.iterdir()} - {damaged} == set(table.read(tmp_path / "out", "runs")["run"])
    with pytest.raises(BadInput, match="is damaged"):
        call(runs, "--out", tmp_path / "out", "--strict")


def test_what_cannot_be_done_is_said(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no folder"):
        call(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="holds no run"):
        call(tmp_path / "empty")
    with pytest.raises(BadInput, match="none of the 5 runs"):
        call(runs, "--where", "method=ats")
    with pytest.raises(BadInput, match="is no condition"):
        call(runs, "--where", "topk")
    (tmp_path / "afile").write_text("kept")
    with pytest.raises(BadInput, match="afile is a file, not a folder"):
        call(runs, "--out", tmp_path / "afile")
    assert "-1 is not in the range 0<=x" in call(runs, "--seed", -1).output
    said = call(runs, "--out", tmp_path / "o", "--axis", "seed").output
    assert "The 5 runs form no pair: " in said
    alone = call(runs, "--out", tmp_path / "o", "--axis", "seed", "--where", "method=tome").output
    assert "\nOne run alone forms no pair: " in alone


@pytest.mark.long
def test_help_is_quick_to_import_and_the_wing_never_needs_torch() -> None:
    light = (
        "import sys, tokenlens.commands.compare; assert not {'numba', 'pandas', 'torch', 'xarray'} & set(sys.modules)"
    )
    whole = "import sys, tokenlens.analysis.compare_folder; assert not {'torch', 'matplotlib'} & set(sys.modules)"
    transport = whole.replace(
        "; assert", "; tokenlens.analysis.metrics.heatmap.emd([[1, 2, 3, 4]], [[4, 3, 2, 1]]); assert"
    )
    transport = transport.replace("results; token", "results, tokenlens.analysis.metrics.heatmap; token")
    for code in (light, whole, transport):
        subprocess.run([sys.executable, "-c", code], check=True)
