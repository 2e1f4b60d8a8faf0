"""The cost of a forward pass, against what torch's own counter sees."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import tokenlens
from tokenlens.analysis.runs_table import describe
from tokenlens.extraction.flops import gflops, mean_gflops
from tokenlens.extraction.jobs import Job
from tokenlens.records.layout import Layout

BLOCKS, DIM = (1, 3, 5), 32


def counted(model: Callable[[Tensor], Tensor], images: Tensor) -> float:
    """10^9 multiply-adds an image."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(images)
    return float(counter.get_total_flops()) / 2e9 / len(images)


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
def test_the_unreduced_model(name: str, make_vit: Callable[..., nn.Module], images: Tensor) -> None:
    vit = make_vit(name)
    heads = 2 if "distilled" in name else 1  # a second classifier, on the distillation token
    more = (heads - 1) * DIM * vit.num_classes / 1e9  # type: ignore[operator]
    assert gflops(vit, {}) + more == pytest.approx(counted(vit, images), rel=1e-9)


def test_a_model_that_pools_by_attention(make_vit: Callable[..., nn.Module], images: Tensor) -> None:
    model = tokenlens.reduce(make_vit("vit_base_patch16_siglip_224").eval(), "tome", blocks=BLOCKS)
    result = tokenlens.extract(model, [images])
    assert result.attrs["gflops"] == pytest.approx(
        counted(copy.deepcopy(model).requires_grad_(False), images), rel=0.05
    )
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("method", ["random", "l2", "atc"])  # which multiply nothing that the counter sees
def test_reduced_models_by_the_tokens_that_are_left(method: str, tiny_vit: nn.Module, images: Tensor) -> None:
    model = tokenlens.reduce(tiny_vit, method, blocks=BLOCKS)
    left = model.trace(images)[1].tokens_left.numpy()
    assert mean_gflops(model, left) == pytest.approx(counted(model, images), rel=1e-9)
    assert mean_gflops(model, left) < 0.6 * gflops(tiny_vit, {})


def test_what_reducers_multiply_is_counted(tiny_vit: nn.Module, images: Tensor) -> None:
    """One row of attention, a predictor, products with learned queries and back, distances between all tokens."""
    came = np.array([64, 32, 16])
    own = {
        "topk": ((came + 1) * DIM).sum(),
        "dynamicvit": (came * (DIM**2 + DIM**2 / 4 + DIM**2 / 8 + DIM / 2) + DIM**2 / 4).sum(),
        "patchmerger": (2 * came * (came // 2) * DIM).sum(),
        "dpcknn": (came**2 * DIM + came * DIM).sum(),
    }
    for method, products in own.items():
        model = tokenlens.reduce(tiny_vit, method, blocks=BLOCKS)
        left = model.trace(images)[1].tokens_left.numpy()
        site = next(iter(model.reducers.values())).site
        walked = gflops(tiny_vit, dict(zip(BLOCKS, left[0].tolist(), strict=True)), str(site))
        assert mean_gflops(model, left) - walked == pytest.approx(products / 1e9, rel=1e-6), method


def test_the_mean_is_over_images_and_not_over_tokens(tiny_vit: nn.Module) -> None:
    model = tokenlens.reduce(tiny_vit, "random", blocks=BLOCKS)
    few, many = np.array([[10, 5, 2]]), np.array([[60, 50, 40]])
    both = mean_gflops(model, np.concatenate([few, many]))
    assert both == pytest.approx((mean_gflops(model, few) + mean_gflops(model, many)) / 2)
    assert both > mean_gflops(model, (few + many) / 2)  # attention is quadratic


def test_a_run_says_what_an_image_costs(tiny_vit: nn.Module, images: Tensor) -> None:
    model = tokenlens.reduce(tiny_vit, "ats", blocks=BLOCKS)
    run = tokenlens.extract(model, [images])
    assert run.attrs["gflops"] == mean_gflops(model, run["tokens_left"].values)
    run.attrs["method"] = "ats"
    assert describe([run])["gflops"].to_list() == [run.attrs["gflops"]]
    del run.attrs["gflops"]  # written before it was there
    assert describe([run])["gflops"].isna().all()


def test_a_run_on_disk_that_does_not_say_is_told(tmp_path: Path) -> None:
    job = Job(methods=["topk"], limit=2, out=tmp_path, progress=False)
    ((_, first),) = job.results()
    layout = Layout.read(first.folder)
    assert layout.attributes.pop("gflops") == first.gflops > 0 and 0.4 < first.gflops_saved < 0.6
    layout.write()
    ((_, again),) = job.results()
    assert again.images_per_second is None and again.gflops == first.gflops
    assert tokenlens.open_runs(tmp_path)[0].attrs["gflops"] == first.gflops
