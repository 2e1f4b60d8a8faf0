"""Which runs are paired along which axis."""

from collections.abc import Callable

import pytest
import xarray as xr

from tokenlens.analysis.compare import compare
from tokenlens.analysis.pairing import AXES, card, pair
from tokenlens.errors import BadInput, UnknownName

MakeRun = Callable[..., xr.Dataset]


def pairs(runs: list[xr.Dataset], axis: str) -> set[tuple[str, str]]:
    return {(p.a, p.b) for p in pair([card(run) for run in runs], axis)}


def test_runs_that_differ_in_one_thing_are_paired_along_it(make_run: MakeRun) -> None:
    base = make_run("topk", run="base")
    others = {
        "method": make_run("evit", run="other"), "capacity": make_run("topk", capacity="small", run="other"),
        "keep_rate": make_run("topk", rate=0.7, run="other"), "dataset": make_run("topk", dataset="x", run="other"),
        "seed": make_run("topk", seed=1, run="other"),
    }  # fmt: skip
    for changed, other in others.items():
        for axis in AXES:
            assert len(pairs([base, other], axis)) == (changed == axis), (changed, axis)


def test_runs_that_differ_in_two_things_are_not_paired(make_run: MakeRun) -> None:
    base = make_run("topk", run="base")
    for other in (
        make_run("evit", rate=0.7, run="o"), make_run("evit", dataset="x", run="o"),
        make_run("evit", capacity="small", run="o"), make_run("topk", stages=(3, 9), run="o"),
        make_run("topk", options={"fused": True}, rate=0.7, run="o"),
    ):  # fmt: skip
        assert not any(pairs([base, other], axis) for axis in AXES)


def test_what_follows_no_rate_meets_every_rate_of_other_methods(make_run: MakeRun) -> None:
    runs = [
        make_run("topk", rate=0.5, run="topk5"), make_run("topk", rate=0.7, run="topk7"),
        make_run("ats", rate=0.5, run="ats5"), make_run("ats", rate=0.7, run="ats7"),
        make_run("l2", rate=None, stages=(3, 4, 5, 6), run="ring", options={"contiguous": True}),
        make_run("none", rate=None, stages=(), run="vit"),
    ]  # fmt: skip
    found = pairs(runs, "method")
    for free in ("ats5", "ats7", "ring", "vit"):
        for other in ("topk5", "topk7"):
            assert {(free, other), (other, free)} & found
    assert ("ring", "vit") in found
    assert ("ats5", "ats7") not in found
    assert ("topk5", "topk7") not in found
    assert pairs(runs, "keep_rate") == {("topk7", "topk5"), ("ats7", "ats5")}


OURS = ("keeps", "merges", "adaptive", "follows_rate")


def of_schema_1(run: xr.Dataset) -> xr.Dataset:
    """The run as it was written before it said what its method does."""
    return run.drop_attrs(deep=False).assign_attrs({k: v for k, v in run.attrs.items() if k not in OURS})


def test_what_an_old_run_does_not_say_is_read_off_it(make_run: MakeRun) -> None:
    blends = make_run("tome")
    blends["kept"][7, 0] = False  # one image is left with more tokens than patches
    unknown = make_run("tome").drop_vars("kept")
    for run, keeps, merges in (
        (make_run("topk"), True, False), (make_run("l2"), True, False), (make_run("none"), False, False),
        (make_run("kmedoids"), True, True), (blends, False, True), (unknown, False, True),
    ):  # fmt: skip
        found = card(of_schema_1(run))
        assert (found.keeps, found.merges) == (keeps, merges), run.attrs["method"]
    adaptive = make_run("evit")
    adaptive["tokens_left"][3, 1] += 1
    ring = make_run("l2", options={"contiguous": True})
    for run in (adaptive, ring, make_run("none"), make_run("topk", rate=None)):
        assert not card(of_schema_1(run)).follows_rate
    assert card(of_schema_1(make_run("topk"))).follows_rate


def test_what_a_run_says_of_its_method_holds_whatever_it_is_called(make_run: MakeRun) -> None:
    told = card(make_run("tome", keeps=True, follows_rate=False).assign_attrs(method="theirs"))
    assert told.keeps and told.merges and not told.follows_rate
    assert not card(make_run("topk", rate=None, follows_rate=True)).follows_rate  # there is none to follow


def test_order_of_a_pair(make_run: MakeRun) -> None:
    rates = [make_run("topk", rate=r, run=f"r{r}") for r in (0.25, 0.9)]
    assert pairs(rates, "keep_rate") == {("r0.9", "r0.25")}  # the higher rate first: the other's area divides in IoA
    sizes = [make_run("topk", capacity=c, run=c) for c in ("base", "nano", "unheard-of")]
    assert pairs(sizes, "capacity") == {("nano", "base"), ("base", "unheard-of"), ("nano", "unheard-of")}


def test_variants_of_one_method_are_paired_as_methods(make_run: MakeRun) -> None:
    runs = [make_run("tome", run=k, options={"linkage": k}) for k in ("single", "average")]
    assert pairs(runs, "method") == {("average", "single")}
    free = [make_run("ats", run=k, options={"k": k}, rate=r) for k, r in (("a", 0.5), ("b", 0.7), ("c", 0.7))]
    assert pairs(free, "method") == {("b", "c")}  # at one rate: only another method makes the rate not matter


def test_other_grids_are_left_out_and_named(make_run: MakeRun) -> None:
    runs = [make_run("topk", run="a"), make_run("evit", side=4, run="b")]
    with pytest.warns(UserWarning, match="1 pairs along method have different grids"):
        assert not pairs(runs, "method")


def test_what_is_unknown_is_refused(make_run: MakeRun) -> None:
    with pytest.raises(UnknownName, match="keep_rate"):
        pair([], "keep-rate")
    run = make_run("topk")
    del run.attrs["family"]
    with pytest.raises(BadInput, match="does not say its family"):
        card(run)


def test_axes_are_put_together_in_any_order_and_all_that_is_named_differs(make_run: MakeRun) -> None:
    runs = [make_run(dataset=data, capacity=size, model=size, run=f"{data}-{size}-{rate}", rate=rate)
            for data in ("a", "b") for size in ("tiny", "small") for rate in (0.5, 0.25)]  # fmt: skip
    found = compare(runs, ["dataset+capacity"], ["pcc"]).comparison
    assert set(found["axis"]) == {"capacity+dataset"} and len(found) == 4
    assert all(a.split("-")[i] != b.split("-")[i] for a, b in zip(found["run_a"], found["run_b"], strict=True)
               for i in (0, 1))  # fmt: skip
    with pytest.raises(UnknownName, match="dataset\\+weather"):
        compare(runs, ["dataset+weather"])


def test_changed_pictures_are_no_other_set_and_patches_meet_where_they_show_the_same(make_run: MakeRun) -> None:
    plain = make_run("topk", run="plain")
    noisy = make_run("topk", run="noisy", dataset="embedded:shapes@noise=0.1")
    turned = make_run("topk", run="turned", dataset="embedded:shapes@mirror=1")
    turned["kept"].values[:] = plain["kept"].values.reshape(40, 2, 6, 6)[..., ::-1].reshape(40, 2, 36)
    cropped = make_run("topk", run="cropped", dataset="embedded:shapes@crop=0.5")
    middle = (1, 2, 2, 3, 3, 4)  # of a side of six, what lies at the centres of six patches over its middle half
    cropped["kept"].values[:] = plain["kept"].values.reshape(40, 2, 6, 6)[:, :, middle][..., middle].reshape(40, 2, 36)
    found = compare([turned, plain, noisy, cropped], metrics=["iou"]).comparison
    rows = found[found["axis"] == "change"].set_index(["run_b", "stage"])["value"]
    assert set(found["run_a"][found["axis"] == "change"]) == {"plain"} and not (found["axis"] == "dataset").any()
    assert rows["turned"].tolist() == rows["cropped"].tolist() == [1, 1]
    assert rows["noisy"].tolist() == [1, 1]  # the same draw
