"""Many runs in one pass: each image is read once, and every run is what it would be alone."""

from pathlib import Path
from typing import Any

import pytest
import torch

import tokenlens
from tokenlens.data.embedded.open import EmbeddedSet
from tokenlens.errors import BadInput
from tokenlens.extraction import one_pass
from tokenlens.records import writer as writing
from tokenlens.records.store import open_runs

SETTINGS: dict[str, Any] = {"methods": ["none", "tome"], "keep_rates": [0.25, 0.5], "limit": 10}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The images that are drawn, in their order."""
    drawn, image = list[int](), EmbeddedSet.image

    def counted(self: Any, index: int) -> Any:
        drawn.append(index)
        return image(self, index)

    monkeypatch.setattr(EmbeddedSet, "image", counted)
    monkeypatch.setattr(writing, "CHUNK", 4)
    return drawn


def failing(monkeypatch: pytest.MonkeyPatch, method: str, after: int) -> None:
    """Let a method give NaN from some batch on."""
    trace, calls = tokenlens.ReducedViT.trace, [0]

    def broken(self: Any, *given: Any) -> Any:
        logits, found = trace(self, *given)
        calls[0] += self.method == method
        return (logits * torch.nan if self.method == method and calls[0] > after else logits), found

    monkeypatch.setattr(tokenlens.ReducedViT, "trace", broken)


def test_each_image_is_read_once_and_each_run_is_as_alone(
    run_job: Any, same_run: Any, read: list[int], tmp_path: Path
) -> None:
    together = run_job(tmp_path / "together", **SETTINGS)
    assert len(together) == 3 and read == list(range(10))  # the un-reduced model is the same at both rates
    (alone,) = run_job(tmp_path / "alone", **{**SETTINGS, "methods": ["tome"], "keep_rates": [0.5]})
    same_run(tmp_path / "together" / alone.name, alone)


def test_a_run_that_fails_is_named_and_the_others_go_on(
    run_job: Any, same_run: Any, read: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_job(tmp_path / "whole", **SETTINGS)
    with monkeypatch.context() as patch:
        failing(patch, "tome", after=3)
        sentence = (
            r"^2 of 3 runs failed, the others are complete: tome at 0\.25, tome at 0\.5; "
            r".* gave NaN or infinite logits for image shapes/val/00000[48],"
        )
        with pytest.raises(BadInput, match=sentence):
            run_job(tmp_path / "out", **SETTINGS)
    runs = {run.attrs["run"]: run.attrs for run in open_runs(tmp_path / "out")}
    assert sorted(one["written"] for one in runs.values()) == [4, 8, 10]
    read.clear()
    run_job(tmp_path / "out", **SETTINGS)
    assert read == list(range(4, 10))  # what all runs have is not read again
    for folder in whole:
        same_run(tmp_path / "out" / folder.name, folder)


def test_what_does_not_fit_into_memory_at_once_goes_through_one_after_the_other(
    run_job: Any, read: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_pass, "memory", lambda: 0)
    assert len(run_job(tmp_path, **{**SETTINGS, "methods": ["topk"], "workers": 0})) == 2
    assert len(open_runs(tmp_path, strict=True)) == 2


def test_where_the_time_goes() -> None:
    clock = one_pass.Clock()
    clock.spent |= {"data": 3.0, "models": 1.0}
    assert str(clock) == "data 75 %, models 25 %"


def test_weights_are_in_memory_once() -> None:
    from tokenlens.extraction.jobs import Job

    job = Job(methods=["topk", "sit"]).completed()
    host = job.host()
    one, other = (job.build(host, name, {"keep_rate": 0.5}) for name in ("topk", "sit"))
    places = [[parameter.data_ptr() for parameter in model.parameters()] for model in (one.vit, other.vit, host.vit)]
    assert places[0] == places[1] == places[2]
    assert {parameter.data_ptr() for parameter in other.reducers.parameters()}.isdisjoint(places[2])
