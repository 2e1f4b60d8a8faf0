"""The script that measures on a GPU, as far as it runs without one."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tokenlens

SCRIPTS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))


@pytest.mark.parametrize("how", [{"blocks": (1, 3)}, {"remove": 5}], ids=["rate", "off the shelf"])
@torch.no_grad()
def test_the_published_form_of_tome_is_ours(how: dict[str, Any], tiny_vit: nn.Module, images: Tensor) -> None:
    from published_tome import PublishedToMe

    model = tokenlens.reduce(tiny_vit, "tome", **how)
    published = PublishedToMe(model.vit, dict(zip(model.blocks, model.keep, strict=True)))
    assert (published(images) - model(images)).abs().max() < 1e-5


@pytest.mark.long
def test_a_method_that_fails_is_a_row_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import gpu

    reduced = gpu.reduced

    def broken(report: Any, vit: nn.Module, name: str, setting: str) -> Any:
        if name == "topk":
            raise RuntimeError("no such kernel\nand more")
        return reduced(report, vit, name, setting)

    monkeypatch.setattr(gpu, "reduced", broken)
    words = ["gpu.py", "--dry", "--batch", "2", "--rounds", "1", "--methods", "topk", "tome"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stop:
        gpu.main()
    said = capsys.readouterr().out.splitlines()
    assert stop.value.code == 1 and said[-2] == "FAILED: topk, topk, topk"
    assert sum(line.startswith("topk") and "FAILED: RuntimeError: no such kernel" in line for line in said) == 3
    found = json.loads(said[-1])
    assert found["same fate"] == {"tome": 1.0} and set(found["batch 2, 0.5"]) == {"tome", "tome / published"}
    assert {"match", "tally", "peaks", "merge"} == set(found["kernels"]) and len(found["clustering, ms"]) == 9
    monkeypatch.setattr(sys, "argv", [*words, "--seconds", "0"])
    with pytest.raises(SystemExit):
        gpu.main()
    assert capsys.readouterr().out.count("left out: no time") > 10
