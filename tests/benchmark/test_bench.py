"""The benchmark: what it measures, what it writes, what it refuses, and that a stop keeps what is done."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from click.testing import CliRunner
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import tokenlens
from tokenlens.benchmark import rows, ways
from tokenlens.benchmark import timing as machine
from tokenlens.benchmark.bench import Bench
from tokenlens.benchmark.ideal import Ideal
from tokenlens.benchmark.ways import Pass, Side, Way
from tokenlens.commands.bench import bench as command
from tokenlens.errors import BadInput
from tokenlens.extraction.flops import gflops
from tokenlens.extraction.pretrained import Pretrained
from tokenlens.records import tables as table

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def tiny_host(tiny_vit: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place of the nano ViT, and blocks that it has."""
    host = Pretrained(tiny_vit, "tiny", "random", "random weights")
    monkeypatch.setattr("tokenlens.extraction.reduced_models.open_host", lambda *_: host)


def small(out: Path, **settings: Any) -> Bench:
    settings = {"methods": ["topk"], "blocks": [1, 3], "batch_sizes": [2], "repeats": 3, "warmup": 1, **settings}
    return Bench(out=out, progress=False, **settings)


def read(out: Path) -> pd.DataFrame:
    return table.read(out, "bench")


def test_a_row_for_each_model_and_setting(tmp_path: Path, tiny_vit: nn.Module) -> None:
    job = small(tmp_path, methods=["topk", "none", "tome"], keep_rates=[0.5, 0.25], batch_sizes=[1, 2])
    said = list(job.run())
    found = read(tmp_path)
    assert len(found) == 2 * 5 and len(said) == 2 * (2 + 5)
    assert said[0].startswith("tiny, batch 1, float32, cpu, 1 thread(s), synthetic images, ")
    assert said[3].split()[:2] == ["topk", "0.5"] and said[3].endswith("  1:32 3:16")
    whole = found[found["method"] == "none"]
    assert (whole["speedup"] == 1).all() and (whole["ideal_speedup"] == 1).all() and (whole["tokens_left"] == "").all()
    assert whole["gflops"].to_list() == [gflops(tiny_vit, {})] * 2
    topk = found[(found["method"] == "topk") & (found["keep_rate"] == 0.5)]
    assert topk["gflops"].to_list() == pytest.approx([gflops(tiny_vit, {1: 32, 3: 16})] * 2, rel=0.01)
    assert np.allclose(found["ideal_speedup"], gflops(tiny_vit, {}) / found["gflops"])
    assert (found["low"] <= found["images_per_second"]).all() and (found["images_per_second"] <= found["high"]).all()
    assert np.allclose(found["images_per_second"] * found["latency_ms"], 1000 * found["batch_size"])
    assert (found["peak_mb"] > 0).all() and set(found["repeats"]) == {3}
    reduced = found["method"] != "none"
    assert found.loc[reduced, "deciding"].between(0, 1, inclusive="neither").all() and found["gpu_ms"].isna().all()
    assert (found.loc[reduced, "practical_speedup"] > 0).all()
    assert found.loc[~reduced, ["deciding", "practical_speedup"]].isna().all(axis=None)
    assert set(found["machine"]) == {machine.machine_note(CPU)} and f"torch {torch.__version__}" in said[0]


def test_other_settings_join_and_the_same_are_replaced(tmp_path: Path) -> None:
    list(small(tmp_path).run())
    list(small(tmp_path, precisions=["bfloat16", "auto"], repeats=4).run())
    list(small(tmp_path, blocks=[2, 3]).run())
    found = read(tmp_path)
    assert sorted(zip(found["method"], found["precision"], found["tokens_left"], found["repeats"], strict=True)) == [
        ("none", "bfloat16", "", 4), ("none", "float32", "", 3), ("topk", "bfloat16", "1:32 3:16", 4),
        ("topk", "float32", "1:32 3:16", 4), ("topk", "float32", "2:32 3:16", 3),
    ]  # fmt: skip


def test_adaptive_methods_are_averaged_over_the_data(tmp_path: Path) -> None:
    settings = {"methods": ["ats"], "data": "embedded:shapes", "limit": 5}
    list(small(tmp_path, **settings).run())
    found = read(tmp_path).iloc[1]
    job = small(tmp_path, **settings)
    host = job.host()
    images = job.images(host)
    model = job.build(host, "ats", {"keep_rate": 0.5})
    with torch.no_grad():
        left = model.trace(images)[1].tokens_left.numpy()
    assert images.shape == (5, 3, 64, 64) and left.std(0).min() > 0
    told = [float(stage.split(":")[1]) for stage in found["tokens_left"].split()]
    assert told == pytest.approx(left.mean(0), abs=0.051)
    each = [gflops(host.vit, {1: a, 3: b}) for a, b in left.tolist()]
    assert found["gflops"] == pytest.approx(np.mean(each), rel=0.01) and found["data"] == "embedded:shapes"


def test_turns_are_taken_and_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.seconds(lambda: time.sleep(0.02), CPU) >= 0.02
    seen: list[tuple[str, int]] = []

    def side(name: str, took: float) -> Callable[[int], float]:
        return lambda given: seen.append((name, given)) or took  # type: ignore[func-returns-value]

    monkeypatch.setattr(machine, "seconds", lambda call, device: call())
    taken = list(machine.taking_turns([side("a", 2.0), side("b", 1.0)], [7, 8], 3, CPU))
    assert seen == [("a", 7), ("b", 7), ("b", 8), ("a", 8), ("a", 7), ("b", 7)]
    assert taken == [[2.0, 1.0]] * 3


def test_the_speedup_is_the_median_of_rounds() -> None:
    """And not a ratio of medians: what slows one round down hits both sides of it."""
    taken = np.array([[2.0, 1.0, 1.0, 0.5], [6.0, 3.0, 1.0, 3.0], [10.0, 2.0, 1.0, 1.0]])
    sides = [Side(name, 1.0, nn.Identity(), cost, "") for name, cost in (("none", 3.0), ("topk", 1.0))]
    passes = [Pass(side, Way(), side.model, 1.0) for side in sides]
    passes[1].ideal = 1
    found = rows.rows(passes, taken, {"batch_size": 4})
    assert found["speedup"].to_list() == [1, 2] and found["ideal_speedup"].to_list() == [1, 3]
    assert found["latency_ms"].to_list() == [6_000, 2_000] and found["practical_speedup"].to_list()[1] == 4
    passes[1].way = Way(graph=True)  # of which there is no un-reduced pass
    assert np.isnan(rows.rows(passes, taken, {"batch_size": 4})["speedup"][1])


def test_the_practical_ideal_is_the_hosts_blocks_at_the_tokens_that_are_left(tiny_vit: nn.Module) -> None:
    """By what torch counts, for every place of a reducer, also where positions travel with the tokens."""
    images = torch.zeros(2, 3, 64, 64)
    small = {"img_size": 64, "patch_size": 8, "embed_dim": 32, "depth": 4, "num_heads": 2}
    rotary = timm.create_model("vit_small_patch16_dinov3", **small).eval()
    for vit, method in ((tiny_vit, "topk"), (tiny_vit, "random"), (tiny_vit, "avit"), (rotary, "random")):
        model = tokenlens.reduce(vit, method, blocks=(1, 3))
        ideal, left = Ideal(model, [20, 7]), {1: 20, 3: 7}
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            logits = ideal(images)
        assert logits.shape == model(images).shape
        site = str(model.reducer(1).site)
        assert counter.get_total_flops() / 4e9 == pytest.approx(gflops(vit, left, site), rel=1e-9), method


def test_peak_memory_is_what_tensors_hold_at_once() -> None:
    def call() -> None:
        first = torch.ones(250, 1000)  # 1 MB
        second = first + 1
        del first
        _third = second + 1

    assert machine.peak_megabytes(call, CPU) == pytest.approx(2, rel=0.01)


def test_weights_are_in_memory_once(tiny_vit: nn.Module) -> None:
    job = Bench(methods=["topk", "sit"], keep_rates=[0.5], blocks=[1])
    host = job.host()
    _, *sides = job.sides(host, job.planned(), torch.zeros(1, 3, 64, 64))
    for side in sides:
        assert isinstance(side.model, tokenlens.ReducedViT)
        assert side.model.vit.head.weight.data_ptr() == host.vit.head.weight.data_ptr()


def test_what_is_said_twice_is_measured_once(tmp_path: Path) -> None:
    twice = {"methods": ["topk", "topk"], "keep_rates": [0.5, 0.5], "batch_sizes": [2, 2]}
    said = list(small(tmp_path, **twice).run())
    assert len([line for line in said if "topk" in line]) == 1 and len(read(tmp_path)) == 2


def test_images_that_do_not_fit_into_memory(tmp_path: Path) -> None:
    with pytest.raises(
        BadInput,
        match=r"batches of 9+ images take .* GB of memory or more, and there are .*; give a smaller --batch-size",
    ):
        list(small(tmp_path, batch_sizes=[99_999_999_999]).run())


def test_a_stop_keeps_the_rounds_that_are_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    list(small(tmp_path, batch_sizes=[1]).run())
    clock, calls = machine.seconds, iter(range(100))

    def stopped(call: Callable[[], Any], device: torch.device) -> float:
        if next(calls) == 7:  # in the third round of two models and an ideal
            raise KeyboardInterrupt
        return clock(call, device)

    monkeypatch.setattr(machine, "seconds", stopped)
    words = f"--method topk --blocks 1,3 --batch-size 2,4 --repeats 9 --out {tmp_path}"
    done = CliRunner().invoke(command, words.split())
    assert done.exit_code == 130 and f"Stopped. What was measured is in {tmp_path};" in done.output
    assert sorted(zip(read(tmp_path)["batch_size"], read(tmp_path)["repeats"], strict=True)) == [
        (1, 3), (1, 3), (2, 2), (2, 2),
    ]  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "bench.parquet", "manifest.json"]


def test_ways_stand_beside_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU a graph is the model itself, so that of a graph only its place in the table is seen here."""
    with pytest.raises(BadInput, match="a CUDA graph needs a GPU, and this computes on cpu; leave --graph yes out"):
        list(small(tmp_path, graph="yes", device="cpu").run())
    monkeypatch.setattr("tokenlens.benchmark.bench.graph_on", lambda *_: "auto")
    said = list(small(tmp_path, repeats=1).run())
    assert [line.split()[:3] for line in said[2:]] == [
        ["none", "1", "eager"], ["none", "1", "graph"], ["topk", "0.5", "eager"], ["topk", "0.5", "graph"],
    ]  # fmt: skip
    found = read(tmp_path)
    assert found["graph"].to_list() == [False, True] * 2 and found["practical_speedup"].notna().sum() == 2
    assert found["deciding"].notna().to_list() == [False, False, True, False]

    def fails(model: nn.Module, example: torch.Tensor) -> Any:
        if isinstance(model, tokenlens.ReducedViT):
            raise RuntimeError("not permitted\nand more")
        return model

    monkeypatch.setattr(ways, "graphed", fails)
    with pytest.warns(UserWarning, match=r"^topk cannot be captured as a CUDA graph \(not permitted\)$"):
        assert len(list(small(tmp_path, repeats=1).run())) == 2 + 3
    with pytest.raises(BadInput, match=r"no CUDA graph of topk \(not permitted\); measure it with --graph no"):
        list(small(tmp_path, graph="yes").run())


@pytest.mark.long
def test_compiled_models_are_measured_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.compiler.reset()
    compiled: list[Any] = []

    inductor = torch.compile

    def quick(model: Any, **settings: Any) -> Any:
        compiled.append(model)
        return inductor(model, backend="eager", **settings)

    monkeypatch.setattr(torch, "compile", quick)
    list(small(tmp_path, compiled=[False, True], repeats=1, blocks=[1]).run())
    assert read(tmp_path)["compiled"].to_list() == [False, True, False, True] and len(compiled) == 2

    def fails(model: Any, **_: Any) -> Any:
        def call(images: Any) -> Any:
            raise RuntimeError("no compiler\nat all")

        return call

    monkeypatch.setattr(torch, "compile", fails)
    with pytest.raises(BadInput, match=r"torch.compile fails for none \(no compiler\); measure it with --compile no"):
        list(small(tmp_path, compiled=[True]).run())


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), RuntimeError("can't allocate memory: you tried")])
def test_a_batch_that_does_not_fit(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Any, images: torch.Tensor) -> None:
        if len(images) > 2:
            raise error

    monkeypatch.setattr(tokenlens.ReducedViT, "forward", full)
    with pytest.raises(BadInput, match="topk with a batch of 4 does not fit into memory; give a smaller --batch-size"):
        list(small(tmp_path, batch_sizes=[2, 4]).run())
    assert set(read(tmp_path)["batch_size"]) == {2}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--method topkk", "there is no method called 'topkk'; did you mean topk"),
        ("--batch-size 0", r"batch sizes \[0\] are not all 1 or more"),
        ("--batch-size many", "batch size 'many' is not made of numbers; for example 1,32"),
        ("--precision float23", "there is no precision called 'float23'; did you mean float32"),
        ("--precision float32,half", "there is no precision called 'half'; known: auto, bfloat16, float16, float32"),
        ("--data embedded:shapes --limit 3 --batch-size 4", "has 3 images and a batch 4; give a smaller --batch"),
        ("--data nowhere", "there is no data set called 'nowhere'"),
        ("--blocks 3,60", r"blocks \[1, 3, 60\] are not all in this model"),
        ("--keep 9/4 --keep-rate 0.5", "give one of --keep-rate, --keep and --remove"),
        ("--out FILE", "is a file, not a folder, so no tables can be written there"),
        ("--out DAMAGED", "bench.parquet cannot be read .*; remove it and write it anew with `tokenlens bench`"),
    ],
)  # fmt: skip
def test_refused_in_one_sentence(words: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "bench.parquet").write_bytes(b"half")
    words = words.replace("FILE", f"{tmp_path / 'file'}").replace("DAMAGED", f"{tmp_path / 'damaged'}")
    out = tmp_path / "results"
    with pytest.raises(BadInput, match=sentence):
        CliRunner().invoke(command, ["--blocks", "1", "--out", str(out), *words.split()], catch_exceptions=False)
    assert not out.exists()
    assert ((tmp_path / "file").read_text(), (tmp_path / "damaged" / "bench.parquet").read_bytes()) == ("kept", b"half")


def test_speed_of_a_detector_beside_the_unreduced_one(tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    words = ["--detector", "nano", "--method", "atc-average,none", "--repeats", "2", "--warmup", "1", "--out", tmp_path]
    said = CliRunner().invoke(command, [str(word) for word in words], catch_exceptions=False).output
    found = table.read(tmp_path, "bench_detector")
    assert list(found["method"]) == ["none", "atc-average"] and found["speedup"][0] == 1
    assert set(found["patches"]) == {196} and set(found["repeats"]) == {2} and "nano-detector, weights nano" in said
    assert found["deciding"][0] < found["deciding"][1] < 1
    for other, words in (("--pipeline", "give one of them"), ("--model", "--model goes with ViTs")):
        with pytest.raises(BadInput, match=words):
            CliRunner().invoke(command, ["--detector", "nano", other, "nano"], catch_exceptions=False)
