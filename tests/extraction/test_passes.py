"""Forward passes by graphs write what the walk writes, batch for batch; on the CPU a graph is the walk."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tokenlens
from tokenlens.core.beginning import Beginning
from tokenlens.errors import BadInput
from tokenlens.extraction import passes
from tokenlens.extraction.jobs import Job
from tokenlens.extraction.passes import Captured, Passes, graph_on
from tokenlens.records.store import open_run

CPU = torch.device("cpu")


def overwrite(old: Any, new: Any) -> None:
    """Write the numbers of one result into the tensors of another, as the replay of a graph does."""
    if isinstance(old, Tensor):
        if not torch.equal(old, new):
            old.copy_(new)
    elif isinstance(old, list | tuple | dict):
        for one, other in zip(*(part.values() if isinstance(part, dict) else part for part in (old, new)), strict=True):
            overwrite(one, other)
    elif hasattr(old, "__dict__") and not isinstance(old, nn.Module):
        overwrite(vars(old), vars(new))


@pytest.fixture
def by_graphs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Go by graphs on the CPU too, which give the same tensors each time; returns what is captured."""
    made: list[Any] = []

    def captured(run: Any, *_: Any) -> Any:
        made.append(run)
        found = run()

        def replay() -> Any:
            overwrite(found, run())
            return (found[0].clone(), found[1]) if isinstance(found, tuple) else found  # to NumPy without a copy here

        return replay

    monkeypatch.setattr(passes, "captured", captured)
    monkeypatch.setattr("tokenlens.extraction.jobs.graph_on", lambda *_: "yes")
    return made


def test_runs_made_by_graphs_are_those_of_the_walk(
    run_job: Any, same_run: Any, tmp_path: Path, by_graphs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"methods": ["topk", "tome"], "limit": 10, "batch_size": 3, "features": "float32"}
    fast = run_job(tmp_path / "graphs", **settings)
    assert len(by_graphs) == 3  # what comes before the first stage, and two walks; not once more for the last batch
    monkeypatch.setattr("tokenlens.extraction.jobs.graph_on", lambda *_: "no")
    slow = run_job(tmp_path / "walks", **settings)
    assert len(by_graphs) == 3
    for one, other in zip(fast, slow, strict=True):
        same_run(one, other)


@torch.inference_mode()
def test_few_images_and_odd_batches_are_walked(tiny_vit: nn.Module, images: Tensor, by_graphs: list[Any]) -> None:
    model = tokenlens.reduce(tiny_vit, "topk", blocks=(1, 3))
    way = Passes("auto")
    for count, kind in ((3, False), (4, False), (4, True), (3, False), (4, True)):
        batch = way.of(images[-count:])
        assert isinstance(batch, Captured) == kind
        logits, _ = batch.trace(model, "float32", False, False, False)
        assert torch.equal(logits, model(images[-count:]))
    assert len(by_graphs) == 2
    batch.trace(tokenlens.reduce(tiny_vit, "topk", blocks=(4,)), "float32", False, False, False)
    assert batch.begin and len(batch.begin.after) == 2  # what it computes beyond is its own: its graph alone does so
    assert not isinstance(Passes("no").of(images), Captured)


def test_what_a_fork_is_asked_beyond_is_its_own(tiny_vit: nn.Module, images: Tensor) -> None:
    begin = Beginning(tokenlens.reduce(tiny_vit, "topk", blocks=(1,)).host, images)
    begin.before(1)
    fork = begin.fork()
    assert fork.before(1) is begin.before(1) and len(fork.after) == 2
    fork.before(2)
    assert len(begin.after) == 2


@torch.inference_mode()
def test_a_method_that_cannot_be_captured(tiny_vit: nn.Module, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(run: Any, *_: Any) -> Any:
        if run.__name__ == "begun":
            return run
        raise RuntimeError("operation not permitted when stream is capturing\nCUDA kernel errors")

    monkeypatch.setattr(passes, "captured", fails)
    model = tokenlens.reduce(tiny_vit, "topk", blocks=(1, 3))
    sentence = r"^topk cannot be captured as a CUDA graph \(operation not permitted when stream is capturing\)"
    for graph in ("auto", "yes"):
        way = Passes(graph)
        way.of(images).trace(model, "float32", False, False, False)
        batch = way.of(images.flip(0))
        if graph == "yes":
            with pytest.raises(BadInput, match=sentence + "; run it with --graph no$"):
                batch.trace(model, "float32", False, False, False)
            continue
        with pytest.warns(UserWarning, match=sentence + ", so it runs without one$"):
            logits, _ = batch.trace(model, "float32", False, False, False)
        assert torch.equal(logits, model(images.flip(0)))


def test_who_may_use_graphs() -> None:
    assert graph_on(CPU, "auto") == graph_on(CPU, "no") == "no"
    assert [graph_on(torch.device("cuda"), name) for name in passes.GRAPHS] == ["auto", "yes", "no"]
    with pytest.raises(BadInput, match="a CUDA graph needs a GPU, and this computes on cpu; leave --graph yes out"):
        next(iter(Job(graph="yes", device="cpu", limit=1).run()))
    with pytest.raises(BadInput, match="there is no way to use graphs called 'ye'; did you mean yes"):
        graph_on(CPU, "ye")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="captures on a GPU")
def test_runs_made_by_graphs_on_a_gpu_are_those_of_the_walk(run_job: Any, tmp_path: Path) -> None:
    settings = {"methods": ["topk", "tome", "ats"], "limit": 11, "batch_size": 3, "device": "cuda"}
    fast, slow = (run_job(tmp_path / graph, graph=graph, **settings) for graph in ("yes", "no"))
    for one, other in zip(fast, slow, strict=True):
        left, right = (open_run(folder) for folder in (one, other))
        assert left["kept"].equals(right["kept"]) and left["group"].equals(right["group"])
